"""Runs, their steps and waits, of the read model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from shared.database import Tx

from gateway.store import lists
from gateway.store.lists import Shown
from gateway.tables.read_model import run_steps, run_waits, runs, services

# How many runs before this one a timeline is compared with.
HISTORY = 20
# As the index of the runs that go on has it, word for word: the planner takes it for nothing else.
_NOT_ENDED = sa.text("state in ('pending', 'running', 'held', 'other')")


async def find(tx: Tx, organisation: str, run: str) -> sa.Row[Any] | None:
    """By its id."""
    return await tx.one(sa.select(runs).where(runs.c.organisation_id == organisation, runs.c.id == run))


async def by_number(tx: Tx, service_id: str, number: int) -> sa.Row[Any] | None:
    return await tx.one(sa.select(runs).where(runs.c.service_id == service_id, runs.c.number == number))


async def default_branch(tx: Tx, service_id: str) -> str:
    return str(await tx.scalar(sa.select(services.c.branch).where(services.c.id == service_id)) or "main")


async def listed(
    tx: Tx,
    shown: Shown,
    organisation: str,
    *,
    service_id: str = "",
    states: Sequence[str] = (),
    branch: str = "",
    trigger: str = "",
    before: tuple[int, str] | None = None,
    limit: int = 50,
) -> Sequence[sa.Row[Any]]:
    """Newest first; `before` is (born_at_ms, id) of the last row already seen."""
    order = ("born_at_ms", "id")
    found: list[sa.Row[Any]] = []
    # Each state has its place in the index: of several, a page of each is read, not everything in search of the rare ones.
    for state in dict.fromkeys(states) or ("",):
        among = lists.asked(branch=branch, trigger=trigger, state=state)
        # The index that is sought: the service's, else the branch's, the trigger's, the state's. The others stand in it.
        first = next(iter(among), "")
        equal = lists.of(organisation, service_id)
        if first and not service_id:
            equal[first] = among.pop(first)
        found += await lists.page(tx, shown, equal, order, past=before, limit=limit, among=among)
    if len(states) > 1:
        found.sort(key=lambda row: (row.born_at_ms, row.id), reverse=True)
    return found[:limit]


async def steps(tx: Tx, run_ids: Sequence[str]) -> Sequence[sa.Row[Any]]:
    """Steps of these runs, in the order of the plan."""
    return await tx.all(
        sa.select(run_steps)
        .where(run_steps.c.run_id.in_(run_ids))
        .order_by(run_steps.c.run_id, run_steps.c.position, run_steps.c.environment)
    )


async def waits(tx: Tx, run_ids: Sequence[str]) -> Sequence[sa.Row[Any]]:
    return await tx.all(sa.select(run_waits).where(run_waits.c.run_id.in_(run_ids)).order_by(run_waits.c.started_at_ms))


async def before(tx: Tx, run: Any) -> Sequence[sa.Row[Any]]:
    """The last runs of the service before this one that did the same (built, or rolled back) and came through."""
    likes = runs.c.release_id.is_(None) if run.release_id is None else runs.c.release_id.is_not(None)
    return await tx.all(
        sa.select(runs)
        .where(runs.c.service_id == run.service_id, runs.c.number < run.number, runs.c.state == "success", likes)
        .order_by(runs.c.number.desc())
        .limit(HISTORY)
    )


async def unfinished(tx: Tx, organisation: str) -> int:
    """How many runs have not ended."""
    return int(
        await tx.scalar(sa.select(sa.func.count()).select_from(runs).where(runs.c.organisation_id == organisation, _NOT_ENDED)) or 0
    )
