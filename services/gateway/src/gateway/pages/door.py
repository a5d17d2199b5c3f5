"""The door of the pages: who asks, the frame around a page, and errors told in words."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Annotated, Any
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Path
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from shared.context import current
from shared.database import Tx
from shared.errors import KiopsError, Rejected
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Match, Route
from starlette.types import Scope

from gateway.access import Actor
from gateway.contexts.frame import Frame, Person
from gateway.contexts.people import ErrorPage
from gateway.contexts.service import Header
from gateway.errors import NotFound, SignInNeeded
from gateway.pages import heads
from gateway.pages.render import renderer
from gateway.pages.said import COOKIE, SAID
from gateway.site import Site
from gateway.store import pages_services, position
from shared import logging

MOST = 2**31 - 1
Number = Annotated[int, Path(ge=0, le=MOST)]
"""The number of a run or build in an address; what no database could hold is not found."""

_TITLES = {
    400: "This request cannot be understood.",
    401: "You are not signed in.",
    403: "This form is too old or not from here.",
    404: "This does not exist.",
    405: "This address does not take that.",
    409: "This cannot be done now.",
    413: "This is too large.",
    422: "This cannot be done as it was asked.",
    429: "Too many tries.",
    503: "This cannot be shown just now.",
}


def bounded(number: int) -> int:
    """A number of a query, as large as a database can hold."""
    return min(max(0, number), MOST)


class Pages:
    """What every page route is given."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.render = renderer()
        self.version = version("kiops-gateway")

    def router(self) -> APIRouter:
        """A router whose errors are pages."""
        return APIRouter(route_class=_route_class(self))

    async def actor(self, request: Request) -> Actor:
        return await self.site.access.actor(request)

    async def form(self, request: Request) -> tuple[Actor, dict[str, str]]:
        """Who sent a form, and its fields as text. Raises CsrfMissing."""
        actor, fields = await self.site.access.form(request)
        return actor, {key: str(value) for key, value in fields.items() if isinstance(value, str)}

    @asynccontextmanager
    async def read(self) -> Any:
        async with self.site.read.read() as tx:
            yield tx

    async def frame(self, request: Request, actor: Actor, tx: Tx, *, section: str = "", stream: str = "") -> Frame:
        """The frame for a signed-in person. `stream` names what the page's events are about: "all" or a service's id."""
        return Frame(
            person=Person(actor.label or actor.name, actor.name, _role(actor.role)),
            organisation=_organisation(actor.organisation),
            csrf=actor.csrf,
            path=_here(request),
            now_ms=self.site.clock.now_ms(),
            version=self.version,
            section=section,
            services=await pages_services.count(tx, actor.organisation),
            stream="" if not stream else f"/live?{urlencode({'service': stream})}" if stream != "all" else "/live",
            sequence=await position.reached(tx) if stream else 0,
            said=SAID.get(request.cookies.get(COOKIE, ""), ""),
            query=request.query_params.get("q", "")[:200] if request.url.path == "/search" else "",
            strange_stream=self.site.handlers.upkeep.strange_stream,
        )

    def nobody(self, request: Request, csrf: str = "") -> Frame:
        """The frame when nobody is signed in."""
        return Frame(None, "KIOPS", csrf, request.url.path, self.site.clock.now_ms(), self.version)

    async def service(self, tx: Tx, actor: Actor, name: str) -> tuple[Any, Header]:
        """A service's row and head. Raises NotFound."""
        row = await pages_services.named(tx, actor.organisation, name)
        if row is None:
            raise NotFound("service", name[:80])
        return row, heads.header(row, await pages_services.how_many_runs(tx, row.id))

    def show(self, request: Request, template: str, page: Any, status: int = 200) -> Response:
        response = HTMLResponse(self.render(template, page), status)
        if COOKIE in request.cookies and page.frame.said:
            response.delete_cookie(COOKIE, path="/")
        return response

    def go(self, address: str, said: str = "") -> Response:
        """On to another page after a form; `said` is a key of pages.said."""
        response = RedirectResponse(address, 303)
        if said:
            response.set_cookie(COOKIE, said, max_age=20, path="/", httponly=True, samesite="lax")
        return response

    # -- errors ------------------------------------------------------------------------------------------------------
    async def error(self, request: Request, error: Exception) -> Response:
        """The page of an error; sign-in when that is what it takes."""
        if isinstance(error, SignInNeeded):
            return self._sign_in(request)
        status, code, what, advice = _told(error)
        if status >= 500:
            logging.get("gateway").error("a page failed", path=request.url.path, code=code, exc_info=error)
        page = ErrorPage(
            frame=await self._error_frame(request),
            status=status,
            title=_TITLES.get(status, "This page is broken." if status >= 500 else "This cannot be done."),
            what=what,
            advice=advice,
            code=code,
            trace=_trace() if status >= 500 else "",
            again=_here(request) if status in (500, 503) and request.method == "GET" else "",
            **_home(request, status),
        )
        headers = {"retry-after": str(getattr(error, "detail", {}).get("retry_after_seconds", 5))}
        return HTMLResponse(self.render("people/error.html", page), status, headers=headers if status in (429, 503) else None)

    def _sign_in(self, request: Request) -> Response:
        if request.headers.get("hx-request"):  # a part of a page: the whole page goes to sign-in
            return Response(status_code=401, headers={"HX-Redirect": "/sign-in"})
        here = _here(request)
        to = f"?go_to={quote(here, safe='/')}" if request.method == "GET" and here not in ("/", "/dashboard") else ""
        return RedirectResponse(f"/sign-in{to}", 303)

    async def _error_frame(self, request: Request) -> Frame:
        try:
            actor = await self.site.access.find(request)
            if actor is None:
                return self.nobody(request)
            async with self.read() as tx:
                return await self.frame(request, actor, tx, section="services")
        except KiopsError:
            return self.nobody(request)  # the database is what is away


