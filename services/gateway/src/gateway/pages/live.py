"""The stream of an open page: it only says that something changed; the page asks for itself again."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from gateway.pages.door import Pages

# Changes that come together are told once.
GATHER_SECONDS = 0.12


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

        async def events() -> AsyncIterator[str]:
            changed: asyncio.Queue[tuple[str, dict] | None] = asyncio.Queue()

            async def hear() -> None:
                try:
                    async for pair in live.follow(actor.organisation, service=service):
                        await changed.put(pair)
                finally:
                    await changed.put(None)

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

        return StreamingResponse(
            events(), media_type="text/event-stream", headers={"cache-control": "no-store", "x-accel-buffering": "no"}
        )

    return router
