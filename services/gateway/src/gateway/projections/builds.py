"""Builds: the steps source and build."""

from __future__ import annotations

from typing import Any

from shared.facts.builder import (
    BuildCancelled,
    BuildFailed,
    BuildQueued,
    BuildStarted,
    BuildSucceeded,
    SourceFetched,
)
from shared.words import Step, StepState

from gateway.projections import model as tables
from gateway.projections import moves
from gateway.projections.model import Model
from gateway.projections.told import Told


def _change(model: Model, message: Any, told: Told, **values: Any) -> None:
    """Change the build's row; the first fact of a build makes it."""
    row = model.builds.get(message.build)
    if row is None:
        row = model.builds[message.build] = tables.builds.new(
            {
                "id": message.build,
                "organisation_id": message.organisation,
                "service_id": message.service,
                "run_id": message.run,
                "number": message.number,
                "state": "queued",
                "commit": message.commit,
                "queued_at_ms": told.stored_at_ms,
            }
        )
    model.change(tables.builds, row, **values)


def build_queued(model: Model, message: BuildQueued, told: Told) -> None:
    _change(model, message, told, waits_for=message.waits_for)
    what = f"for a build slot: {message.waits_for}" if message.waits_for else "for a build slot"
    moves.wait(model, message, Step.SOURCE, told.stored_at_ms, what)


def build_started(model: Model, message: BuildStarted, told: Told) -> None:
    _change(model, message, told, state="running", started_at_ms=told.stored_at_ms, attempt=message.attempt, waits_for="")
    moves.begin(model, message, Step.SOURCE, told.stored_at_ms, attempt=message.attempt)


def source_fetched(model: Model, message: SourceFetched, told: Told) -> None:
    _change(model, message, told, files=message.files)
    said = {name: value for name in ("author", "message") if (value := getattr(message, name))}
    if said:
        model.change(tables.runs, model.runs.get(message.run), **said)
    files = f"{message.files} file" + ("" if message.files == 1 else "s")
    moves.end(
        model,
        message,
        Step.SOURCE,
        told.stored_at_ms,
        StepState.SUCCESS,
        duration_ms=message.duration_ms,
        text=f"cloned {message.commit[:7]}, {files}" if message.commit else f"cloned, {files}",
    )
    moves.begin(model, message, Step.BUILD, told.stored_at_ms)


def build_succeeded(model: Model, message: BuildSucceeded, told: Told) -> None:
    image = {"image": message.image, "image_id": message.image_id, "digest": message.digest}
    version = {"version": message.version, "by_hand": message.version_by_hand}
    _change(
        model,
        message,
        told,
        state="success",
        **image,
        **version,
        size_bytes=message.size_bytes,
        steps=message.steps,
        steps_cached=message.steps_cached,
        stages_ms=message.stages_ms,
        duration_ms=message.duration_ms,
        base_image=message.base_image,
        log=message.log,
        log_lines=message.log_lines,
        ended_at_ms=told.stored_at_ms,
        waits_for="",
    )
    model.change(tables.runs, model.runs.get(message.run), **image, **version)
    # The clone is the step before: the build's own length is what is left of the whole.
    clone = message.stages_ms.get("clone", 0)
    stages = {name: value for name, value in message.stages_ms.items() if name != "clone"}
    parts = ", ".join(f"{name} {value / 1000:.1f} s" for name, value in stages.items())
    cached = f"; {message.steps_cached} of {message.steps} steps from cache" if message.steps else ""
    moves.end(
        model,
        message,
        Step.BUILD,
        told.stored_at_ms,
        StepState.SUCCESS,
        duration_ms=max(0, message.duration_ms - clone),
        stages_ms=stages,
        text=f"{parts}{cached}".strip("; "),
    )


def build_failed(model: Model, message: BuildFailed, told: Told) -> None:
    code = {"code": message.code, "advice": message.advice}
    _change(
        model,
        message,
        told,
        state="failed",
        stage=message.stage,
        reason=message.reason,
        **code,
        duration_ms=message.duration_ms,
        log=message.log,
        log_lines=message.log_lines,
        ended_at_ms=told.stored_at_ms,
        waits_for="",
    )
    step = Step.SOURCE if message.stage == "clone" else Step.BUILD
    moves.end(model, message, step, told.stored_at_ms, StepState.FAILED, text=message.reason, **code)


def build_cancelled(model: Model, message: BuildCancelled, told: Told) -> None:
    _change(
        model,
        message,
        told,
        state="cancelled",
        reason=message.reason,
        log=message.log,
        log_lines=message.log_lines,
        ended_at_ms=told.stored_at_ms,
        waits_for="",
    )
    for step in (Step.SOURCE, Step.BUILD):
        moves.cancel(model, message, step, told.stored_at_ms, message.reason)
