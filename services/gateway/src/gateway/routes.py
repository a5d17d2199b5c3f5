"""Door: HTTP. The JSON API below /api/v1, and the pages."""

from __future__ import annotations

from fastapi import APIRouter

from gateway import api, pages
from gateway.site import Site


def routes(site: Site) -> APIRouter:
    """Both doors, which call the same handlers."""
    router = APIRouter()
    router.include_router(api.routes(site))
    router.include_router(pages.routes(site))
    return router
