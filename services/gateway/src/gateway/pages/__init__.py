"""The pages: doors for browsers. One file per area, thin: who asks, read or order, show."""

from __future__ import annotations

from fastapi import APIRouter

from gateway.pages import account, assets, builds, catalogue, deploys, findings, gate, letters, live, runs, sources
from gateway.pages.door import NotFoundPages, Pages
from gateway.site import Site


def routes(site: Site) -> APIRouter:
    """Every page, the static files, and a page for addresses that do not exist."""
    pages = Pages(site)
    router = APIRouter(include_in_schema=False)
    for area in (assets, account, catalogue, sources, builds, deploys, runs, gate, findings, letters, live):
        router.include_router(area.routes(pages))
    router.routes.append(NotFoundPages(pages))
    return router
