"""Builds, scans, findings and verdicts, of the read model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from shared.database import Tx

from gateway.store import lists
from gateway.store.lists import Shown
from gateway.tables.read_model import builds, decisions


async def find(tx: Tx, organisation: str, build: str) -> sa.Row[Any] | None:
    """By the id of the build, or of its run."""
    return await tx.one(
        sa.select(builds).where(builds.c.organisation_id == organisation, sa.or_(builds.c.id == build, builds.c.run_id == build))
    )


async def listed(
    tx: Tx, shown: Shown, organisation: str, *, service_id: str = "", state: str = "", before: str = "", limit: int = 50
) -> Sequence[sa.Row[Any]]:
    """Newest first; build ids are time-ordered, `before` is the last one already seen."""
    of, state_is = lists.of(organisation, service_id), lists.asked(state=state)
    equal, among = (of, state_is) if service_id else (of | state_is, {})
    return await lists.page(tx, shown, equal, ("id",), past=(before,) if before else None, limit=limit, among=among)


async def of_run(tx: Tx, run: str) -> sa.Row[Any] | None:
    return await tx.one(sa.select(builds).where(builds.c.run_id == run).order_by(builds.c.id.desc()))


async def scans_of(tx: Tx, shown: Shown, run: str) -> Sequence[sa.Row[Any]]:
    return await lists.page(tx, shown, {"run_id": run}, ("area",), up=True)


async def findings_of(
    tx: Tx,
    shown: Shown,
    run: str,
    *,
    area: str = "",
    severity: str = "",
    after: Sequence[Any] | None = None,
    limit: int = 100,
) -> Sequence[sa.Row[Any]]:
    """Worst first; `after` is (rank, area, finding id) of the last row already seen."""
    equal = lists.asked(run_id=run, area=area, severity=severity)
    return await lists.page(tx, shown, equal, ("rank", "area", "finding_id"), past=after, limit=limit, up=True)


async def decisions_of(tx: Tx, shown: Shown, run: str) -> Sequence[sa.Row[Any]]:
    """Verdicts of a run, newest first."""
    return await lists.page(tx, shown, {"run_id": run}, ("decided_at_ms", "id"))


async def decision(tx: Tx, organisation: str, decision_id: str) -> sa.Row[Any] | None:
    return await tx.one(sa.select(decisions).where(decisions.c.organisation_id == organisation, decisions.c.id == decision_id))


async def decisions_listed(
    tx: Tx, shown: Shown, organisation: str, *, service_id: str = "", before: str = "", limit: int = 50
) -> Sequence[sa.Row[Any]]:
    """Newest first by id, which is time-ordered."""
    return await lists.page(tx, shown, lists.of(organisation, service_id), ("id",), past=(before,) if before else None, limit=limit)
