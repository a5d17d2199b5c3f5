"""Server-sent events: what the projections just learnt, of everything or of one run."""

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import StreamingResponse

from gateway.api.depends import Who
from gateway.errors import NotFound
from gateway.live import EventStream
from gateway.site import Site
from gateway.store import runs

_SSE = {200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}, "description": "Server-sent events"}}


def event(name: str, data: Any, number: int | None = None) -> str:
    """One server-sent event."""
    mark = f"id: {number}\n" if number is not None else ""
    return f"{mark}event: {name}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n"


def routes(site: Site, router: APIRouter) -> None:
    async def told(request: Request, actor: Any, **of: str) -> AsyncGenerator[str, None]:
        async with aclosing(site.live.follow(actor.organisation, **of)) as learnt:
            async for name, data in learnt:
                if name == "beat":
                    yield ": still here\n\n"
                    # A session or token that ended meanwhile sees nothing more.
                    request.scope.pop("kiops.actor", None)
                    if await site.access.find(request) is None:
                        return
                else:
                    yield event(name, data, data.get("sequence"))

    @router.get("/events", tags=["events"], responses=_SSE, response_class=StreamingResponse)
    async def events(request: Request, actor: Who, service: str = "") -> StreamingResponse:
        """What changed, as it changes.

        `learnt` {kind, service, run, sequence}; `stream-state` {live, sequence}: whether the bus answers, and what the read
        model has learnt already; `stale` {sequence}: you read so slowly that events were let go, ask anew for what you show.
        """
        site.live.check_room()
        return EventStream(told(request, actor, service=service))

    @router.get("/runs/{run}/events", tags=["runs"], responses=_SSE, response_class=StreamingResponse)
    async def run_events(request: Request, actor: Who, run: str) -> StreamingResponse:
        """The same of one run."""
        async with site.read.read() as tx:
            row = await runs.find(tx, actor.organisation, run)
        if row is None:
            raise NotFound("run", run[:80])
        site.live.check_room()
        return EventStream(told(request, actor, run=row.id))
