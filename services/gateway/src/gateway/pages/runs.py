"""Runs of a service; an opened row shows its timeline."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from gateway import journey, labels, text
from gateway.access import Actor
from gateway.contexts.frame import Choice, Pager, Version
from gateway.contexts.runs import RunDetail, RunRow, RunsPage
from gateway.errors import NotFound
from gateway.pages import timeline
from gateway.pages.door import Number, Pages
from gateway.pages.findings import number_of
from gateway.store import pages_findings, pages_services
from gateway.store import pages_runs as store

ROWS = 30
_SHOW = (("", "All"), ("running", "Running"), ("failed", "Failed"), ("blocked", "Blocked"), ("success", "Passed"))
ENDED = ("success", "failed", "blocked", "cancelled", "superseded")


def row(run: Any, service: str, now_ms: int, query: str = "", open_number: int | None = None) -> RunRow:
    """A row of the table."""
    state = labels.run_state(run)
    drawn, words = labels.pips(run.steps or {})
    end = run.finished_at_ms or now_ms
    is_open = run.number == open_number
    href = f"/services/{service}/runs{'' if is_open else f'/{run.number}'}"
    return RunRow(
        id=f"run-{run.number}",
        number=run.number,
        href=f"{href}?{query}" if query else href,
        state=state,
        pips=drawn,
        pips_words=words,
        version=Version(run.version, bool(run.by_hand)) if run.version else None,
        cause=labels.trigger(run.trigger),
        who=run.executor or run.author,
        message=run.message or run.cause,
        branch=run.branch or run.tag,
        commit=run.commit,
        at_ms=run.born_at_ms,
        took_ms=end - run.born_at_ms if run.born_at_ms else None,
        open=is_open,
    )


async def detail(tx: Any, run: Any, service: str, shown: RunRow, now_ms: int, link: str, trace_id: str) -> RunDetail:
    """The opened row."""
    steps = await store.steps(tx, run.id)
    line = await journey.of_run(tx, run, now_ms)
    picture = timeline.draw(run, line, steps)
    say, because = timeline.told(run, line, picture, shown.state)
    failed = next((s for s in steps if s.state in ("failed", "blocked") and s.step == run.ended_step), None)
    bad = run.state in ("failed", "blocked")
    scans = await pages_findings.areas(tx, run.id)
    build = await store.build_numbered(tx, run.service_id, run.number)
    decisions = await store.decisions_of(tx, run.id)
    base = f"/services/{service}/runs/{run.number}"
    digest = run.digest or run.image_id
    return RunDetail(
        row=shown,
        say=say,
        because=because if not bad else "",
        reason=run.reason if bad else "",
        advice=(failed.advice if failed is not None else "") if bad else "",
        code=run.code if bad else "",
        tone="bad",
        timeline=picture,
        moving=run.finished_at_ms is None,
        log_href=f"/services/{service}/builds/{run.number}" if build is not None else "",
        log_live=build is not None and build.state in ("queued", "running"),
        verdict_href=f"{base}/gate" if decisions else "",
        findings_href=f"{base}/findings" if scans else "",
        findings=number_of(scans),
        digest=digest or "",
        digest_short=text.short_digest(digest or ""),
        cancel_href=f"{base}/cancel" if run.state not in ENDED else "",
        link=link,
        trace_id=trace_id,
    )


def routes(pages: Pages) -> APIRouter:
    router = pages.router()

    async def runs_page(request: Request, actor: Actor, name: str, number: int | None = None) -> Response:
        params = request.query_params
        group = params.get("state", "") if params.get("state", "") in store.GROUPS else ""
        branch = params.get("branch", "")[:200]
        given = params.get("before", "")
        before = int(given) if given.isdigit() and len(given) < 10 else 0
        async with pages.read() as tx:
            service, head = await pages.service(tx, actor, name)
            now = pages.site.clock.now_ms()
            opened = None
            if number is not None:
                opened = await store.numbered(tx, service.id, number)
                if opened is None:
                    raise NotFound("run", f"{name} #{number}")
            rows = list(await store.page(tx, service.id, group=group, branch=branch, before=before, limit=ROWS + 1))
            if opened is not None and not any(r.number == opened.number for r in rows[:ROWS]):
                # A link to an old run shows the page that it is on.
                group, branch, before = "", "", opened.number + 1
                rows = list(await store.page(tx, service.id, before=before, limit=ROWS + 1))
            shown = rows[:ROWS]
            kept = {k: v for k, v in (("state", group), ("branch", branch), ("before", before or "")) if v}
            query = urlencode(kept)
            made = [row(r, name, now, query, number) for r in shown]
            total = await store.count(tx, service.id, group, branch)
            above = await store.count(tx, service.id, group, branch, shown[0].number) if before and shown else 0
            back = await store.newer(tx, service.id, group, branch, shown[0].number, ROWS) if above else 0

            def address(**more: Any) -> str:
                found = {k: v for k, v in {**kept, "before": "", **more}.items() if v}
                return f"{head.href}/runs{'?' + urlencode(found) if found else ''}"

            open_row = next((r for r in made if r.open), None)
            page = RunsPage(
                frame=await pages.frame(request, actor, tx, section="services", stream=service.id),
                service=head,
                show=tuple(Choice(label, address(state=key), key == group) for key, label in _SHOW),
                branches=tuple(await store.branches(tx, service.id)),
                branch=branch,
                state_key=group,
                rows=tuple(made),
                detail=await detail(
                    tx, opened, name, open_row, now, f"{head.href}/runs/{number}", pages.site.collected(opened.trace_id)
                )
                if opened is not None and open_row is not None
                else None,
                pager=Pager(
                    above + 1,
                    above + len(shown),
                    total,
                    "runs",
                    newer=address(before=back) if above else "",
                    older=address(before=shown[-1].number) if len(rows) > ROWS else "",
                ),
                filtered=bool(group or branch),
            )
        return pages.show(request, "runs/runs.html", page)

    @router.get("/services/{name}")
    async def service(request: Request, name: str) -> Response:
        actor = await pages.actor(request)
        async with pages.read() as tx:
            row, head = await pages.service(tx, actor, name)
            # A service that has not run yet is set up first: its webhook stands on Source.
            first = "runs" if await pages_services.how_many_runs(tx, row.id) else "source"
        return pages.go(f"{head.href}/{first}")

    @router.get("/services/{name}/runs")
    async def runs(request: Request, name: str) -> Response:
        return await runs_page(request, await pages.actor(request), name)

    @router.get("/services/{name}/runs/{number}")
    async def run(request: Request, name: str, number: Number) -> Response:
        return await runs_page(request, await pages.actor(request), name, number)

    @router.post("/services/{name}/runs/{number}/cancel")
    async def cancel(request: Request, name: str, number: Number) -> Response:
        actor, _ = await pages.form(request)
        async with pages.read() as tx:
            row, _ = await pages.service(tx, actor, name)
            found = await store.numbered(tx, row.id, number)
        if found is None:
            raise NotFound("run", f"{name} #{number}")
        outcome = await pages.site.handlers.runs.cancel(actor, found.id)
        said = "cancelled" if outcome.state == "accepted" else "cancelled-asked"
        return pages.go(f"/services/{name}/runs/{number}", said)

    return router
