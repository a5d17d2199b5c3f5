"""How a step of a run moves: waits for something, begins, ends. Used by the projections of all facts that move one."""

from __future__ import annotations

from typing import Any

from shared.database import Tx
from shared.words import StepState

from gateway.projections import ledger
from gateway.projections.folding import touch_run

OPEN = (str(StepState.WAITING), str(StepState.RUNNING))


async def wait(tx: Tx, message: Any, step: str, at_ms: int, what: str, environment: str = "") -> None:
    """The step could begin and waits, for `what` ("for a build slot: shop-web #239 is ahead")."""
    book = await ledger.of(tx, message)
    row = book.add(step, environment)
    if row["state"] == StepState.WAITING:
        queued = row["queued_at_ms"] if row["queued_at_ms"] is not None else at_ms
        book.change(step, environment, waits_for=what, queued_at_ms=queued)
        book.begin_wait(step, environment, at_ms, what)
    touch_run(tx, message.run, message.service)


async def begin(tx: Tx, message: Any, step: str, at_ms: int, environment: str = "", *, attempt: int = 1, text: str = "") -> None:
    """The step works. Told again (after a crash), it keeps its first beginning and takes the new attempt."""
    book = await ledger.of(tx, message)
    row = book.add(step, environment)
    if row["state"] in OPEN:
        if row["state"] == StepState.WAITING:
            book.end_wait(step, environment, at_ms)
        book.change(
            step,
            environment,
            state=str(StepState.RUNNING),
            started_at_ms=row["started_at_ms"] if row["started_at_ms"] is not None else at_ms,
            waits_for="",
            attempt=attempt,
            text=text,
        )
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
    **values: Any,
) -> None:
    """The step is over. One that was never told to begin began as long ago as its duration says."""
    book = await ledger.of(tx, message)
    row = book.add(step, environment)
    if row["state"] == StepState.WAITING:
        book.end_wait(step, environment, at_ms)
    if row["started_at_ms"] is None and state not in (StepState.SKIPPED, StepState.CANCELLED):
        values["started_at_ms"] = at_ms - (duration_ms or 0)
    if duration_ms is not None:
        values["duration_ms"] = duration_ms
    book.change(step, environment, state=str(state), ended_at_ms=at_ms, waits_for="", **values)
    touch_run(tx, message.run, message.service)


async def cancel(tx: Tx, message: Any, step: str, at_ms: int, reason: str, environment: str = "") -> None:
    """The step will not go on; one that has ended stays as it ended, one that is not in the run stays away."""
    book = await ledger.of(tx, message)
    row = book.rows.get((step, environment))
    if row is not None and row["state"] in OPEN:
        book.end_wait(step, environment, at_ms)
        book.change(step, environment, state=str(StepState.CANCELLED), ended_at_ms=at_ms, text=reason, waits_for="")
    touch_run(tx, message.run, message.service)


async def close_open(tx: Tx, message: Any, at_ms: int, running: str, waiting: str, text: str) -> None:
    """The run ended: what still runs gets the state `running`, what still waits `waiting`, both with this text."""
    book = await ledger.of(tx, message)
    for (step, environment), row in list(book.rows.items()):
        if row["state"] in OPEN:
            state = running if row["state"] == StepState.RUNNING else waiting
            book.end_wait(step, environment, at_ms)
            book.change(step, environment, state=str(state), ended_at_ms=at_ms, text=text, waits_for="")
    touch_run(tx, message.run, message.service)
