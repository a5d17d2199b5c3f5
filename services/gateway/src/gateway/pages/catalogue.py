"""Dashboard, services, search, and adding a service."""

from __future__ import annotations

from fastapi import APIRouter
from shared.errors import KiopsError, Rejected
from starlette.requests import Request
from starlette.responses import Response

from gateway import labels
from gateway.contexts.catalogue import AddServicePage, Connection, DashboardPage, SearchPage, ServicesPage
from gateway.contexts.frame import Choice, Field
from gateway.contexts.service import ConnectionPart
from gateway.handlers.rules import EnvironmentForm
from gateway.handlers.services import Credential, ServiceForm
from gateway.labels import State
from gateway.pages import cards
from gateway.pages.door import Pages
from gateway.store import pages_services as store

DASHBOARD_ROWS = 200
SERVICES_ROWS = 60
_GROUPS = {"failing": labels.FAILING, "moving": labels.MOVING}
_DEFAULTS = {
    "name": "",
    "repository_url": "",
    "branch": "",
    "description": "",
    "token": "",
    "dockerfile": "./Dockerfile",
    "context": ".",
    "environment": "production",
    "environment_kind": "production",
    "container_port": "8080",
    "health_path": "/",
}
# Which field of the form an error's field is.
_SHOWN_AT = {
    "environments": "environment",
    "branches": "branch",
    "kind": "environment_kind",
    "password": "token",
    "credential": "token",
    "port": "container_port",
}


def choices(address: str, counts: dict[str, int], chosen: str) -> tuple[Choice, ...]:
    total = sum(counts.values())
    found = [Choice("All", address, chosen not in _GROUPS, total)]
    for key, states in _GROUPS.items():
        found.append(Choice(key.capitalize(), f"{address}?show={key}", chosen == key, sum(counts.get(s, 0) for s in states)))
    return tuple(found)


def tested(answer: object) -> Connection:
    """The sentence about a test that worked."""
    found = len(answer.branches)  # type: ignore[attr-defined]
    words = f"Works: {found} {'branch' if found == 1 else 'branches'}"
    if tags := len(answer.tags):  # type: ignore[attr-defined]
        words += f", {tags} {'tag' if tags == 1 else 'tags'}"
    branches = tuple(branch.name for branch in answer.branches)  # type: ignore[attr-defined]
    return Connection(State("ok", words + "."), "", "", branches, answer.default_branch)  # type: ignore[attr-defined]


def refused(error: KiopsError) -> Connection:
    return Connection(State("bad", error.message), error.advice, error.code)


def credential(fields: dict[str, str]) -> Credential | None:
    token = fields.get("token", "").strip()
    return Credential("oauth2", token) if token else None


