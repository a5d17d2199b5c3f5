"""The Build tab and the log of a build."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

from fastapi import APIRouter
from shared.errors import KiopsError, Rejected
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from gateway import text
from gateway.access import Actor
from gateway.contexts.frame import Field, Pager
from gateway.contexts.service import BuildPage, LogPage, RunningBuild
from gateway.errors import NotFound
from gateway.live import EventStream
from gateway.logs import BuildLogs, Line, Pause, Progress, Quiet, Restarted
from gateway.pages import building, logs
from gateway.pages.door import Number, Pages, bounded
from gateway.pages.live import event
from gateway.store import pages_runs as store

ROWS = 30
LINES = 5000


def routes(pages: Pages) -> APIRouter:
    router = pages.router()
    site = pages.site
    read = BuildLogs(site.host.bus, site.host.objects, site.read)

    async def build_page(
        request: Request, actor: Actor, name: str, fields: dict[str, str], error: Rejected | None = None, before: int = 0
    ) -> Response:
        at = str(error.detail.get("field", "")) if error else ""
        at = "ref" if at in ("branch", "tag", "commit", "ref") else at
        told = error is not None and at not in ("ref", "version")
        async with pages.read() as tx:
            row, head = await pages.service(tx, actor, name)
            usual = await store.usual_stages(tx, row.id, 2**31 - 1)
            now = site.clock.now_ms()
            rows = await store.builds_page(tx, row.id, before=before, limit=ROWS + 1)
            shown = rows[:ROWS]
            statistics = await store.build_statistics(tx, row.id)
            newer, back = (0, 0)
            if before:
                newer, back = await store.builds_newer(tx, row.id, shown[0].number if shown else before - 1, ROWS)
            address = f"{head.href}/build"
            page = BuildPage(
                frame=await pages.frame(request, actor, tx, section="services", stream=row.id),
                service=head,
                refs=tuple(dict.fromkeys([row.branch, *await store.branches(tx, row.id)])),
                ref_kind=Field(fields.get("ref_kind", "branch")),
                ref=Field(fields.get("ref", row.branch), error.message if error and at == "ref" else ""),
                version=Field(fields.get("version", ""), error.message if error and at == "version" else ""),
                running=tuple(
                    RunningBuild(
                        building.row(build, name),
                        building.stages(build, usual, now),
                        f"/services/{name}/runs/{build.number}/cancel",
                        building.waits(build),
                    )
                    for build in await store.builds_open(tx, row.id)
                ),
                rows=tuple(building.row(build, name) for build in shown),
                pager=Pager(
                    newer + 1,
                    newer + len(shown),
                    statistics.total if statistics else 0,
                    "builds",
                    newer=(f"{address}?before={back}" if back else address) if newer else "",
                    older=f"{address}?before={shown[-1].number}" if len(rows) > ROWS else "",
                ),
                statistics=building.statistics(statistics),
                problem=error.message if told and error else "",
                problem_advice=error.advice if told and error else "",
                problem_code=error.code if told and error else "",
            )
        return pages.show(request, "service/build.html", page, error.status if error else 200)

    @router.get("/services/{name}/build")
    async def builds(request: Request, name: str, before: int = 0) -> Response:
        return await build_page(request, await pages.actor(request), name, {}, before=bounded(before))

    @router.post("/services/{name}/build")
    async def start(request: Request, name: str) -> Response:
        actor, fields = await pages.form(request)
        kind, ref = fields.get("ref_kind", "branch"), fields.get("ref", "").strip()
        if kind not in ("branch", "tag", "commit"):
            kind = "branch"
        try:
            if not ref:
                raise Rejected("input.ref", f"Enter the name of a {kind}.", field="ref")
            outcome = await site.handlers.runs.start(actor, name, **{kind: ref}, version=fields.get("version", "").strip() or None)
        except NotFound as error:
            if error.code == "service.not_found":
                raise
            return await build_page(request, actor, name, fields, error)
        except Rejected as error:
            if error.code.startswith("source.") and "field" not in error.detail:
                error.detail["field"] = "ref"
            return await build_page(request, actor, name, fields, error)
        number = outcome.data.get("number", "")
        said = "started" if outcome.state == "accepted" else "started-asked"
        return pages.go(f"/services/{name}/runs/{number}" if number and outcome.seen else f"/services/{name}/build", said)

    # -- the log -----------------------------------------------------------------------------------------------------
    async def find(request: Request, name: str, number: int) -> tuple[Actor, Any, Any]:
        actor = await pages.actor(request)
        async with pages.read() as tx:
            service, _ = await pages.service(tx, actor, name)
            build = await store.build_numbered(tx, service.id, number)
        if build is None:
            raise NotFound("build", f"{name} #{number}")
        return actor, service, build

    @router.get("/services/{name}/builds/{number}")
    async def log(request: Request, name: str, number: Number, all: str = "") -> Response:
        actor, service, build = await find(request, name, number)
        lines, problem = [], ""
        if build.log:
            try:
                lines = await read.whole(build.log)
            except KiopsError as error:
                problem = text.sentence(error.message)
        skipped = 0 if all else max(0, len(lines) - LINES)
        running = build.state in ("queued", "running")
        async with pages.read() as tx:
            _, head = await pages.service(tx, actor, name)
            usual = await store.usual_stages(tx, service.id, number)
            page = LogPage(
                frame=await pages.frame(request, actor, tx, section="services", stream=service.id),
                service=head,
                build=building.row(build, name),
                stages=building.stages(build, usual, site.clock.now_ms()),
                log=logs.folded(lines, build, skipped),
                lines=len(lines),
                errors=tuple(line.number for line in lines[skipped:] if logs.tone(line.text) == "err"),
                live=f"/services/{name}/builds/{number}/live" if running else "",
                next_line=0,
                download=f"/services/{name}/builds/{number}/log.txt",
                cancel_href=f"/services/{name}/runs/{number}/cancel" if running else "",
                reason=build.reason if build.state == "failed" else "",
                advice=build.advice,
                code=build.code,
                problem=problem,
                earlier=f"/services/{name}/builds/{number}?all=1" if skipped else "",
                cause=building.cause(build),
            )
        return pages.show(request, "service/log.html", page)

    @router.get("/services/{name}/builds/{number}/log.txt")
    async def download(request: Request, name: str, number: Number) -> Response:
        actor, _, build = await find(request, name, number)
        lines = await read.so_far(actor.organisation, build.id)
        headers = {"content-disposition": f'attachment; filename="{name}-{number}.log"'}
        return PlainTextResponse("".join(f"{line.text}\n" for line in lines), headers=headers)

    @router.get("/services/{name}/builds/{number}/live")
    async def live(request: Request, name: str, number: Number) -> Response:
        actor, _, build = await find(request, name, number)
        given = request.query_params.get("from", "0")
        first = int(given) if given.isdigit() and len(given) < 10 else 0

        async def events() -> AsyncGenerator[str, None]:
            some: list[dict[str, Any]] = []
            quiet = 0
            async for item in read.follow(actor.organisation, build.id, first, quiet_seconds=0.05):
                match item:
                    case Line():
                        some.append(logs.wire(item))
                        quiet = 0
                    case Progress():
                        yield event("progress", {"percent": item.percent, "stage": item.stage, "text": item.text})
                    case Restarted():
                        some.clear()
                        yield event("again", {})
                    case Quiet():
                        quiet += 1
                if some and (quiet or isinstance(item, Pause) or len(some) >= 200):
                    yield event("lines", some, some[-1]["number"])
                    some = []
                elif quiet and quiet % 300 == 0:
                    yield ": still here\n\n"
            if some:
                yield event("lines", some, some[-1]["number"])
            yield event("end", {})

        return EventStream(events())

    return router
