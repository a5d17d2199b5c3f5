"""Static files under an address with their hash, kept by browsers for a year."""

from __future__ import annotations

import mimetypes

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import FileResponse, RedirectResponse, Response

from gateway.errors import NotFound
from gateway.pages.addresses import STATIC, asset, static_hash
from gateway.pages.door import Pages

mimetypes.add_type("font/woff2", ".woff2")
mimetypes.add_type("text/javascript", ".js")


def routes(pages: Pages) -> APIRouter:
    router = pages.router()
    known = {str(p.relative_to(STATIC)) for p in STATIC.rglob("*") if p.is_file()}

    @router.get("/static/{version}/{path:path}")
    async def file(version: str, path: str, request: Request) -> Response:
        if path not in known:
            raise NotFound("file", path[:80])
        fresh = version == static_hash()
        return FileResponse(
            STATIC / path,
            headers={
                "cache-control": "public, max-age=31536000, immutable" if fresh else "no-cache",
                # Fonts are fetched without credentials, pictures of the sprite by the page itself.
                "cross-origin-resource-policy": "same-origin",
            },
        )

    @router.get("/favicon.ico")
    async def icon() -> Response:
        return RedirectResponse(asset("icon.svg"), 308)

    return router
