"""Runs: born, superseded, cancelled, finished."""

from __future__ import annotations

import sqlalchemy as sa
from shared.database import Tx
from shared.facts.webhook import PushReceived, RunCancelled, RunFinished, RunStarted, RunSuperseded
from shared.subscribers import Envelope
from shared.words import RunState, StepState

from gateway.domain.steps import WAITS, rows_of
from gateway.projections import ledger
from gateway.projections.folding import run_ended, touch_run
from gateway.projections.moves import close_open
from gateway.tables.read_model import deliveries, deploys, environments, runs


async def push_received(tx: Tx, message: PushReceived, envelope: Envelope) -> None:
    await _born(
        tx,
        message,
        envelope,
        provider=message.provider,
        rule=message.rule,
        changed_count=message.changed_count,
        sample=message.sample,
    )


async def run_started(tx: Tx, message: RunStarted, envelope: Envelope) -> None:
    await _born(tx, message, envelope, release_id=message.release)


async def _born(tx: Tx, message: PushReceived | RunStarted, envelope: Envelope, **more: object) -> None:
    steps = rows_of(message.plan, message.environments)
    new = await tx.insert_new(
        runs,
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
            "plan": list(message.plan),
            "environments": list(message.environments),
            "version": message.version or "",
            "by_hand": message.version is not None,
            "steps": {},
            "born_at_ms": envelope.stored_at_ms,
            **more,
        },
    )
    if not new:
        return
    ledger.fresh(tx, message, steps, WAITS)
    if message.delivery:
        await tx.insert_new(
            deliveries,
            {
                "id": message.delivery,
                "organisation_id": message.organisation,
                "service_id": message.service,
                "verdict": "run",
                "run_id": message.run,
                "run_number": message.number,
                "ref": message.ref,
                "commit": message.commit,
                "at_ms": envelope.stored_at_ms,
            },
        )
    touch_run(tx, message.run, message.service)


async def run_superseded(tx: Tx, message: RunSuperseded, envelope: Envelope) -> None:
    text = f"Superseded by run #{message.by_number}."
    await _ended(
        tx,
        message,
        envelope,
        RunState.SUPERSEDED,
        text,
        superseded_by_id=message.by_run,
        superseded_by_number=message.by_number,
    )


async def run_cancelled(tx: Tx, message: RunCancelled, envelope: Envelope) -> None:
    await _ended(tx, message, envelope, RunState.CANCELLED, f"Cancelled by {message.by}.", cancelled_by=message.by)


async def _ended(tx: Tx, message: RunSuperseded | RunCancelled, envelope: Envelope, state: str, text: str, **more: object) -> None:
    if await run_ended(tx, message.run):
        return
    await tx.execute(
        runs.update()
        .where(runs.c.id == message.run)
        .values(state=str(state), reason=text, finished_at_ms=envelope.stored_at_ms, **more)
    )
    await close_open(tx, message, envelope.stored_at_ms, StepState.CANCELLED, StepState.CANCELLED, text)
    await _quiet_environments(tx, message)


async def run_finished(tx: Tx, message: RunFinished, envelope: Envelope) -> None:
    """The outcome counts, whatever was thought before; a run that was cancelled keeps who did it."""
    values: dict[str, object] = {
        "state": str(message.outcome),
        "ended_step": message.step,
        "code": message.code,
        "finished_at_ms": envelope.stored_at_ms,
    }
    if message.reason:
        values["reason"] = message.reason
    await tx.execute(runs.update().where(runs.c.id == message.run).values(**values))
    stopped = message.outcome in (RunState.CANCELLED, RunState.SUPERSEDED)
    text = "Not reached" + (f": the run ended at {message.step}." if message.step else ".")
    await close_open(
        tx,
        message,
        envelope.stored_at_ms,
        StepState.CANCELLED,
        StepState.CANCELLED if stopped else StepState.SKIPPED,
        message.reason if stopped and message.reason else text,
    )
    await _quiet_environments(tx, message)


async def _quiet_environments(tx: Tx, message: RunSuperseded | RunCancelled | RunFinished) -> None:
    """No environment goes on to be called deploying for a run that is over."""
    await tx.execute(
        environments.update()
        .where(
            environments.c.service_id == message.service,
            environments.c.state == "deploying",
            environments.c.deploy_id.in_(sa.select(deploys.c.id).where(deploys.c.run_id == message.run)),
        )
        .values(state=sa.case((environments.c.release_id.is_(None), "registered"), else_="running"), state_text="")
    )
