"""How a step of a run moves: waits for something, begins, ends. Used by the projections of all facts that move one."""

from __future__ import annotations

from typing import Any

from shared.words import RunState, StepState

from gateway.domain.steps import PLAN
from gateway.projections import model as tables
from gateway.projections.model import Model, Row

WAITING, RUNNING = str(StepState.WAITING), str(StepState.RUNNING)
OPEN = (WAITING, RUNNING)
_UNBEGUN = (str(StepState.SKIPPED), str(StepState.CANCELLED))
_POSITION = {step: position for position, step in enumerate(PLAN)}


def step_row(model: Model, message: Any, step: str, environment: str = "", position: int | None = None, waits_for: str = "") -> Row:
    """The row of a step; made, as waiting, when there is none yet (its environment is newer than the plan)."""
    step = str(step)
    rows = model.steps.setdefault(message.run, {})
    row = rows.get((step, environment))
    if row is None:
        row = rows[(step, environment)] = tables.run_steps.new(
            {
                "run_id": message.run,
                "step": step,
                "environment": environment,
                "organisation_id": message.organisation,
                "service_id": message.service,
                "position": position if position is not None else _POSITION.get(step, len(PLAN)),
                "state": WAITING,
                "waits_for": waits_for,
            }
        )
        model.mark(tables.run_steps, row)
    return row


def _change(model: Model, row: Row, **values: Any) -> None:
    row.update(values)
    model.mark(tables.run_steps, row)


def _began(model: Model, message: Any, at_ms: int) -> None:
    """A run works since the first of its steps does."""
    run = model.runs.get(message.run)
    if run is None:
        return
    if run["started_at_ms"] is None or at_ms < run["started_at_ms"]:
        model.change(tables.runs, run, started_at_ms=at_ms)
    if run["state"] == RunState.PENDING:
        model.change(tables.runs, run, state=str(RunState.RUNNING))


def _end_wait(model: Model, row: Row, at_ms: int) -> None:
    at = (row["step"], row["environment"])
    for (step, environment, _), wait in model.waits.get(row["run_id"], {}).items():
        if (step, environment) == at and wait["ended_at_ms"] is None:
            wait["ended_at_ms"] = at_ms
            model.mark(tables.run_waits, wait)


def wait(model: Model, message: Any, step: str, at_ms: int, what: str, environment: str = "") -> None:
    """The step could begin and waits, for `what` ("for a build slot: shop-web #239 is ahead")."""
    row = step_row(model, message, step, environment)
    if row["state"] == WAITING:
        _change(model, row, waits_for=what, queued_at_ms=row["queued_at_ms"] if row["queued_at_ms"] is not None else at_ms)
        _end_wait(model, row, at_ms)
        # Two waits of one step that begin in the same millisecond are one: the later words count.
        waits = model.waits.setdefault(message.run, {})
        begun = waits[(row["step"], environment, at_ms)] = {
            "run_id": message.run,
            "step": row["step"],
            "environment": environment,
            "started_at_ms": at_ms,
            "organisation_id": message.organisation,
            "ended_at_ms": None,
            "what": what,
        }
        model.mark(tables.run_waits, begun)
    touch(model, message)


def begin(model: Model, message: Any, step: str, at_ms: int, environment: str = "", *, attempt: int = 1, text: str = "") -> None:
    """The step works. Told again (after a crash), it keeps its first beginning and takes the new attempt."""
    row = step_row(model, message, step, environment)
    if row["state"] in OPEN:
        if row["state"] == WAITING:
            _end_wait(model, row, at_ms)
        started = row["started_at_ms"] if row["started_at_ms"] is not None else at_ms
        _change(model, row, state=RUNNING, started_at_ms=started, waits_for="", attempt=attempt, text=text)
        _began(model, message, started)
    touch(model, message)


def end(
    model: Model,
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
    row = step_row(model, message, step, environment)
    if row["state"] == WAITING:
        _end_wait(model, row, at_ms)
    if row["started_at_ms"] is None and state not in _UNBEGUN:
        values["started_at_ms"] = at_ms - (duration_ms or 0)
        _began(model, message, values["started_at_ms"])
    if duration_ms is not None:
        values["duration_ms"] = duration_ms
    _change(model, row, state=str(state), ended_at_ms=at_ms, waits_for="", **values)
    touch(model, message)


def cancel(model: Model, message: Any, step: str, at_ms: int, reason: str, environment: str = "") -> None:
    """The step will not go on; one that has ended stays as it ended, one that is not in the run stays away."""
    row = model.steps.get(message.run, {}).get((str(step), environment))
    if row is not None and row["state"] in OPEN:
        _end_wait(model, row, at_ms)
        _change(model, row, state=str(StepState.CANCELLED), ended_at_ms=at_ms, text=reason, waits_for="")
    touch(model, message)


def close_open(model: Model, message: Any, at_ms: int, running: str, waiting: str, text: str) -> None:
    """The run ended: what still runs gets the state `running`, what still waits `waiting`, both with this text."""
    for row in list(model.steps.get(message.run, {}).values()):
        if row["state"] in OPEN:
            state = running if row["state"] == RUNNING else waiting
            _end_wait(model, row, at_ms)
            _change(model, row, state=str(state), ended_at_ms=at_ms, text=text, waits_for="")
    touch(model, message)


def touch(model: Model, message: Any) -> None:
    """Fold this run, and its service, when the batch ends."""
    model.touched_runs[message.run] = message.service
    model.touched_services[message.service] = None
