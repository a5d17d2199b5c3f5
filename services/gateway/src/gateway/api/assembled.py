"""The API's router: all areas, the document, and an answer for addresses that do not exist."""

from typing import Any, cast

from fastapi import APIRouter, Request
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from gateway import __version__
from gateway.api import builds, people, read_model, releases, runs, services, streams, upkeep, verdicts
from gateway.api.idempotency import route_class
from gateway.errors import NotFound
from gateway.site import Site

PREFIX = "/api/v1"
_PROBLEM = {
    "type": "object",
    "description": "RFC 9457: `code` is stable, `detail` says what happened, `advice` what to do.",
    "required": ["type", "title", "status", "code"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string"},
        "detail": {"type": "string"},
        "advice": {"type": "string"},
        "fields": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"field": {"type": "string"}, "detail": {"type": "string"}},
            },
        },
    },
}
DESCRIPTION = """Everything that the pages and the command line do.

A program signs in with a token (`Authorization: Bearer ...`), a browser with the session's cookie and, for what changes something,
`X-CSRF-Token`. Times are milliseconds since 1970 (`_at_ms`). Lists are pages: `next` is the cursor of the page after. Whoever hears
of a refusal gets a problem with a stable `code` and an `advice`."""
TAGS = {
    "services": "What is built and deployed: repositories, environments, and which pushes are worth a run.",
    "webhooks": "The addresses that Git hosts call, and what came in there.",
    "events": "What changes, while it changes.",
    "runs": "The journey of a push: steps, waits and the timeline.",
    "builds": "Images and the logs of making them.",
    "findings": "What the scanners saw, with proof of how they looked.",
    "gate": "Verdicts and their reasons.",
    "releases": "What ran and runs where; deploy and roll back.",
    "people": "Sign-in, passwords and tokens.",
    "audit": "Who did what, in a chain that shows a change.",
    "platform": "How the services are.",
}
_REFUSED = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
RESPONSES: dict[int | str, dict[str, Any]] = {
    "4XX": {"description": "Asked wrongly", "content": _REFUSED},
    422: {"description": "A value cannot be used", "content": _REFUSED},
    "5XX": {"description": "Not now, or a defect", "content": _REFUSED},
}


def routes(site: Site) -> APIRouter:
    """Everything below /api/v1 but the deliveries, which are webhook's."""
    idempotent = route_class(site)

    class SiteRoute(idempotent):  # type: ignore[valid-type,misc]
        async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
            scope["kiops.site"] = site
            await super().handle(scope, receive, send)

    router = APIRouter(prefix=PREFIX, route_class=SiteRoute, responses=RESPONSES)
    for area in (services, streams, runs, builds, verdicts, releases, people, upkeep, read_model):
        area.routes(site, router)
    made: dict[str, Any] = {}

    @router.get("/openapi.json", include_in_schema=False)
    async def openapi() -> Response:
        """OpenAPI 3.1 of the whole API."""
        if not made:
            made.update(describe(router))
        return JSONResponse(made)

    @router.api_route("/{rest:path}", methods=["GET", "POST", "PUT", "PATCH", "DELETE"], include_in_schema=False)
    async def nothing(request: Request, rest: str) -> Response:
        raise NotFound("address", request.url.path[:200])

    return router


class _Nowhere:
    """A site without anything behind it: routes are made of it, and never called."""

    def __getattr__(self, name: str) -> "_Nowhere":
        return self


def document() -> dict[str, Any]:
    """The OpenAPI document of this version, without a platform that runs."""
    return describe(routes(cast(Site, _Nowhere())))


def describe(router: APIRouter) -> dict[str, Any]:
    """The OpenAPI document of these routes."""
    shown = [route for route in router.routes if isinstance(route, APIRoute) and route.include_in_schema]
    found = get_openapi(
        title="KIOPS",
        version=__version__,
        openapi_version="3.1.0",
        description=DESCRIPTION,
        tags=[{"name": name, "description": text} for name, text in TAGS.items()],
        servers=[{"url": "/", "description": "Where this document was read"}],
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        routes=shown,
    )
    schemas = found.setdefault("components", {}).setdefault("schemas", {})
    schemas["Problem"] = _PROBLEM
    found["components"]["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer"},
        "session": {"type": "apiKey", "in": "cookie", "name": "kiops_session"},
    }
    found["security"] = [{"bearer": []}, {"session": []}]
    for path, methods in found["paths"].items():
        for method, operation in methods.items():
            operation.setdefault("operationId", f"{method} {path}")
            if method == "post":
                operation.setdefault("parameters", []).append(
                    {
                        "name": "Idempotency-Key",
                        "in": "header",
                        "required": False,
                        "schema": {"type": "string", "maxLength": 200},
                    }
                )
    found["paths"][f"{PREFIX}/sessions"]["post"]["security"] = []
    return found
