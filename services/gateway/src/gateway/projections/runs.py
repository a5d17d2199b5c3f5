"""Runs: born, superseded, cancelled, finished."""

from __future__ import annotations

from typing import Any

from shared.context import trace_of
from shared.facts.webhook import PushReceived, RunCancelled, RunFinished, RunStarted, RunSuperseded
from shared.words import RunState, StepState

from gateway.domain.steps import WAITS, rows_of
from gateway.projections import model as tables
from gateway.projections.folding import ENDED
from gateway.projections.model import Model
from gateway.projections.moves import close_open, step_row, touch
from gateway.projections.told import Told


def push_received(model: Model, message: PushReceived, told: Told) -> None:
    _born(
        model,
        message,
        told,
        provider=message.provider,
        rule=message.rule,
        changed_count=message.changed_count,
        sample=message.sample,
    )


def run_started(model: Model, message: RunStarted, told: Told) -> None:
    _born(model, message, told, release_id=message.release)


def _born(model: Model, message: PushReceived | RunStarted, told: Told, **more: object) -> None:
    if message.run in model.runs:
        return
    row = model.runs[message.run] = tables.runs.new(
        {
            "id": message.run,
            "organisation_id": message.organisation,
            "service_id": message.service,
            "service_name": message.service_name,
            "number": message.number,
            "state": str(RunState.PENDING),
            "trigger": str(message.trigger),
            "executor": message.executor,
            "cause": message.cause,
            "ref": message.ref,
            "branch": message.branch,
            "tag": message.tag,
            "commit": message.commit,
            "author": message.author,
            "message": message.message,
            "delivery_id": message.delivery,
            "plan": message.plan,
            "environments": message.environments,
            "version": message.version or "",
            "by_hand": message.version is not None,
            "trace_id": trace_of(told.traceparent),
            "born_at_ms": told.stored_at_ms,
            **more,
        }
    )
    model.mark(tables.runs, row)
    service = model.services.get(message.service)
    if service is not None and (service["last_run_number"] is None or service["last_run_number"] < message.number):
        model.change(tables.services, service, last_run_id=message.run, last_run_number=message.number)
    for step, environment, position in rows_of(message.plan, message.environments):
        step_row(model, message, step, environment, position, WAITS.get(step, ""))
    if message.delivery:
        model.append(
            tables.deliveries,
            {
                "id": message.delivery,
                "organisation_id": message.organisation,
                "service_id": message.service,
                "verdict": "run",
                "run_id": message.run,
                "run_number": message.number,
                "ref": message.ref,
                "commit": message.commit,
                "at_ms": told.stored_at_ms,
            },
        )
    touch(model, message)


def run_superseded(model: Model, message: RunSuperseded, told: Told) -> None:
    text = f"Superseded by run #{message.by_number}."
    by = {"superseded_by_id": message.by_run, "superseded_by_number": message.by_number}
    _ended(model, message, told, RunState.SUPERSEDED, text, **by)


def run_cancelled(model: Model, message: RunCancelled, told: Told) -> None:
    _ended(model, message, told, RunState.CANCELLED, f"Cancelled by {message.by}.", cancelled_by=message.by)


def _ended(model: Model, message: RunSuperseded | RunCancelled, told: Told, state: str, text: str, **more: Any) -> None:
    row = model.runs.get(message.run)
    if row is not None and row["state"] in ENDED:
        return
    model.change(tables.runs, row, state=str(state), reason=text, finished_at_ms=told.stored_at_ms, **more)
    close_open(model, message, told.stored_at_ms, StepState.CANCELLED, StepState.CANCELLED, text)
    _quiet_environments(model, message)


def run_finished(model: Model, message: RunFinished, told: Told) -> None:
    """The outcome counts, whatever was thought before; a run that was cancelled keeps who did it."""
    values: dict[str, Any] = {
        "state": str(message.outcome),
        "ended_step": message.step,
        "code": message.code,
        "finished_at_ms": told.stored_at_ms,
    }
    if message.reason:
        values["reason"] = message.reason
    model.change(tables.runs, model.runs.get(message.run), **values)
    stopped = message.outcome in (RunState.CANCELLED, RunState.SUPERSEDED)
    text = "Not reached" + (f": the run ended at {message.step}." if message.step else ".")
    close_open(
        model,
        message,
        told.stored_at_ms,
        StepState.CANCELLED,
        StepState.CANCELLED if stopped else StepState.SKIPPED,
        message.reason if stopped and message.reason else text,
    )
    _quiet_environments(model, message)


def _quiet_environments(model: Model, message: RunSuperseded | RunCancelled | RunFinished) -> None:
    """No environment goes on to be called deploying for a run that is over."""
    for place in model.places.get(message.service, {}).values():
        deploy = model.deploys.get(place["deploy_id"]) if place["deploy_id"] else None
        if place["state"] == "deploying" and deploy is not None and deploy["run_id"] == message.run:
            state = "registered" if place["release_id"] is None else "running"
            model.change(tables.environments, place, state=state, state_text="")
