"""Verdicts, releases and deploys: the steps gate, deploy and operate, and what serves in an environment."""

from __future__ import annotations

import json
from typing import Any

import sqlalchemy as sa
from shared.database import Tx
from shared.facts.deployer import (
    DeployCancelled,
    DeployFailed,
    DeployPlanned,
    DeployProgressed,
    DeployReady,
    DeployRequested,
    DeployRolledBack,
    DeploySettled,
    DeployStarted,
)
from shared.facts.gate import GateDecided
from shared.facts.operator_proxy import ReleaseObserved
from shared.subscribers import Envelope
from shared.words import Phase, Step, StepState, Verdict

from gateway.projections import moves
from gateway.projections.catalogue import ensure_environment
from gateway.projections.folding import touch_run, touch_service
from gateway.tables.read_model import decisions, deploy_events, deploys, environments, releases, runs

_VERDICT_STATE = {
    Verdict.PASS: StepState.SUCCESS,
    Verdict.WARN: StepState.WARNING,
    Verdict.BLOCK: StepState.BLOCKED,
}
_WORST = ("block", "warn", "pass", "")


async def _deploy(tx: Tx, message: Any, **values: Any) -> None:
    await tx.execute(deploys.update().where(deploys.c.id == message.request).values(**values))


async def _release(tx: Tx, release: str, **values: Any) -> None:
    await tx.execute(releases.update().where(releases.c.id == release).values(**values))


async def _place(tx: Tx, message: Any, **values: Any) -> None:
    await ensure_environment(tx, message, message.environment)
    await tx.execute(
        environments.update()
        .where(environments.c.service_id == message.service, environments.c.name == message.environment)
        .values(**values)
    )
    touch_service(tx, message.service)


async def _event(tx: Tx, message: Any, envelope: Envelope, kind: str, text: str, step: int = 0, steps: int = 0) -> None:
    await tx.insert_new(
        deploy_events,
        {
            "deploy_id": message.request,
            "sequence": envelope.sequence,
            "organisation_id": message.organisation,
            "kind": kind,
            "text": text,
            "step": step,
            "steps": steps,
            "at_ms": envelope.stored_at_ms,
        },
    )


async def deploy_requested(tx: Tx, message: DeployRequested, envelope: Envelope) -> None:
    await tx.insert_new(
        deploys,
        {
            "id": message.request,
            "organisation_id": message.organisation,
            "service_id": message.service,
            "run_id": message.run,
            "number": message.number,
            "environment": message.environment,
            "cause": message.cause,
            "state": "requested",
            "back_to": message.back_to,
            "version": message.version,
            "by_hand": message.version_by_hand,
            "image": message.image,
            "image_id": message.image_id,
            "requested_at_ms": envelope.stored_at_ms,
        },
    )
    await ensure_environment(tx, message, message.environment)
    if message.back_to is not None:
        await tx.execute(
            runs.update()
            .where(runs.c.id == message.run)
            .values(
                image=message.image,
                image_id=message.image_id,
                digest=message.digest,
                version=message.version,
                by_hand=message.version_by_hand,
            )
        )
    await _event(tx, message, envelope, "requested", "")
    await moves.wait(tx, message, Step.GATE, envelope.stored_at_ms, "for the scans", message.environment)


async def gate_decided(tx: Tx, message: GateDecided, envelope: Envelope) -> None:
    await tx.insert_new(
        decisions,
        {
            "id": message.decision,
            "organisation_id": message.organisation,
            "service_id": message.service,
            "run_id": message.run,
            "number": message.number,
            "request_id": message.request,
            "environment": message.environment,
            "environment_kind": str(message.environment_kind),
            "verdict": str(message.verdict),
            "sentence": message.sentence,
            "commit": message.commit,
            "image_id": message.image_id,
            "body": json.loads(message.model_dump_json()),
            "duration_ms": message.duration_ms,
            "decided_at_ms": envelope.stored_at_ms,
        },
    )
    verdicts = await tx.all(sa.select(decisions.c.verdict).where(decisions.c.run_id == message.run))
    worst = min((row.verdict for row in verdicts), key=lambda each: _WORST.index(each) if each in _WORST else 9)
    await tx.execute(runs.update().where(runs.c.id == message.run).values(verdict=worst))
    # Deciding takes milliseconds; what lies before is the wait for the evidence.
    await moves.end(
        tx,
        message,
        Step.GATE,
        envelope.stored_at_ms,
        _VERDICT_STATE.get(message.verdict, StepState.OTHER),
        message.environment if message.request else "",
        duration_ms=message.duration_ms,
        text=message.sentence,
        code=message.reasons[0].rule if message.reasons else "",
    )
    if message.request is None:
        return
    blocked = message.verdict == Verdict.BLOCK
    state = {"state": "blocked"} if blocked else {"state": "decided"}
    await _deploy(tx, message, verdict=str(message.verdict), reason=message.sentence if blocked else "", **state)
    await _event(tx, message, envelope, "decided", message.sentence)
    await _place(tx, message, verdict=str(message.verdict), decision_id=message.decision)
    if blocked:
        await moves.end(
            tx,
            message,
            Step.DEPLOY,
            envelope.stored_at_ms,
            StepState.SKIPPED,
            message.environment,
            text="The gate blocked it.",
        )
        await moves.end(
            tx, message, Step.OPERATE, envelope.stored_at_ms, StepState.SKIPPED, message.environment, text="Not deployed."
        )
    else:
        await moves.wait(tx, message, Step.DEPLOY, envelope.stored_at_ms, "for the runtime", message.environment)


