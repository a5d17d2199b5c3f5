"""Builds: the steps source and build."""

from __future__ import annotations

from typing import Any

from shared.database import Tx
from shared.facts.builder import (
    BuildCancelled,
    BuildFailed,
    BuildQueued,
    BuildStarted,
    BuildSucceeded,
    SourceFetched,
)
from shared.subscribers import Envelope
from shared.words import Step, StepState

from gateway.projections import moves
from gateway.tables.read_model import builds, runs


async def _change(tx: Tx, message: Any, envelope: Envelope, **values: Any) -> None:
    """Change the build's row; the first fact of a build makes it."""
    changed = await tx.execute(builds.update().where(builds.c.id == message.build).values(**values))
    if changed.rowcount == 0:
        row = {
            "id": message.build,
            "organisation_id": message.organisation,
            "service_id": message.service,
            "run_id": message.run,
            "number": message.number,
            "state": "queued",
            "commit": message.commit,
            "stages_ms": {},
            "queued_at_ms": envelope.stored_at_ms,
        }
        await tx.insert_new(builds, row | values)


async def build_queued(tx: Tx, message: BuildQueued, envelope: Envelope) -> None:
    await _change(tx, message, envelope, waits_for=message.waits_for)
    what = f"for a build slot: {message.waits_for}" if message.waits_for else "for a build slot"
    await moves.wait(tx, message, Step.SOURCE, envelope.stored_at_ms, what)


async def build_started(tx: Tx, message: BuildStarted, envelope: Envelope) -> None:
    await _change(
        tx, message, envelope, state="running", started_at_ms=envelope.stored_at_ms, attempt=message.attempt, waits_for=""
    )
    await moves.begin(tx, message, Step.SOURCE, envelope.stored_at_ms, attempt=message.attempt)


async def source_fetched(tx: Tx, message: SourceFetched, envelope: Envelope) -> None:
    await _change(tx, message, envelope, files=message.files)
    said = {name: value for name in ("author", "message") if (value := getattr(message, name))}
    if said:
        await tx.execute(runs.update().where(runs.c.id == message.run).values(**said))
    files = f"{message.files} file" + ("" if message.files == 1 else "s")
    await moves.end(
        tx,
        message,
        Step.SOURCE,
        envelope.stored_at_ms,
        StepState.SUCCESS,
        duration_ms=message.duration_ms,
        text=f"cloned {message.commit[:7]}, {files}" if message.commit else f"cloned, {files}",
    )
    await moves.begin(tx, message, Step.BUILD, envelope.stored_at_ms)


async def build_succeeded(tx: Tx, message: BuildSucceeded, envelope: Envelope) -> None:
    image = {"image": message.image, "image_id": message.image_id, "digest": message.digest}
    version = {"version": message.version, "by_hand": message.version_by_hand}
    await _change(
        tx,
        message,
        envelope,
        state="success",
        **image,
        **version,
        size_bytes=message.size_bytes,
        steps=message.steps,
        steps_cached=message.steps_cached,
        stages_ms=dict(message.stages_ms),
        duration_ms=message.duration_ms,
        base_image=message.base_image,
        log=message.log,
        log_lines=message.log_lines,
        ended_at_ms=envelope.stored_at_ms,
        waits_for="",
    )
    await tx.execute(runs.update().where(runs.c.id == message.run).values(**image, **version))
    # The clone is the step before: the build's own length is what is left of the whole.
    clone = message.stages_ms.get("clone", 0)
    parts = ", ".join(f"{name} {value / 1000:.1f} s" for name, value in message.stages_ms.items() if name != "clone")
    cached = f"; {message.steps_cached} of {message.steps} steps from cache" if message.steps else ""
    await moves.end(
        tx,
        message,
        Step.BUILD,
        envelope.stored_at_ms,
        StepState.SUCCESS,
        duration_ms=max(0, message.duration_ms - clone),
        stages_ms={name: value for name, value in message.stages_ms.items() if name != "clone"},
        text=f"{parts}{cached}".strip("; "),
    )


async def build_failed(tx: Tx, message: BuildFailed, envelope: Envelope) -> None:
    told = {"code": message.code, "advice": message.advice}
    await _change(
        tx,
        message,
        envelope,
        state="failed",
        stage=message.stage,
        reason=message.reason,
        **told,
        duration_ms=message.duration_ms,
        log=message.log,
        log_lines=message.log_lines,
        ended_at_ms=envelope.stored_at_ms,
        waits_for="",
    )
    step = Step.SOURCE if message.stage == "clone" else Step.BUILD
    await moves.end(tx, message, step, envelope.stored_at_ms, StepState.FAILED, text=message.reason, **told)


async def build_cancelled(tx: Tx, message: BuildCancelled, envelope: Envelope) -> None:
    await _change(
        tx,
        message,
        envelope,
        state="cancelled",
        reason=message.reason,
        log=message.log,
        log_lines=message.log_lines,
        ended_at_ms=envelope.stored_at_ms,
        waits_for="",
    )
    for step in (Step.SOURCE, Step.BUILD):
        await moves.cancel(tx, message, step, envelope.stored_at_ms, message.reason)
