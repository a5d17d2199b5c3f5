"""Builds, scans, findings and verdicts, of the read model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from shared.database import Tx

from gateway.tables.read_model import builds, decisions, findings, scans


async def find(tx: Tx, organisation: str, build: str) -> sa.Row[Any] | None:
    """By the id of the build, or of its run."""
    return await tx.one(
        sa.select(builds).where(builds.c.organisation_id == organisation, sa.or_(builds.c.id == build, builds.c.run_id == build))
    )


async def listed(
    tx: Tx, organisation: str, *, service_id: str = "", state: str = "", before: str = "", limit: int = 50
) -> Sequence[sa.Row[Any]]:
    """Newest first; build ids are time-ordered, `before` is the last one already seen."""
    query = sa.select(builds).where(builds.c.organisation_id == organisation)
    if service_id:
        query = query.where(builds.c.service_id == service_id)
    if state:
        query = query.where(builds.c.state == state)
    if before:
        query = query.where(builds.c.id < before)
    return await tx.all(query.order_by(builds.c.id.desc()).limit(limit))


async def of_run(tx: Tx, run: str) -> sa.Row[Any] | None:
    return await tx.one(sa.select(builds).where(builds.c.run_id == run).order_by(builds.c.id.desc()))


async def scans_of(tx: Tx, run: str) -> Sequence[sa.Row[Any]]:
    return await tx.all(sa.select(scans).where(scans.c.run_id == run).order_by(scans.c.area))


async def findings_of(
    tx: Tx, run: str, *, area: str = "", severity: str = "", after: tuple[int, str, str] | None = None, limit: int = 100
) -> Sequence[sa.Row[Any]]:
    """Worst first; `after` is (rank, area, finding id) of the last row already seen."""
    query = sa.select(findings).where(findings.c.run_id == run)
    if area:
        query = query.where(findings.c.area == area)
    if severity:
        query = query.where(findings.c.severity == severity)
    if after:
        query = query.where(sa.tuple_(findings.c.rank, findings.c.area, findings.c.finding_id) > sa.tuple_(*map(sa.literal, after)))
    return await tx.all(query.order_by(findings.c.rank, findings.c.area, findings.c.finding_id).limit(limit))


async def decisions_of(tx: Tx, run: str) -> Sequence[sa.Row[Any]]:
    """Verdicts of a run, newest first."""
    return await tx.all(
        sa.select(decisions).where(decisions.c.run_id == run).order_by(decisions.c.decided_at_ms.desc(), decisions.c.id.desc())
    )


async def decision(tx: Tx, organisation: str, decision_id: str) -> sa.Row[Any] | None:
    return await tx.one(sa.select(decisions).where(decisions.c.organisation_id == organisation, decisions.c.id == decision_id))


async def decisions_listed(
    tx: Tx, organisation: str, *, service_id: str = "", before: str = "", limit: int = 50
) -> Sequence[sa.Row[Any]]:
    """Newest first by id, which is time-ordered."""
    query = sa.select(decisions).where(decisions.c.organisation_id == organisation)
    if service_id:
        query = query.where(decisions.c.service_id == service_id)
    if before:
        query = query.where(decisions.c.id < before)
    return await tx.all(query.order_by(decisions.c.id.desc()).limit(limit))