async def deploy_planned(tx: Tx, message: DeployPlanned, envelope: Envelope) -> None:
    run = await tx.one(sa.select(runs.c.trigger, runs.c.executor).where(runs.c.id == message.run))
    verdict = await tx.scalar(sa.select(deploys.c.verdict).where(deploys.c.id == message.request))
    back = await tx.scalar(sa.select(releases.c.number).where(releases.c.id == message.back_to))
    await tx.insert_new(
        releases,
        {
            "id": message.release,
            "organisation_id": message.organisation,
            "service_id": message.service,
            "environment": message.environment,
            "number": message.release_number,
            "run_id": message.run,
            "run_number": message.number,
            "request_id": message.request,
            "runtime": message.runtime,
            "state": "planned",
            "version": message.version,
            "by_hand": message.version_by_hand,
            "image": message.image,
            "image_id": message.image_id,
            "digest": message.digest,
            "commit": message.commit,
            "trigger": run.trigger if run else "",
            "executor": run.executor if run else "",
            "before_id": message.before,
            "back_to_id": message.back_to,
            "back_to_number": back,
            "changes": list(message.changes),
            "came_back": [],
            "verdict": verdict or "",
            "stages_ms": {},
            "planned_at_ms": envelope.stored_at_ms,
        },
    )
    await _deploy(
        tx,
        message,
        state="planned",
        release_id=message.release,
        release_number=message.release_number,
        version=message.version,
        by_hand=message.version_by_hand,
    )
    await _event(tx, message, envelope, "planned", f"Release {message.release_number}")
    await _place(
        tx,
        message,
        state="deploying",
        state_text=f"Deploying release {message.release_number}",
        deploy_id=message.request,
    )
    await moves.wait(tx, message, Step.DEPLOY, envelope.stored_at_ms, "for the runtime", message.environment)


async def deploy_started(tx: Tx, message: DeployStarted, envelope: Envelope) -> None:
    await _deploy(tx, message, state="deploying", started_at_ms=envelope.stored_at_ms)
    await _release(tx, message.release, state="deploying", started_at_ms=envelope.stored_at_ms)
    await _event(tx, message, envelope, "started", "")
    await moves.begin(tx, message, Step.DEPLOY, envelope.stored_at_ms, message.environment)


async def deploy_progressed(tx: Tx, message: DeployProgressed, envelope: Envelope) -> None:
    await _deploy(tx, message, step=message.step, steps=message.steps, text=message.text)
    await _event(tx, message, envelope, "progressed", message.text, message.step, message.steps)
    await moves.begin(
        tx,
        message,
        Step.DEPLOY,
        envelope.stored_at_ms,
        message.environment,
        text=f"[{message.step}/{message.steps}] {message.text}",
    )


async def deploy_ready(tx: Tx, message: DeployReady, envelope: Envelope) -> None:
    at = envelope.stored_at_ms
    row = await tx.one(
        sa.select(releases.c.trigger, releases.c.executor, releases.c.started_at_ms).where(releases.c.id == message.release)
    )
    took = sum(message.stages_ms.values()) or None
    await tx.execute(
        releases.update()
        .where(
            releases.c.service_id == message.service,
            releases.c.environment == message.environment,
            releases.c.id != message.release,
            releases.c.state.in_(("serving", "not_healthy")),
        )
        .values(
            retired_at_ms=at,
            state=sa.case((releases.c.state == "not_healthy", "not_healthy"), else_="served"),
        )
    )
    await _release(
        tx,
        message.release,
        state="serving",
        ready_at_ms=at,
        url=message.url,
        container=message.container,
        stages_ms=dict(message.stages_ms),
        duration_ms=took,
    )
    await _deploy(tx, message, state="ready", text=message.text, ended_at_ms=at)
    await _event(tx, message, envelope, "ready", message.text)
    await _place(
        tx,
        message,
        state="running",
        state_text="",
        release_id=message.release,
        release_number=message.release_number,
        version=message.version,
        by_hand=message.version_by_hand,
        commit=message.commit,
        image=message.image,
        image_id=message.image_id,
        digest=message.digest,
        run_id=message.run,
        run_number=message.number,
        executor=row.executor if row else "",
        trigger=row.trigger if row else "",
        container=message.container,
        since_ms=at,
        **({"url": message.url} if message.url else {}),
    )
    await tx.execute(
        runs.update().where(runs.c.id == message.run).values(deployed_at_ms=sa.func.coalesce(runs.c.deployed_at_ms, at))
    )
    await moves.end(
        tx,
        message,
        Step.DEPLOY,
        at,
        StepState.SUCCESS,
        message.environment,
        duration_ms=took,
        stages_ms=dict(message.stages_ms),
        text=message.text,
    )
    await moves.begin(tx, message, Step.OPERATE, at, message.environment)


