"""What the pages of a run's findings read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from shared.database import Tx

from gateway.tables.read_model import current_findings, findings, scans


async def areas(tx: Tx, run: str) -> Sequence[sa.Row[Any]]:
    return await tx.all(sa.select(scans).where(scans.c.run_id == run))


IN_USE = "license.used"
"""The rule of a line that only says which licence is in use: an inventory, not something to mend."""


def _filtered(run: str, area: str, severity: str) -> list[Any]:
    where = [findings.c.run_id == run]
    if area:
        where.append(findings.c.area == area)
    else:
        where.append(findings.c.rule != IN_USE)  # shown where one asks for licences
    if severity:
        where.append(findings.c.severity == severity)
    return where


_ORDER = (findings.c.rank, findings.c.area, findings.c.path, findings.c.line, findings.c.finding_id)


async def page(tx: Tx, run: str, *, area: str = "", severity: str = "", offset: int = 0, limit: int) -> Sequence[sa.Row[Any]]:
    """Findings of a run, worst first. A run keeps at most 200 per area here, so an offset costs little."""
    return await tx.all(sa.select(findings).where(*_filtered(run, area, severity)).order_by(*_ORDER).limit(limit).offset(offset))


async def by_severity(tx: Tx, run: str, area: str = "") -> dict[str, int]:
    rows = await tx.all(
        sa.select(findings.c.severity, sa.func.count()).where(*_filtered(run, area, "")).group_by(findings.c.severity)
    )
    return {row[0]: row[1] for row in rows}


async def licences_in_use(tx: Tx, run: str) -> int:
    """How many licences the components of this run's image have."""
    query = sa.select(sa.func.count()).where(findings.c.run_id == run, findings.c.rule == IN_USE)
    return await tx.scalar(query) or 0


async def ids(tx: Tx, run: str) -> list[str]:
    """The identities of a run's findings in the order of the list."""
    rows = await tx.all(sa.select(findings.c.finding_id).where(findings.c.run_id == run).order_by(*_ORDER))
    return [row.finding_id for row in rows]


async def find(tx: Tx, run: str, finding: str) -> sa.Row[Any] | None:
    return await tx.one(sa.select(findings).where(findings.c.run_id == run, findings.c.finding_id == finding).order_by(*_ORDER))


async def scan_of(tx: Tx, run: str, area: str) -> sa.Row[Any] | None:
    return await tx.one(sa.select(scans).where(scans.c.run_id == run, scans.c.area == area))


async def current(tx: Tx, service: str, finding: str) -> sa.Row[Any] | None:
    return await tx.one(
        sa.select(current_findings).where(current_findings.c.service_id == service, current_findings.c.finding_id == finding)
    )