def routes(pages: Pages) -> APIRouter:
    router = pages.router()
    handlers = pages.site.handlers

    @router.get("/dashboard")
    async def dashboard(request: Request, show: str = "") -> Response:
        actor = await pages.actor(request)
        async with pages.read() as tx:
            counts = await store.by_state(tx, actor.organisation)
            rows = await store.page(tx, actor.organisation, states=_GROUPS.get(show, ()), limit=DASHBOARD_ROWS)
            every = rows if show not in _GROUPS else await store.page(tx, actor.organisation, limit=DASHBOARD_ROWS)
            ids = [row.id for row in rows]
            environments = {(e.service_id, e.name): e for e in await store.environments_of(tx, ids)}
            runtimes = await store.runtime_labels(tx, actor.organisation)
            lately = await store.ended_lately(tx, actor.organisation, 6)
            page = DashboardPage(
                frame=await pages.frame(request, actor, tx, section="dashboard", stream="all"),
                summary=cards.summary(counts),
                show=choices("/dashboard", counts, show),
                rows=tuple(cards.dashboard_row(row, environments, runtimes) for row in rows),
                total=sum(counts.values()),
                needs=(*cards.set_aside(handlers.upkeep.dead_letters), *cards.needs(every)),
                activity=tuple(cards.activity(run) for run in lately),
            )
        return pages.show(request, "catalogue/dashboard.html", page)

    @router.get("/services")
    async def services(request: Request, show: str = "", q: str = "", all: str = "") -> Response:
        actor = await pages.actor(request)
        words = q.strip()[:100]
        async with pages.read() as tx:
            counts = await store.by_state(tx, actor.organisation)
            limit = 2000 if all else SERVICES_ROWS
            rows = await store.page(
                tx, actor.organisation, states=_GROUPS.get(show, ()), words=words, limit=limit + 1, by_name=True
            )
            shown = rows[:limit]
            ids = [row.id for row in shown]
            builds = await store.last_builds(tx, ids)
            environments = await store.environments_of(tx, ids)
            projects = cards.projects(shown, builds, environments)
            total = sum(counts.values())
            page = ServicesPage(
                frame=await pages.frame(request, actor, tx, section="services", stream="all"),
                summary=cards.from_projects(total, len(projects)) if len(shown) == total else cards.summary(counts),
                show=choices("/services", counts, show),
                projects=projects,
                shown=len(shown),
                total=total,
                filter=words,
                more=f"/services?all=1&show={show}" if len(rows) > limit else "",
                any=total > 0,
            )
        return pages.show(request, "catalogue/services.html", page)

    @router.get("/search")
    async def search(request: Request, q: str = "") -> Response:
        actor = await pages.actor(request)
        words = q.strip()[:100]
        async with pages.read() as tx:
            found = [(), (), ()]
            if words:
                found = [
                    [cards.service_hit(row) for row in await store.search_services(tx, actor.organisation, words, 20)],
                    [cards.run_hit(row) for row in await store.search_runs(tx, actor.organisation, words, 30)],
                    [cards.finding_hit(row) for row in await store.search_findings(tx, actor.organisation, words, 30)],
                ]
            page = SearchPage(await pages.frame(request, actor, tx), *(tuple(hits) for hits in found))
        return pages.show(request, "catalogue/search.html", page)

    async def add_page(
        request: Request,
        actor: object,
        values: dict[str, str],
        connection: Connection | None = None,
        error: KiopsError | None = None,
    ) -> Response:
        at = str(error.detail.get("field", "")) if error else ""
        at = _SHOWN_AT.get(at, at)
        async with pages.read() as tx:
            frame = await pages.frame(request, actor, tx, section="services")  # type: ignore[arg-type]
        fields = {
            key: Field(values.get(key, default), error.message if error and key == at else "") for key, default in _DEFAULTS.items()
        }
        told = error is not None and at not in fields
        page = AddServicePage(
            frame,
            fields,
            connection or Connection(),
            error.message if told and error else "",
            error.advice if told and error else "",
            error.code if told and error else "",
        )
        return pages.show(request, "catalogue/add.html", page, error.status if error else 200)

    @router.get("/services/new")
    async def new(request: Request) -> Response:
        return await add_page(request, await pages.actor(request), {})

    @router.post("/services/test")
    async def test(request: Request) -> Response:
        actor, fields = await pages.form(request)
        try:
            answer = await handlers.services.test(
                actor, repository_url=fields.get("repository_url", ""), credential=credential(fields)
            )
            connection = tested(answer)
        except KiopsError as error:
            connection = refused(error)
        if not request.headers.get("hx-request"):
            return await add_page(request, actor, fields, connection)
        async with pages.read() as tx:
            frame = await pages.frame(request, actor, tx)
        part = ConnectionPart(frame, connection, Field(fields.get("branch", "")))
        return pages.show(request, "catalogue/connection.html", part)

    @router.post("/services")
    async def add(request: Request) -> Response:
        actor, fields = await pages.form(request)
        port = fields.get("container_port", "").strip()
        try:
            if not port.isascii() or not port.isdigit() or len(port) > 5:
                raise Rejected("input.port", "A port from 1 to 65535.", field="container_port")
            done = await handlers.services.register(
                actor,
                ServiceForm(
                    name=fields.get("name", "").strip(),
                    repository_url=fields.get("repository_url", "").strip(),
                    branch=fields.get("branch", "").strip() or "main",
                    description=fields.get("description", "").strip(),
                    dockerfile=fields.get("dockerfile", "").strip(),
                    context=fields.get("context", "").strip(),
                ),
                credential=credential(fields),
                environment=EnvironmentForm(
                    name=fields.get("environment", "").strip(),
                    kind=fields.get("environment_kind", "not_production"),
                    container_port=int(port),
                    health_path=fields.get("health_path", "").strip() or "/",
                ),
            )
        except Rejected as error:
            return await add_page(request, actor, fields, error=error)
        asked = any(outcome.state != "accepted" for outcome in done.orders)
        return pages.go(f"/services/{done.name}/source", "added-asked" if asked else "added")

    return router