async def deploy_settled(tx: Tx, message: DeploySettled, envelope: Envelope) -> None:
    at = envelope.stored_at_ms
    told = {"code": message.code, "reason": message.reason, "advice": message.advice}
    await _release(
        tx,
        message.release,
        settled_healthy=message.healthy,
        observed_seconds=message.seconds,
        **({} if message.healthy else {"state": "not_healthy", **told}),
    )
    await _deploy(tx, message, state="settled" if message.healthy else "unhealthy", **told)
    text = f"healthy for {message.seconds} s" if message.healthy else message.reason
    await _event(tx, message, envelope, "settled", text)
    if not message.healthy:
        await tx.execute(
            environments.update()
            .where(
                environments.c.service_id == message.service,
                environments.c.name == message.environment,
                environments.c.release_id == message.release,
            )
            .values(state="degraded", state_text=message.reason)
        )
        touch_service(tx, message.service)
    await moves.end(
        tx,
        message,
        Step.OPERATE,
        at,
        StepState.SUCCESS if message.healthy else StepState.FAILED,
        message.environment,
        text=text,
        code=message.code,
        advice=message.advice,
    )


async def deploy_failed(tx: Tx, message: DeployFailed, envelope: Envelope) -> None:
    at = envelope.stored_at_ms
    told = {"code": message.code, "reason": message.reason, "advice": message.advice}
    await _deploy(tx, message, state="failed", ended_at_ms=at, still_serving=message.still_serving, **told)
    if message.release:
        await _release(tx, message.release, state="failed", retired_at_ms=at, **told)
    await _event(tx, message, envelope, "failed", message.reason)
    await _place(tx, message, state="deploy_failed", state_text=message.reason, deploy_id=message.request)
    await moves.end(
        tx,
        message,
        Step.DEPLOY,
        at,
        StepState.FAILED,
        message.environment,
        text=message.reason,
        code=message.code,
        advice=message.advice,
    )
    await moves.end(tx, message, Step.OPERATE, at, StepState.SKIPPED, message.environment, text="Not deployed.")


async def deploy_cancelled(tx: Tx, message: DeployCancelled, envelope: Envelope) -> None:
    at = envelope.stored_at_ms
    row = await tx.one(sa.select(deploys.c.state, deploys.c.release_id).where(deploys.c.id == message.request))
    if row is not None and row.state not in ("blocked", "failed", "settled", "unhealthy"):
        await _deploy(tx, message, state="cancelled", reason=message.reason, ended_at_ms=at)
        if row.release_id:
            await _release(tx, row.release_id, state="cancelled", reason=message.reason, retired_at_ms=at)
    await _event(tx, message, envelope, "cancelled", message.reason)
    await tx.execute(
        environments.update()
        .where(
            environments.c.service_id == message.service,
            environments.c.name == message.environment,
            environments.c.state == "deploying",
            environments.c.deploy_id == message.request,
        )
        .values(state=sa.case((environments.c.release_id.is_(None), "registered"), else_="running"), state_text="")
    )
    for step in (Step.GATE, Step.DEPLOY, Step.OPERATE):
        await moves.cancel(tx, message, step, at, message.reason, message.environment)


async def deploy_rolled_back(tx: Tx, message: DeployRolledBack, envelope: Envelope) -> None:
    """Told beside `deploy.ready` of the release that came back; which of the two is first does not matter."""
    await _release(tx, message.release, came_back=list(message.came_back), back_to_number=message.to_number)
    if message.from_release:
        ended = sa.func.coalesce(releases.c.retired_at_ms, envelope.stored_at_ms)
        await _release(tx, message.from_release, state="rolled_back", retired_at_ms=ended)
    await _event(tx, message, envelope, "rolled_back", f"Release {message.to_number} serves again.")
    touch_run(tx, message.run, message.service)


async def release_observed(tx: Tx, message: ReleaseObserved, envelope: Envelope) -> None:
    """What the runtime shows of a release that serves: it may be gone, ill, or well again."""
    state = {
        Phase.GONE: "stopped",
        Phase.UNHEALTHY: "degraded",
        Phase.SETTLED: "running",
    }.get(message.phase)
    if state is None:
        return
    row = await tx.one(
        sa.select(environments.c.service_id, environments.c.name).where(
            environments.c.organisation_id == message.organisation,
            environments.c.name == message.environment,
            environments.c.release_id == message.release,
            environments.c.state.in_(("running", "degraded", "stopped")),
        )
    )
    if row is None:
        return
    await tx.execute(
        environments.update()
        .where(environments.c.service_id == row.service_id, environments.c.name == row.name)
        .values(state=state, state_text="" if state == "running" else message.reason or message.text)
    )
    touch_service(tx, row.service_id)
