"""Every query and write of the scanner's tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa
from shared.database import Tx

from scanner.domain.evidence import AreaScan
from scanner.domain.findings import Finding, counts
from scanner.domain.report import clean
from scanner.tables import findings, runs, scan_areas, scans, services


async def put_service(tx: Tx, values: dict[str, Any]) -> None:
    await tx.upsert(services, values, key=["id"])


async def forget_service(tx: Tx, service: str) -> None:
    """Its findings and its row; scans stay as history."""
    await tx.execute(findings.delete().where(findings.c.service == service))
    await tx.execute(services.delete().where(services.c.id == service))


async def is_sample(tx: Tx, service: str) -> bool:
    return bool(await tx.scalar(sa.select(services.c.sample).where(services.c.id == service)))


async def add_run(tx: Tx, values: dict[str, Any]) -> bool:
    return await tx.insert_new(runs, values)


_RUN = sa.select(runs).where(runs.c.id == sa.bindparam("wanted"))
_SCAN = sa.select(scans).where(scans.c.id == sa.bindparam("wanted"))
_TOLD_AREAS = sa.select(scan_areas.c.area).where(scan_areas.c.scan == sa.bindparam("wanted"))
_NEWEST = sa.select(sa.func.max(scan_areas.c.number)).where(
    scan_areas.c.service == sa.bindparam("of_service"),
    scan_areas.c.branch == sa.bindparam("of_branch"),
    scan_areas.c.area == sa.bindparam("of_area"),
)
_RESOLVE = (
    findings.update()
    .where(
        findings.c.service == sa.bindparam("of_service"),
        findings.c.branch == sa.bindparam("of_branch"),
        findings.c.area == sa.bindparam("of_area"),
        findings.c.state != "fixed",
        findings.c.last_seen_number < sa.bindparam("before"),
    )
    .values(state="fixed", fixed_at_ms=sa.bindparam("fixed_at_ms"))
)
"""The statements that each scan runs are made once: making one costs more than running it."""


async def run(tx: Tx, run_id: str) -> sa.Row[Any] | None:
    return await tx.one(_RUN, {"wanted": run_id})


async def stop_run(tx: Tx, run_id: str, reason: str, at_ms: int) -> None:
    await tx.execute(runs.update().where(runs.c.id == run_id, runs.c.stopped == "").values(stopped=reason, ended_at_ms=at_ms))


async def end_run(tx: Tx, run_id: str, at_ms: int) -> None:
    await tx.execute(runs.update().where(runs.c.id == run_id, runs.c.ended_at_ms.is_(None)).values(ended_at_ms=at_ms))


async def add_scan(tx: Tx, values: dict[str, Any]) -> bool:
    """False when this run has a scan of this kind and image already."""
    return await tx.insert_new(scans, values)


async def scan(tx: Tx, scan_id: str) -> sa.Row[Any] | None:
    return await tx.one(_SCAN, {"wanted": scan_id})


async def change_scan(tx: Tx, scan_id: str, **values: Any) -> None:
    await tx.execute(scans.update().where(scans.c.id == scan_id).values(**values))


async def told_areas(tx: Tx, scan_id: str) -> set[str]:
    """The areas of a scan that were announced already."""
    return {row.area for row in await tx.all(_TOLD_AREAS, {"wanted": scan_id})}


async def add_area(tx: Tx, scan_row: Any, branch: str, area: AreaScan, *, report: str | None, sbom: str | None, at_ms: int) -> bool:
    """Keep an area's result. False when it is there already."""
    return await tx.insert_new(
        scan_areas,
        {
            "scan": scan_row.id,
            "area": str(area.area),
            "organisation_id": scan_row.organisation_id,
            "service": scan_row.service,
            "branch": branch,
            "run": scan_row.run,
            "number": scan_row.number,
            "state": str(area.state),
            "code": area.code,
            "reason": clean(area.reason, 2000),
            "engines": [vars(engine) for engine in area.engines],
            "coverage": area.coverage,
            "counts": counts(area.findings),
            "findings_total": len(area.findings),
            "data_date": area.data_date,
            "sample_data": area.sample_data,
            "report": report,
            "sbom": sbom,
            "duration_ms": area.duration_ms,
            "ended_at_ms": at_ms,
        },
    )


async def newest_number(tx: Tx, service: str, branch: str, area: str) -> int:
    """The highest run number of which this area is known on a branch; 0 when none is."""
    return int(await tx.scalar(_NEWEST, {"of_service": service, "of_branch": branch, "of_area": area}) or 0)


async def triage_of(tx: Tx, service: str, ids: Iterable[str]) -> dict[str, str]:
    """What people decided about findings of a service, on any branch."""
    wanted = list(ids)
    found: dict[str, str] = {}
    for begin in range(0, len(wanted), 500):
        part = wanted[begin : begin + 500]
        rows = await tx.all(
            sa.select(findings.c.id, findings.c.triage).where(
                findings.c.service == service, findings.c.id.in_(part), findings.c.triage != ""
            )
        )
        found |= {row.id: row.triage for row in rows}
    return found


async def see(tx: Tx, scan_row: Any, branch: str, seen: Sequence[Finding], at_ms: int) -> None:
    """Note findings as seen by this scan: new ones are added, fixed ones reopened, others brought up to date."""
    known = await _known(tx, scan_row.service, branch, [finding.id for finding in seen])
    for finding in seen:
        last = {
            "last_seen_run": scan_row.run,
            "last_seen_number": scan_row.number,
            "last_seen_at_ms": at_ms,
            "severity": str(finding.severity),
            "confidence": finding.confidence,
            "title": clean(finding.title, 300),
            "path": clean(finding.path, 1000),
            "line": finding.line,
            "commit_id": finding.commit,
            "package": clean(finding.package, 300),
            "installed": clean(finding.installed, 120),
            "fix": clean(finding.fix, 120),
        }
        before = known.get(finding.id)
        if before is None:
            await tx.insert_new(
                findings,
                last
                | {
                    "service": scan_row.service,
                    "branch": branch,
                    "id": finding.id,
                    "organisation_id": scan_row.organisation_id,
                    "area": str(finding.area),
                    "state": "new",
                    "rule": finding.rule,
                    "licence": clean(finding.licence, 200),
                    "first_seen_run": scan_row.run,
                    "first_seen_number": scan_row.number,
                    "first_seen_at_ms": at_ms,
                },
            )
            continue
        if before.state == "fixed":
            last |= {"state": "reopened", "fixed_at_ms": None, "reopened": before.reopened + 1}
        elif before.first_seen_run != scan_row.run:
            last |= {"state": "existing"}
        where = (findings.c.service == scan_row.service, findings.c.branch == branch, findings.c.id == finding.id)
        await tx.execute(findings.update().where(*where).values(**last))


async def resolve(tx: Tx, scan_row: Any, branch: str, area: str, at_ms: int) -> int:
    """Open findings of an area that this completed scan did not see are fixed. Returns how many."""
    about = {"of_service": scan_row.service, "of_branch": branch, "of_area": area}
    return (await tx.execute(_RESOLVE, about | {"before": scan_row.number, "fixed_at_ms": at_ms})).rowcount


async def _known(tx: Tx, service: str, branch: str, ids: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for begin in range(0, len(ids), 500):
        rows = await tx.all(
            sa.select(findings.c.id, findings.c.state, findings.c.first_seen_run, findings.c.reopened).where(
                findings.c.service == service, findings.c.branch == branch, findings.c.id.in_(ids[begin : begin + 500])
            )
        )
        found |= {row.id: row for row in rows}
    return found
