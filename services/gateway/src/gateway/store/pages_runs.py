"""What the pages of runs, verdicts and builds read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from shared.database import Tx

from gateway.tables.read_model import builds, decisions, run_steps, runs

GROUPS = {
    "running": ("pending", "running", "held"),
    "failed": ("failed",),
    "blocked": ("blocked",),
    "success": ("success",),
}


def _filtered(service: str, group: str, branch: str) -> list[Any]:
    where = [runs.c.service_id == service]
    if group in GROUPS:
        where.append(runs.c.state.in_(GROUPS[group]))
    if branch:
        where.append(runs.c.branch == branch)
    return where


async def page(tx: Tx, service: str, *, group: str = "", branch: str = "", before: int = 0, limit: int) -> Sequence[sa.Row[Any]]:
    """Runs of a service, the newest first; below number `before` when it is given."""
    where = _filtered(service, group, branch)
    if before:
        where.append(runs.c.number < before)
    return await tx.all(sa.select(runs).where(*where).order_by(runs.c.number.desc()).limit(limit))


async def count(tx: Tx, service: str, group: str, branch: str, above: int = 0) -> int:
    """How many there are; how many newer than number `above` when it is given."""
    if group not in GROUPS and not branch:
        # Numbers are given without gaps: no counting through a long history.
        return int(await tx.scalar(sa.select(sa.func.max(runs.c.number)).where(runs.c.service_id == service)) or 0) - above
    where = _filtered(service, group, branch)
    if above:
        where.append(runs.c.number > above)
    return int(await tx.scalar(sa.select(sa.func.count()).select_from(runs).where(*where)) or 0)


async def newer(tx: Tx, service: str, group: str, branch: str, than: int, limit: int) -> int:
    """The number before which the page before this one begins; 0 when that is the first page."""
    rows = await tx.all(
        sa.select(runs.c.number)
        .where(*_filtered(service, group, branch), runs.c.number > than)
        .order_by(runs.c.number)
        .limit(limit + 1)
    )
    return rows[limit].number if len(rows) > limit else 0


# So many runs back a branch is offered to choose from: reading a whole long history for a list of 50 would cost more than the page.
_LATELY = 2000


async def branches(tx: Tx, service: str, limit: int = 50) -> list[str]:
    """The branches of the last 2,000 runs, the one that ran last first."""
    lately = (
        sa.select(runs.c.branch, runs.c.number)
        .where(runs.c.service_id == service, runs.c.branch != "")
        .order_by(runs.c.number.desc())
        .limit(_LATELY)
        .subquery()
    )
    rows = await tx.all(
        sa.select(lately.c.branch).group_by(lately.c.branch).order_by(sa.func.max(lately.c.number).desc()).limit(limit)
    )
    return [row.branch for row in rows]


async def numbered(tx: Tx, service: str, number: int) -> sa.Row[Any] | None:
    return await tx.one(sa.select(runs).where(runs.c.service_id == service, runs.c.number == number))


async def steps(tx: Tx, run: str) -> Sequence[sa.Row[Any]]:
    return await tx.all(
        sa.select(run_steps).where(run_steps.c.run_id == run).order_by(run_steps.c.position, run_steps.c.environment)
    )


# ---- verdicts ----------------------------------------------------------------------------------------------------------
async def decisions_of(tx: Tx, run: str) -> Sequence[sa.Row[Any]]:
    """The decisions of a run, the last one first."""
    return await tx.all(sa.select(decisions).where(decisions.c.run_id == run).order_by(decisions.c.decided_at_ms.desc()))


async def decisions_before(tx: Tx, decision: Any, limit: int = 5) -> Sequence[sa.Row[Any]]:
    """Earlier verdicts of the service for the same environment, with the version they were about."""
    return await tx.all(
        sa.select(decisions.c.number, decisions.c.verdict, decisions.c.decided_at_ms, runs.c.version, runs.c.commit)
        .join(runs, runs.c.id == decisions.c.run_id)
        .where(
            decisions.c.service_id == decision.service_id,
            decisions.c.environment == decision.environment,
            decisions.c.number < decision.number,
        )
        .order_by(decisions.c.decided_at_ms.desc())
        .limit(limit)
    )


# ---- builds ------------------------------------------------------------------------------------------------------------
_RUN = (runs.c.branch, runs.c.tag, runs.c.message, runs.c.trigger, runs.c.executor, runs.c.state.label("run_state"))
_RUN += (runs.c.author, runs.c.cause)


async def builds_page(tx: Tx, service: str, *, before: int = 0, limit: int) -> Sequence[sa.Row[Any]]:
    query = sa.select(builds, *_RUN).join(runs, runs.c.id == builds.c.run_id).where(builds.c.service_id == service)
    if before:
        query = query.where(builds.c.number < before)
    return await tx.all(query.order_by(builds.c.number.desc()).limit(limit))


async def builds_open(tx: Tx, service: str) -> Sequence[sa.Row[Any]]:
    return await tx.all(
        sa.select(builds, *_RUN)
        .join(runs, runs.c.id == builds.c.run_id)
        .where(builds.c.service_id == service, builds.c.state.in_(("queued", "running")))
        # As an expression: in the order of an index, SQLite would look at every build of a long history to find the open ones.
        .order_by(builds.c.number + 0)
    )


async def builds_newer(tx: Tx, service: str, than: int, limit: int) -> tuple[int, int]:
    """How many builds are newer than this number, and before which number the page before this one begins (0: the first)."""
    where = (builds.c.service_id == service, builds.c.number > than)
    many = int(await tx.scalar(sa.select(sa.func.count()).select_from(builds).where(*where)) or 0)
    number = sa.select(builds.c.number).where(*where).order_by(builds.c.number).offset(limit).limit(1)
    return many, int(await tx.scalar(number) or 0)


async def build_numbered(tx: Tx, service: str, number: int) -> sa.Row[Any] | None:
    return await tx.one(
        sa.select(builds, *_RUN)
        .join(runs, runs.c.id == builds.c.run_id)
        .where(builds.c.service_id == service, builds.c.number == number)
    )


async def build_statistics(tx: Tx, service: str) -> sa.Row[Any] | None:
    """Of the last 50 that ended: how many, how many succeeded, their average time (ms); and of all how many."""
    last = (
        sa.select(builds.c.state, builds.c.duration_ms)
        .where(builds.c.service_id == service, builds.c.state.in_(("success", "failed")))
        .order_by(builds.c.number.desc())
        .limit(50)
        .subquery()
    )
    good = sa.case((last.c.state == "success", 1), else_=0)
    time = sa.case((last.c.state == "success", last.c.duration_ms))
    total = sa.select(sa.func.count()).select_from(builds).where(builds.c.service_id == service).scalar_subquery()
    return await tx.one(
        sa.select(sa.func.count().label("ended"), sa.func.sum(good).label("good"), sa.func.avg(time).label("average"))
        .add_columns(total.label("total"))
        .select_from(last)
    )


async def usual_stages(tx: Tx, service: str, before: int) -> list[dict[str, int]]:
    """Stage times of the last 20 builds that succeeded before this number."""
    rows = await tx.all(
        sa.select(builds.c.stages_ms)
        .where(builds.c.service_id == service, builds.c.number < before, builds.c.state == "success")
        .order_by(builds.c.number.desc())
        .limit(20)
    )
    return [row.stages_ms or {} for row in rows]
