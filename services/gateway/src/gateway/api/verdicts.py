"""Scans, findings and gate decisions."""

from typing import Any

from fastapi import APIRouter

from gateway.api import models as m
from gateway.api.depends import Cursor, Limit, Who
from gateway.api.paging import decode, page, written
from gateway.errors import NotFound
from gateway.site import Site
from gateway.store import builds as store
from gateway.store import runs, services
from gateway.store.lists import Shown
from gateway.tables.read_model import decisions, findings, scans

_SCANS = Shown(scans, m.ScanOut.model_fields)
_FINDINGS = Shown(findings, m.FindingOut.model_fields, also=("rank",))
_DECISIONS = Shown(decisions, m.DecisionOut.model_fields)


def routes(site: Site, router: APIRouter) -> None:
    @router.get("/runs/{run}/scans", tags=["findings"], response_model=m.Page[m.ScanOut])
    async def list_scans(actor: Who, run: str) -> Any:
        """One row per area: its state, engines, coverage, counts and the age of its data."""
        async with site.read.read() as tx:
            row = await _run(tx, actor, run)
            rows = await store.scans_of(tx, _SCANS, row.id)
        return written(_SCANS, rows)

    @router.get("/runs/{run}/findings", tags=["findings"], response_model=m.Page[m.FindingOut])
    async def list_findings(
        actor: Who, run: str, area: str = "", severity: str = "", cursor: Cursor = "", limit: Limit = 100
    ) -> Any:
        """Worst first; at most 200 per area, the rest is in the scan's report."""
        key = decode(cursor, int, str, str)
        async with site.read.read() as tx:
            row = await _run(tx, actor, run)
            rows = await store.findings_of(
                tx,
                _FINDINGS,
                row.id,
                area=area,
                severity=severity,
                after=key,
                limit=limit + 1,
            )
        return page(_FINDINGS, rows, limit, "rank", "area", "finding_id")

    @router.get("/runs/{run}/decisions", tags=["gate"], response_model=m.Page[m.DecisionOut])
    async def list_run_decisions(actor: Who, run: str) -> Any:
        """Why the gate let this run's image go to each environment, or not; newest first."""
        async with site.read.read() as tx:
            row = await _run(tx, actor, run)
            rows = await store.decisions_of(tx, _DECISIONS, row.id)
        return written(_DECISIONS, rows)

    @router.get("/decisions", tags=["gate"], response_model=m.Page[m.DecisionOut])
    async def list_decisions(actor: Who, service: str = "", cursor: Cursor = "", limit: Limit = 50) -> Any:
        """Newest first."""
        key = decode(cursor, str)
        async with site.read.read() as tx:
            found = await services.find(tx, actor.organisation, service) if service else None
            if service and found is None:
                raise NotFound("service", service[:80])
            rows = await store.decisions_listed(
                tx,
                _DECISIONS,
                actor.organisation,
                service_id=found.id if found else "",
                before=key[0] if key else "",
                limit=limit + 1,
            )
        return page(_DECISIONS, rows, limit, "id")

    @router.get("/decisions/{decision}", tags=["gate"], response_model=m.DecisionOut)
    async def show_decision(actor: Who, decision: str) -> Any:
        """One verdict, whole."""
        async with site.read.read() as tx:
            row = await store.decision(tx, actor.organisation, decision)
        if row is None:
            raise NotFound("decision", decision[:80])
        return m.DecisionOut.model_validate(row)

    async def _run(tx: Any, actor: Any, run: str) -> Any:
        row = await runs.find(tx, actor.organisation, run)
        if row is None:
            raise NotFound("run", run[:80])
        return row
