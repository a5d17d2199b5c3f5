"""How a step of a run moves: waits for something, begins, ends. Used by the projections of all facts that move one."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from shared.database import Tx
from shared.words import StepState

from gateway.domain.steps import PLAN
from gateway.projections.folding import OPEN, touch_run
from gateway.tables.read_model import run_steps, run_waits


async def _ensure(tx: Tx, message: Any, step: str, environment: str) -> None:
    """A step that the plan did not name (its environment is newer) gets its row when a fact tells of it."""
    await tx.insert_new(
        run_steps,
        {
            "run_id": message.run,
            "step": step,
            "environment": environment,
            "organisation_id": message.organisation,
            "service_id": message.service,
            "position": PLAN.index(step) if step in PLAN else len(PLAN),
            "state": str(StepState.WAITING),
            "stages_ms": {},
        },
    )


def _is(message: Any, step: str, environment: str) -> sa.ColumnElement[bool]:
    return sa.and_(run_steps.c.run_id == message.run, run_steps.c.step == step, run_steps.c.environment == environment)


async def wait(tx: Tx, message: Any, step: str, at_ms: int, what: str, environment: str = "") -> None:
    """The step could begin and waits, for `what` ("for a build slot: shop-web #239 is ahead")."""
    await _ensure(tx, message, step, environment)
    changed = await tx.execute(
        run_steps.update()
        .where(_is(message, step, environment), run_steps.c.state == StepState.WAITING)
        .values(
            waits_for=what,
            queued_at_ms=sa.func.coalesce(run_steps.c.queued_at_ms, at_ms),
        )
    )
    if changed.rowcount:
        await _end_wait(tx, message, step, environment, at_ms)
        await tx.insert_new(
            run_waits,
            {
                "run_id": message.run,
                "step": step,
                "environment": environment,
                "started_at_ms": at_ms,
                "organisation_id": message.organisation,
                "what": what,
            },
        )
    touch_run(tx, message.run, message.service)


async def _end_wait(tx: Tx, message: Any, step: str, environment: str, at_ms: int) -> None:
    await tx.execute(
        run_waits.update()
        .where(
            run_waits.c.run_id == message.run,
            run_waits.c.step == step,
            run_waits.c.environment == environment,
            run_waits.c.ended_at_ms.is_(None),
        )
        .values(ended_at_ms=at_ms)
    )


async def begin(tx: Tx, message: Any, step: str, at_ms: int, environment: str = "", *, attempt: int = 1, text: str = "") -> None:
    """The step works. Told again (after a crash), it keeps its first beginning and takes the new attempt."""
    await _ensure(tx, message, step, environment)
    await tx.execute(
        run_steps.update()
        .where(_is(message, step, environment), run_steps.c.state.in_(OPEN))
        .values(
            state=str(StepState.RUNNING),
            started_at_ms=sa.func.coalesce(run_steps.c.started_at_ms, at_ms),
            waits_for="",
            attempt=attempt,
            text=text,
        )
    )
    await _end_wait(tx, message, step, environment, at_ms)
    touch_run(tx, message.run, message.service)


async def end(
    tx: Tx,
    message: Any,
    step: str,
    at_ms: int,
    state: str,
    environment: str = "",
    *,
    duration_ms: int | None = None,
    started_ms: int | None = None,
    **values: Any,
) -> None:
    """The step is over. One that was never told to begin gets `started_ms`, or what its duration says."""
    await _ensure(tx, message, step, environment)
    began = started_ms if started_ms is not None else at_ms - (duration_ms or 0)
    ran = state not in (StepState.SKIPPED, StepState.CANCELLED)
    await tx.execute(
        run_steps.update()
        .where(_is(message, step, environment))
        .values(
            state=str(state),
            ended_at_ms=at_ms,
            waits_for="",
            **({"started_at_ms": sa.func.coalesce(run_steps.c.started_at_ms, began)} if ran else {}),
            **({"duration_ms": duration_ms} if duration_ms is not None else {}),
            **values,
        )
    )
    await _end_wait(tx, message, step, environment, at_ms)
    touch_run(tx, message.run, message.service)


async def close_open(tx: Tx, message: Any, at_ms: int, running: str, waiting: str, text: str) -> None:
    """The run ended: what still runs gets the state `running`, what still waits `waiting`, both with this text."""
    for before, after in ((StepState.RUNNING, running), (StepState.WAITING, waiting)):
        await tx.execute(
            run_steps.update()
            .where(run_steps.c.run_id == message.run, run_steps.c.state == before)
            .values(state=after, ended_at_ms=at_ms, text=text, waits_for="")
        )
    await tx.execute(
        run_waits.update().where(run_waits.c.run_id == message.run, run_waits.c.ended_at_ms.is_(None)).values(ended_at_ms=at_ms)
    )
    touch_run(tx, message.run, message.service)


async def cancel(tx: Tx, message: Any, step: str, at_ms: int, reason: str, environment: str = "") -> None:
    """The step will not go on; one that has ended stays as it ended."""
    await tx.execute(
        run_steps.update()
        .where(_is(message, step, environment), run_steps.c.state.in_(OPEN))
        .values(state=str(StepState.CANCELLED), ended_at_ms=at_ms, text=reason, waits_for="")
    )
    await _end_wait(tx, message, step, environment, at_ms)
    touch_run(tx, message.run, message.service)
