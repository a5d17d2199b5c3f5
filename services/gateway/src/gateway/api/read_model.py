"""The read model: made anew from the first fact while it serves."""

from typing import Any

from fastapi import APIRouter

from gateway.api import models as m
from gateway.api.depends import Who
from gateway.site import Site


def routes(site: Site, router: APIRouter) -> None:
    models = site.handlers.read_model

    @router.post("/read-model/rebuild", tags=["platform"], status_code=202, response_model=m.RebuildOut)
    async def rebuild_read_model(actor: Who) -> Any:
        """Make everything that pages and the API show again from the first fact, beside what is shown now, and switch when it is
        whole. Reading and pushes go on meanwhile."""
        return await models.rebuild(actor)

    @router.get("/read-model/rebuild", tags=["platform"], response_model=m.RebuildOut)
    async def rebuild_progress(actor: Who) -> Any:
        """How the last rebuild of this process stands: `position` of `of`, both of the stream."""
        return models.progress(actor)