def _here(request: Request) -> str:
    return request.url.path + (f"?{request.url.query}" if request.url.query else "")


def _told(error: Exception) -> tuple[int, str, str, str]:
    if isinstance(error, KiopsError):
        return error.status, error.code, error.message, error.advice
    if isinstance(error, HTTPException):
        return error.status_code, "request.refused", str(error.detail), ""
    if isinstance(error, RequestValidationError):
        return 404, "request.not_found", "The address has a part that no page understands.", ""
    return 500, "request.broken", "This is a defect of ours; it was logged.", "Builds and deploys go on; nothing is lost."


def _home(request: Request, status: int) -> dict[str, str]:
    parts = request.url.path.split("/")
    if len(parts) > 3 and parts[1] == "services" and parts[2] != "new" and status != 404:
        return {"home": f"/services/{parts[2]}/runs", "home_label": f"Go to {parts[2]}"}
    return {}


def _trace() -> str:
    parts = current.get().traceparent.split("-")
    return parts[1] if len(parts) > 1 else ""


def _role(role: str) -> str:
    return {"admin": "Administrator"}.get(role, role.capitalize())


def _organisation(name: str) -> str:
    # The one organisation of a first start has no name that says anything.
    return "KIOPS" if name == "main" else name


def _route_class(pages: Pages) -> type[APIRoute]:
    class PageRoute(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            handle = super().get_route_handler()

            async def page(request: Request) -> Response:
                try:
                    return await handle(request)
                except Exception as error:
                    return await pages.error(request, error)

            return page

    return PageRoute


class NotFoundPages(Route):
    """Answers every GET that nothing else answers, but those that programs make."""

    def __init__(self, pages: Pages) -> None:
        async def missing(request: Request) -> Response:
            return await pages.error(
                request,
                Rejected("page.not_found", "No page has this address.", "The link may be old, or mistyped.", status=404),
            )

        super().__init__("/{path:path}", missing, methods=["GET"], include_in_schema=False)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if scope["type"] != "http" or scope["path"].startswith(("/api/", "/-/", "/static/")):
            return Match.NONE, {}
        match, child = super().matches(scope)
        return (match, child) if match is Match.FULL else (Match.NONE, {})
