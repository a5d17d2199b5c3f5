"""The Deploy tab and the way back."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from fastapi import APIRouter
from shared.errors import KiopsError
from starlette.requests import Request
from starlette.responses import Response

from gateway import labels, text
from gateway.contexts.frame import Choice, Pager, Version
from gateway.contexts.service import DeployPage, DiffPart, EnvironmentPanel, ReleaseRow, RollbackPage
from gateway.errors import NotFound
from gateway.pages.door import Pages, bounded
from gateway.store import pages_releases as store
from gateway.store import pages_services

ROWS = 20


def version(row: Any, number: int | None) -> Version:
    return Version(row.version or f"release {number}", bool(row.by_hand))


def rollback_href(service: str, environment: str, release: str) -> str:
    return f"/services/{service}/rollback?{urlencode({'environment': environment, 'release': release})}"


def by(trigger: str, executor: str) -> str:
    """ "by a push of Mira Osei", "by Ana Kovač"."""
    if trigger == "webhook":
        return f"by a push{f' of {executor}' if executor else ''}"
    return f"by {executor}" if executor else labels.trigger(trigger).lower()


def panel(row: Any, service: str, runtimes: dict[str, Any], before: Any, moving: Any) -> EnvironmentPanel:
    """What runs in an environment."""
    runtime = runtimes.get(row.runtime)
    where = runtime.label if runtime is not None and runtime.label else row.runtime
    state = labels.of(labels.ENVIRONMENT, row.state).because(row.state_text or "")
    serves = row.release_id is not None
    progress, percent = "", None
    if moving is not None:
        progress = f"[{moving.step}/{moving.steps}] {moving.text}" if moving.steps else moving.text or "waits for the gate"
        percent = round(100 * moving.step / moving.steps) if moving.steps else None
    return EnvironmentPanel(
        name=row.name,
        kind=labels.ENVIRONMENT_KIND.get(row.kind, row.kind) if row.name != row.kind else "",
        state=state,
        version=version(row, row.release_number) if serves else None,
        release=row.release_number if serves and row.version else None,
        since_ms=row.since_ms,
        by=by(row.trigger, row.executor),
        commit=row.commit,
        runs_on=f"{where}{f', {row.container}' if row.container else ''}",
        url=row.url if serves else "",
        gate=labels.of(labels.VERDICT, row.verdict) if row.verdict else None,
        gate_href=f"/services/{service}/runs/{row.run_number}/gate" if row.run_number else "",
        back_href=rollback_href(service, row.name, before.id) if before is not None else "",
        back_label=f"Back to {version(before, before.number).shown}" if before is not None else "",
        broken=row.state in ("degraded", "deploy_failed"),
        progress=progress,
        percent=percent,
        run_href=f"/services/{service}/runs/{moving.number}" if moving is not None else "",
    )


def release_row(row: Any, service: str, serving: str | None, now_ms: int) -> ReleaseRow:
    """A row of the history."""
    state = labels.of(labels.RELEASE, row.state)
    if row.state in ("failed", "not_healthy"):
        state = state.because(row.reason)
    elif row.back_to_number:
        state = state.because(f"brought {row.back_to_number} back")
    now = row.id == serving
    until = row.retired_at_ms or now_ms
    served = text.about(until - row.ready_at_ms) if row.ready_at_ms else ""
    return ReleaseRow(
        number=row.number,
        version=version(row, row.number),
        state=state,
        served=f"{served}, now" if now and served else served,
        image=row.digest or row.image_id,
        image_short=text.short_digest(row.digest or row.image_id),
        cause=labels.trigger(row.trigger),
        who=row.executor,
        at_ms=row.ready_at_ms or row.started_at_ms or row.planned_at_ms,
        took_ms=row.duration_ms,
        run_number=row.run_number,
        run_href=f"/services/{service}/runs/{row.run_number}",
        back_href="" if now or not row.ready_at_ms else rollback_href(service, row.environment, row.id),
        back_to=row.back_to_number,
        note="runs now" if now else "never served" if row.state in ("failed", "cancelled") and not row.ready_at_ms else "",
    )


def diff(lines: list[str]) -> tuple[DiffPart, ...]:
    """Lines such as "- image shop@sha256:...", "  variable PORT=8080", "+ health path /ready" in parts by what they are about."""
    parts: dict[str, list[tuple[str, str]]] = {"Image": [], "Variables": [], "Settings": []}
    for line in lines:
        kind = {"-": "del", "+": "add"}.get(line[:1], "same")
        what, _, rest = line[1:].strip().partition(" ")
        named = {"image": "Image", "variable": "Variables"}.get(what)
        parts[named or "Settings"].append((kind, rest if named else line[1:].strip()))
    return tuple(DiffPart(title, "" if title == "Image" else _changed(rows), tuple(rows)) for title, rows in parts.items() if rows)


def _changed(rows: list[tuple[str, str]]) -> str:
    """ "2 come back, 1 stays"."""
    same = sum(1 for kind, _ in rows if kind == "same")
    changed = max(sum(1 for kind, _ in rows if kind == "add"), sum(1 for kind, _ in rows if kind == "del"))
    back = f"{changed} {'comes' if changed == 1 else 'come'} back" if changed else ""
    stay = f"{same} {'stays' if same == 1 else 'stay'}" if same else ""
    return ", ".join(w for w in (back, stay) if w)


def routes(pages: Pages) -> APIRouter:
    router = pages.router()

    @router.get("/services/{name}/deploy")
    async def deploy(request: Request, name: str, environment: str = "", before: int = 0) -> Response:
        actor = await pages.actor(request)
        before = bounded(before)
        async with pages.read() as tx:
            row, head = await pages.service(tx, actor, name)
            environments = sorted(
                await pages_services.environments_of(tx, [row.id]), key=lambda e: (e.kind == "production", e.name)
            )
            runtimes = await pages_services.runtime_labels(tx, actor.organisation)
            moving = await store.moving(tx, row.id)
            panels = []
            for each in environments:
                serving = await store.find(tx, row.id, each.release_id) if each.release_id else None
                back = await store.before(tx, row.id, each.name, serving) if serving is not None else None
                panels.append(panel(each, name, runtimes, back, moving.get(each.name)))
            names = [each.name for each in environments]
            chosen = environment if environment in names else row.deployed_environment
            chosen = chosen if chosen in names else next(iter(names), "")
            releases = await store.history(tx, row.id, chosen, before=before, limit=ROWS + 1)
            shown = releases[:ROWS]
            serving_id = next((each.release_id for each in environments if each.name == chosen), None)
            total = await store.count(tx, row.id, chosen)
            above = await store.count(tx, row.id, chosen, shown[0].number) if before and shown else 0
            back_to = await store.newer(tx, row.id, chosen, shown[0].number, ROWS) if above else 0

            def address(at: int = 0) -> str:
                kept = {k: v for k, v in (("environment", chosen), ("before", at)) if v}
                return f"{head.href}/deploy?{urlencode(kept)}"

            page = DeployPage(
                frame=await pages.frame(request, actor, tx, section="services", stream=row.id),
                service=head,
                environments=tuple(panels),
                chosen=chosen,
                choices=tuple(Choice(n, f"{head.href}/deploy?{urlencode({'environment': n})}", n == chosen) for n in names),
                history=tuple(release_row(r, name, serving_id, pages.site.clock.now_ms()) for r in shown),
                pager=Pager(
                    above + 1,
                    above + len(shown),
                    total,
                    "releases",
                    newer=address(back_to) if above else "",
                    older=address(shown[-1].number) if len(releases) > ROWS else "",
                ),
            )
        return pages.show(request, "service/deploy.html", page)

    @router.get("/services/{name}/rollback")
    async def preview(request: Request, name: str, environment: str = "", release: str = "") -> Response:
        actor = await pages.actor(request)
        answer, refused = None, None
        try:
            answer = await pages.site.handlers.releases.preview(actor, name, environment, release or None)
        except NotFound:
            raise
        except KiopsError as error:
            refused = error
        async with pages.read() as tx:
            row, head = await pages.service(tx, actor, name)
            wanted = await store.find(tx, row.id, release or (answer.release if answer else ""))
            if wanted is None or wanted.environment != environment:
                raise NotFound("release", (release or environment)[:80])
            at = next((e for e in await pages_services.environments_of(tx, [row.id]) if e.name == environment), None)
            served = (wanted.retired_at_ms or 0) - (wanted.ready_at_ms or 0)
            shown = version(wanted, wanted.number)
            code = message = advice = ""
            if refused is not None:
                code, message, advice = refused.code, refused.message, refused.advice
            elif not answer.image_exists:
                code, message = "image.gone", f"The image of {shown.shown} was removed."
                advice = "Build its commit again and deploy that."
            elif not answer.target_reachable:
                code, message = "runtime.away", "The runtime does not answer."
                advice = "What serves goes on serving. Try again when it answers."
            page = RollbackPage(
                frame=await pages.frame(request, actor, tx, section="services"),
                service=head,
                environment=environment,
                release=wanted.id,
                version=shown,
                now=version(at, at.release_number) if at is not None and at.release_id else None,
                served=f"{shown.shown} served for {text.about(served)}." if served > 0 else f"{shown.shown} served before.",
                diff=diff(answer.lines) if answer else (),
                about=f"About {text.about(wanted.duration_ms)}; no request is lost" if wanted.duration_ms else "No request is lost",
                refused=message,
                advice=advice,
                code=code,
            )
        return pages.show(request, "service/rollback.html", page)

    @router.post("/services/{name}/rollback")
    async def roll_back(request: Request, name: str) -> Response:
        actor, fields = await pages.form(request)
        outcome = await pages.site.handlers.releases.roll_back(
            actor, name, fields.get("environment", ""), fields.get("release") or None
        )
        number = outcome.data.get("number", "")
        said = "rolling-back" if outcome.state == "accepted" else "rolling-back-asked"
        to = f"/services/{name}/runs/{number}" if number and outcome.seen else f"/services/{name}/deploy"
        return pages.go(to, said)

    return router
