"""Runs with their timelines."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from shared.words import RunState

from gateway import journey
from gateway.api import models as m
from gateway.api.depends import Cursor, Limit, Who
from gateway.api.paging import decode, page
from gateway.errors import BadInput, NotFound
from gateway.site import Site
from gateway.store import builds, releases, services
from gateway.store import runs as store
from gateway.store.lists import Shown
from gateway.tables.read_model import runs

Number = Annotated[int, Path(ge=1, lt=2**31)]
_SHOWN = Shown(runs, m.RunOut.model_fields)


def routes(site: Site, router: APIRouter) -> None:
    @router.get("/runs", tags=["runs"], response_model=m.Page[m.RunOut])
    async def list_runs(
        actor: Who,
        service: str = "",
        state: Annotated[list[str], Query(max_length=12, description="Any of these states")] = [],  # noqa: B006
        branch: str = "",
        trigger: str = "",
        cursor: Cursor = "",
        limit: Limit = 50,
    ) -> Any:
        """Newest first."""
        for each in state:
            if each not in RunState._value2member_map_:
                raise BadInput("state", f"No state of a run: {each[:40]}.", field="state")
        key = decode(cursor, int, str)
        async with site.read.read() as tx:
            wanted = (await _service(tx, actor, service)).id if service else ""
            rows = await store.listed(
                tx,
                _SHOWN,
                actor.organisation,
                service_id=wanted,
                states=state,
                branch=branch,
                trigger=trigger,
                before=key,  # type: ignore[arg-type]
                limit=limit + 1,
            )
        return page(_SHOWN, rows, limit, "born_at_ms", "id")

    @router.get("/runs/{run}", tags=["runs"], response_model=m.RunDetailOut)
    async def show(actor: Who, run: str) -> Any:
        """With its steps, its timeline, its build and its deploys."""
        async with site.read.read() as tx:
            row = await store.find(tx, actor.organisation, run)
            if row is None:
                raise NotFound("run", run[:80])
            return await _detail(tx, row)

    @router.get("/services/{service}/runs/{number}", tags=["runs"], response_model=m.RunDetailOut)
    async def show_by_number(actor: Who, service: str, number: Number) -> Any:
        """The same by the service and the run's number."""
        async with site.read.read() as tx:
            row = await store.by_number(tx, (await _service(tx, actor, service)).id, number)
            if row is None:
                raise NotFound("run", f"#{number}")
            return await _detail(tx, row)

    @router.post("/runs/{run}/cancel", tags=["runs"], response_model=m.OutcomeOut, status_code=202)
    async def cancel(actor: Who, run: str) -> Any:
        """Stop a run that has not ended."""
        return await site.handlers.runs.cancel(actor, run)

    async def _service(tx: Any, actor: Any, name: str) -> Any:
        row = await services.find(tx, actor.organisation, name)
        if row is None:
            raise NotFound("service", name[:80])
        return row

    async def _detail(tx: Any, row: Any) -> m.RunDetailOut:
        steps = await store.steps(tx, [row.id])
        build = await builds.of_run(tx, row.id)
        moves = await releases.deploys_of(tx, row.id)
        events = await releases.deploy_events_of(tx, [each.id for each in moves])
        line = await journey.of_run(tx, row, site.clock.now_ms())
        return m.RunDetailOut.model_validate(
            dict(row._mapping)
            | {
                "trace_id": site.collected(row.trace_id) or None,
                "step_rows": [m.StepOut.model_validate(each) for each in steps],
                "timeline": m.TimelineOut.model_validate(line),
                "build": m.BuildOut.model_validate(build) if build else None,
                "deploys": [
                    m.DeployOut.model_validate(
                        dict(each._mapping)
                        | {"events": [m.DeployEventOut.model_validate(event) for event in events if event.deploy_id == each.id]}
                    )
                    for each in moves
                ],
            }
        )
