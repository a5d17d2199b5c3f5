"""Builds and their logs."""

import json
from collections.abc import AsyncGenerator
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request
from shared.errors import KiopsError
from shared.words import Trigger
from starlette.responses import Response

from gateway.api import models as m
from gateway.api.depends import Cursor, Limit, Who
from gateway.api.paging import decode, page
from gateway.api.streams import event
from gateway.errors import BadInput, NotFound
from gateway.live import EventStream
from gateway.logs import BuildLogs, Line, Progress, Quiet, Restarted
from gateway.site import Site
from gateway.store import builds as store
from gateway.store import services
from gateway.store.lists import Shown
from gateway.tables.read_model import builds

_LOG = {
    200: {
        "description": "The log: as text, as NDJSON (Accept: application/x-ndjson), or followed (Accept: text/event-stream)",
        "content": {
            "text/plain": {"schema": {"type": "string"}},
            "application/x-ndjson": {"schema": {"type": "string"}},
            "text/event-stream": {"schema": {"type": "string"}},
        },
    }
}
_LAST_LINE = 2**31
_SHOWN = Shown(builds, m.BuildOut.model_fields)


def routes(site: Site, router: APIRouter) -> None:
    logs = BuildLogs(site.host.bus, site.host.objects, site.read)

    @router.get("/builds", tags=["builds"], response_model=m.Page[m.BuildOut])
    async def list_builds(actor: Who, service: str = "", state: str = "", cursor: Cursor = "", limit: Limit = 50) -> Any:
        """Newest first."""
        key = decode(cursor, str)
        async with site.read.read() as tx:
            found = await services.find(tx, actor.organisation, service) if service else None
            if service and found is None:
                raise NotFound("service", service[:80])
            rows = await store.listed(
                tx,
                _SHOWN,
                actor.organisation,
                service_id=found.id if found else "",
                state=state,
                before=key[0] if key else "",
                limit=limit + 1,
            )
        return page(_SHOWN, rows, limit, "id")

    @router.post("/services/{service}/builds", tags=["builds"], response_model=m.OutcomeOut, status_code=202)
    async def start(actor: Who, service: str, body: m.BuildIn | None = None) -> Any:
        """Begin a run by hand, of a branch, tag or commit. `data` has the run and its number once it is accepted."""
        given = (body or m.BuildIn()).model_dump()
        trigger = Trigger.API if actor.via == "token" else Trigger.MANUAL
        return await site.handlers.runs.start(actor, service, trigger=trigger, **given)

    @router.get("/builds/{build}", tags=["builds"], response_model=m.BuildOut)
    async def show(actor: Who, build: str) -> Any:
        """By its id, or by that of its run."""
        return m.BuildOut.model_validate(await _row(actor, build))

    @router.get("/builds/{build}/log", tags=["builds"], responses=_LOG, response_class=Response)
    async def log(
        request: Request,
        actor: Who,
        build: str,
        after: Annotated[int, Query(ge=0, lt=_LAST_LINE, description="Only lines after this number")] = 0,
        last_event_id: Annotated[str, Header(max_length=20)] = "",
    ) -> Response:
        """The log so far. Followed, each event `line` has its number as id, so that a reader continues where it was."""
        row = await _row(actor, build)
        wanted = request.headers.get("accept", "")
        if "text/event-stream" in wanted:
            if last_event_id:
                if not last_event_id.isascii() or not last_event_id.isdigit():
                    raise BadInput("last_event_id", "The number of a line.", field="Last-Event-ID")
                after = min(int(last_event_id), _LAST_LINE)
            return EventStream(_followed(actor, row.id, after))
        lines = [line for line in await logs.so_far(actor.organisation, row.id) if line.number > after]
        if "application/x-ndjson" in wanted:
            body = "".join(json.dumps(asdict(line), ensure_ascii=False) + "\n" for line in lines)
            return Response(body, media_type="application/x-ndjson")
        return Response(
            "".join(line.text + "\n" for line in lines),
            media_type="text/plain; charset=utf-8",
            headers={"content-disposition": f'inline; filename="{row.id}.log"'},
        )

    async def _followed(actor: Any, build: str, after: int) -> AsyncGenerator[str, None]:
        try:
            async for item in logs.follow(actor.organisation, build, after, quiet_seconds=15):
                match item:
                    case Line():
                        yield event("line", asdict(item), item.number)
                    case Progress():
                        yield event("progress", asdict(item))
                    case Restarted():
                        yield event("restarted", {})
                    case Quiet():
                        yield ": still here\n\n"
        except KiopsError as error:
            # The answer has begun: the reader is told in the stream, and may come back.
            yield event("problem", {"code": error.code, "detail": error.message, "advice": error.advice})
            return
        yield event("end", {})

    async def _row(actor: Any, build: str) -> Any:
        async with site.read.read() as tx:
            row = await store.find(tx, actor.organisation, build)
        if row is None:
            raise NotFound("build", build[:80])
        return row
