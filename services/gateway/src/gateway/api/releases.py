"""Releases: history, deploy, what a rollback would bring back, roll back."""

from typing import Annotated, Any

from fastapi import APIRouter, Query

from gateway.api import models as m
from gateway.api.depends import Cursor, Limit, Who
from gateway.api.paging import decode, page
from gateway.errors import NotFound
from gateway.site import Site
from gateway.store import releases as store
from gateway.store import services
from gateway.store.lists import Shown
from gateway.tables.read_model import releases

_SHOWN = Shown(releases, m.ReleaseOut.model_fields)


def routes(site: Site, router: APIRouter) -> None:
    @router.get("/services/{service}/releases", tags=["releases"], response_model=m.Page[m.ReleaseOut])
    async def list_releases(actor: Who, service: str, environment: str = "", cursor: Cursor = "", limit: Limit = 50) -> Any:
        """Newest first."""
        key = decode(cursor, str)
        async with site.read.read() as tx:
            row = await services.find(tx, actor.organisation, service)
            if row is None:
                raise NotFound("service", service[:80])
            rows = await store.listed(
                tx,
                _SHOWN,
                row.id,
                environment=environment,
                before=key[0] if key else "",
                limit=limit + 1,
            )
        return page(_SHOWN, rows, limit, "id")

    @router.get("/releases/{release}", tags=["releases"], response_model=m.ReleaseOut)
    async def show(actor: Who, release: str) -> Any:
        """One release."""
        async with site.read.read() as tx:
            row = await store.find(tx, actor.organisation, release)
        if row is None:
            raise NotFound("release", release[:80])
        return m.ReleaseOut.model_validate(row)

    @router.post("/services/{service}/deploys", tags=["releases"], response_model=m.OutcomeOut, status_code=202)
    async def deploy(actor: Who, service: str, body: m.DeployIn) -> Any:
        """Put a release into an environment. It becomes a run of its own, judged by the gate."""
        return await site.handlers.releases.deploy(actor, service, body.release, body.environment)

    @router.get("/services/{service}/rollback", tags=["releases"], response_model=m.PreviewOut)
    async def preview(
        actor: Who,
        service: str,
        environment: Annotated[str, Query(max_length=48)],
        release: Annotated[str, Query(max_length=80)] = "",
    ) -> Any:
        """What would come back; without a release, of the one before the one that runs."""
        return await site.handlers.releases.preview(actor, service, environment, release or None)

    @router.post("/services/{service}/rollback", tags=["releases"], response_model=m.OutcomeOut, status_code=202)
    async def roll_back(actor: Who, service: str, body: m.RollbackIn) -> Any:
        """Return an environment to a release. It becomes a run of its own."""
        return await site.handlers.releases.roll_back(actor, service, body.environment, body.release)
