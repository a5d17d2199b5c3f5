"""HTTP in common: problem responses (RFC 9457), the request's trace, health and metrics."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared import ids, logging, metrics, tracing
from shared.bus import SERVICES
from shared.context import Context, current, read_traceparent
from shared.errors import KiopsError
from shared.metrics import Durations

if TYPE_CHECKING:
    from shared.hosting import Running

PROBLEM = "application/problem+json"


def problem(
    status: int, code: str, detail: str, advice: str = "", *, headers: dict[str, str] | None = None, **more: Any
) -> Response:
    """A problem response: `code` is stable, `detail` says what happened, `advice` what to do."""
    body = {
        "type": f"urn:kiops:{code}",
        "title": code,
        "status": status,
        "code": code,
        "detail": logging.masker.mask(detail),
        "advice": advice,
        **logging.masker.clean(more),
    }
    return JSONResponse({key: value for key, value in body.items() if value != ""}, status, headers, PROBLEM)


def problem_of(error: KiopsError) -> Response:
    """The response of one of our errors; 503 says when to try again."""
    headers = {"Retry-After": str(error.detail.get("retry_after_seconds", 5))} if error.status in (429, 503) else None
    return problem(error.status, error.code, error.message, error.advice, headers=headers)


def install_problems(app: FastAPI) -> None:
    """Answer every error of this application with a problem."""

    @app.exception_handler(KiopsError)
    async def ours(request: Request, error: KiopsError) -> Response:
        if error.status >= 500:
            logging.get("http").warning("a request failed", path=request.url.path, code=error.code, error=error.message)
        return problem_of(error)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        rows = [
            {"field": ".".join(str(part) for part in row["loc"][1:]) or str(row["loc"][0]), "detail": row["msg"]}
            for row in error.errors()[:20]
        ]
        first = rows[0] if rows else {"field": "", "detail": "invalid"}
        return problem(422, "request.invalid", f"{first['field']}: {first['detail']}", fields=rows)

    @app.exception_handler(HTTPException)
    async def plain(request: Request, error: HTTPException) -> Response:
        code = {404: "request.not_found", 405: "request.method", 401: "access.signed_out"}.get(error.status_code, "request.refused")
        return problem(error.status_code, code, str(error.detail), headers=dict(error.headers or {}))

    @app.exception_handler(sa.exc.DBAPIError)
    async def no_text(request: Request, error: sa.exc.DBAPIError) -> Response:
        if getattr(error.orig, "sqlstate", "") == "22021":
            return problem(422, "request.character", "U+0000 is no character of a text.")
        return await broken(request, error)

    @app.exception_handler(Exception)
    async def broken(request: Request, error: Exception) -> Response:
        logging.get("http").exception("a request broke", path=request.url.path, exc_info=error)
        return problem(500, "request.broken", "This is a defect of ours; it was logged.", trace=current.get().traceparent)


class RequestContext:
    """ASGI middleware: gives each request a context with a traceparent, and counts it by route."""

    def __init__(self, app: ASGIApp, observe: Any = None) -> None:
        self.app, self.observe = app, observe

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        service = _service(scope["path"])
        given = dict(scope["headers"]).get(b"traceparent", b"").decode("latin-1")
        mark = current.set(
            Context(traceparent=given if read_traceparent(given) else "", causation=f"http-{ids.uuid7()}", service=service)
        )
        began, status = time.perf_counter(), 500

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            if scope["path"].startswith("/-/"):
                await self.app(scope, receive, noted)  # asked every few seconds by what watches: no trace of its own
            else:
                await self._traced(scope, receive, noted, lambda: status)
        finally:
            current.reset(mark)
            if self.observe:
                self.observe(
                    service, route_of(scope) or "other", known_method(scope["method"]), status, time.perf_counter() - began
                )

    async def _traced(self, scope: Scope, receive: Receive, send: Send, status: Callable[[], int]) -> None:
        """As a span. Its name and route are the template's: a path can hold what must not be told."""
        method = known_method(scope["method"])
        about = {"http.request.method": method, "url.scheme": scope.get("scheme", "http")}
        about["network.protocol.version"] = scope.get("http_version", "1.1")
        with tracing.span(method, about, kind="server", root=True) as span:
            try:
                await self.app(scope, receive, send)
            finally:
                if route := route_of(scope):
                    span.rename(f"{method} {route}")
                    span.note("http.route", route)
                span.note("http.response.status_code", status())
                if status() >= 500:
                    span.note("error.type", str(status()))


METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


def known_method(method: str) -> str:
    """The method, or `_OTHER`: a client must not be able to make up labels."""
    return method if method in METHODS else "_OTHER"


def route_of(scope: Scope) -> str:
    """The template of the route that was taken, with the prefix under which it is mounted; empty when there was none."""
    mounted = scope.get("fastapi", {}).get("effective_route_context")
    return getattr(mounted or scope.get("route"), "path", None) or ""


def _service(path: str) -> str:
    """Whose a path is, as the services are mounted."""
    if path.startswith("/-/") and (name := path.split("/")[2]) in SERVICES:
        return name
    return "webhook" if path.startswith("/api/v1/webhook") else "gateway"


class Requests:
    """Counts requests by (service, route, method, status), and what they took by all of these but the status."""

    def __init__(self) -> None:
        self.seen: dict[tuple[str, str, str, str], int] = {}
        self.took: dict[tuple[str, str, str], Durations] = {}

    def __call__(self, service: str, route: str, method: str, status: int, seconds: float) -> None:
        key = (service, route, method, str(status))
        self.seen[key] = self.seen.get(key, 0) + 1
        took = self.took.get(key[:3])
        if took is None:
            took = self.took[key[:3]] = Durations()
        took.observe(seconds)


def health_routes(app: FastAPI, name: str, running: Running) -> None:
    """`/-/<service>/livez`, `/readyz` and `/metrics`."""

    @app.get(f"/-/{name}/livez", include_in_schema=False)
    async def livez() -> Response:
        stuck = running.stuck()
        return JSONResponse({"alive": not stuck, "reason": stuck}, 503 if stuck else 200)

    @app.get(f"/-/{name}/readyz", include_in_schema=False)
    async def readyz() -> Response:
        failing = await running.failing()
        remarks = dict(running.service.remarks())
        told = {"ready": not failing, "failing": failing, "remarks": remarks, "roles": running.roles()}
        told |= {"stream_code": running.strange_stream()[0], "instances": await running.instances()}
        return JSONResponse(told, 503 if failing else 200)

    @app.get(f"/-/{name}/metrics", include_in_schema=False)
    async def told(request: Request) -> Response:
        body, kind = metrics.text(await metrics.gather(running), request.headers.get("accept", ""))
        return Response(body, headers={"Content-Type": kind})
