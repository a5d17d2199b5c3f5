"""The stream of an open page: it only says that something changed; the page asks for itself again."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from gateway.live import EventStream
from gateway.pages.door import Pages

# Changes that come together are told once.
GATHER_SECONDS = 0.12
MOST = 200


def event(name: str, data: object, number: int | None = None) -> str:
    mark = f"id: {number}\n" if number else ""
    return f"{mark}event: {name}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n"


def routes(pages: Pages) -> APIRouter:
    router = pages.router()
    live = pages.site.live

    @router.get("/live")
    async def stream(request: Request, service: str = "") -> Response:
        actor = await pages.actor(request)
        live.check_room()

        async def events() -> AsyncGenerator[str, None]:
            # Small: what a page does not take waits in the hub's queue, which is bounded.
            changed: asyncio.Queue[tuple[str, dict] | None] = asyncio.Queue(MOST)

            async def hear() -> None:
                try:
                    async with aclosing(live.follow(actor.organisation, service=service)) as learnt:
                        async for pair in learnt:
                            await changed.put(pair)
                finally:
                    if changed.full():
                        changed.get_nowait()
                    changed.put_nowait(None)

            hearing = asyncio.create_task(hear())
            try:
                while (pair := await changed.get()) is not None:
                    name, data = pair
                    if name == "stream-state":
                        yield event("state", data)
                    elif name == "beat":
                        yield ": still here\n\n"
                        # A session that ended meanwhile sees nothing more.
                        request.scope.pop("kiops.actor", None)
                        if await pages.site.access.find(request) is None:
                            return
                    else:
                        await asyncio.sleep(GATHER_SECONDS)
                        number = data.get("sequence", 0)
                        while not changed.empty():
                            later = changed.get_nowait()
                            if later is None:
                                return
                            if later[0] == "stream-state":
                                yield event("state", later[1])
                            number = max(number, later[1].get("sequence", 0))
                        yield event("changed", {}, number)
            finally:
                hearing.cancel()

        return EventStream(events())

    return router
