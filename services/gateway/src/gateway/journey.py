"""A run as a timeline, from the rows of the read model: what the API and the pages both show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from shared.database import Tx

from gateway.domain.steps import WAITS
from gateway.domain.timeline import Timeline, Wait, Work, compare, timeline
from gateway.store import runs


async def of_run(tx: Tx, run: Any, now_ms: int) -> Timeline:
    """The timeline of a row of `runs`, compared with the last 20 runs of its service that did the same."""
    before = await runs.before(tx, run)
    ids = [run.id, *(row.id for row in before)]
    steps: dict[str, list[Any]] = {}
    for step in await runs.steps(tx, ids):
        steps.setdefault(step.run_id, []).append(step)
    waits: dict[str, list[Any]] = {}
    for wait in await runs.waits(tx, ids):
        waits.setdefault(wait.run_id, []).append(wait)
    drawn = [_draw(row, steps.get(row.id, []), waits.get(row.id, []), now_ms) for row in (run, *before)]
    return compare(drawn[0], drawn[1:])


def _draw(run: Any, steps: Sequence[Any], waits: Sequence[Any], now_ms: int) -> Timeline:
    works = [
        Work(
            step=row.step,
            environment=row.environment,
            state=row.state,
            started_ms=row.started_at_ms,
            ended_ms=row.ended_at_ms,
            took_ms=row.duration_ms,
            text=row.text,
            stages_ms=dict(row.stages_ms or {}),
        )
        for row in steps
        if row.started_at_ms is not None
    ]
    told = [Wait(row.step, row.environment, row.started_at_ms, row.ended_at_ms, row.what) for row in waits]
    waiting = next((row.waits_for or WAITS.get(row.step, "") for row in steps if row.state == "waiting"), "")
    return timeline(run.born_at_ms, run.finished_at_ms, now_ms, works, told, deployed_ms=run.deployed_at_ms, waiting=waiting)
