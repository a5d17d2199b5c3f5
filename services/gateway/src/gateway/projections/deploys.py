"""Verdicts, releases and deploys: the steps gate, deploy and operate, and what serves in an environment."""

from __future__ import annotations

from typing import Any

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
from shared.words import Phase, Step, StepState, Verdict

from gateway.projections import model as tables
from gateway.projections import moves
from gateway.projections.catalogue import place
from gateway.projections.model import Model
from gateway.projections.told import Told

_VERDICT_STATE = {
    Verdict.PASS: StepState.SUCCESS,
    Verdict.WARN: StepState.WARNING,
    Verdict.BLOCK: StepState.BLOCKED,
}
_WORST = ("block", "warn", "pass")


def _deploy(model: Model, message: Any, **values: Any) -> None:
    model.change(tables.deploys, model.deploys.get(message.request), **values)


def _release(model: Model, release: str, **values: Any) -> None:
    model.change(tables.releases, model.releases.get(release), **values)


def _place(model: Model, message: Any, **values: Any) -> None:
    model.change(tables.environments, place(model, message, message.environment), **values)
    model.touched_services[message.service] = None


def _event(model: Model, message: Any, told: Told, kind: str, text: str, step: int = 0, steps: int = 0) -> None:
    model.append(
        tables.deploy_events,
        {
            "deploy_id": message.request,
            "sequence": told.sequence,
            "organisation_id": message.organisation,
            "kind": kind,
            "text": text,
            "step": step,
            "steps": steps,
            "at_ms": told.stored_at_ms,
        },
    )


def deploy_requested(model: Model, message: DeployRequested, told: Told) -> None:
    if message.request not in model.deploys:
        row = model.deploys[message.request] = tables.deploys.new(
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
                "requested_at_ms": told.stored_at_ms,
            }
        )
        model.mark(tables.deploys, row)
    place(model, message, message.environment)
    if message.back_to is not None:
        model.change(
            tables.runs,
            model.runs.get(message.run),
            image=message.image,
            image_id=message.image_id,
            digest=message.digest,
            version=message.version,
            by_hand=message.version_by_hand,
        )
    _event(model, message, told, "requested", "")
    moves.wait(model, message, Step.GATE, told.stored_at_ms, "for the scans", message.environment)
    model.touched_services[message.service] = None


def gate_decided(model: Model, message: GateDecided, told: Told) -> None:
    verdict = str(message.verdict)
    model.append(
        tables.decisions,
        {
            "id": message.decision,
            "organisation_id": message.organisation,
            "service_id": message.service,
            "run_id": message.run,
            "number": message.number,
            "request_id": message.request,
            "environment": message.environment,
            "environment_kind": str(message.environment_kind),
            "verdict": verdict,
            "sentence": message.sentence,
            "commit": message.commit,
            "image_id": message.image_id,
            "body": message,
            "duration_ms": message.duration_ms,
            "decided_at_ms": told.stored_at_ms,
        },
    )
    run = model.runs.get(message.run)
    if run is not None:
        said = [each for each in (run["verdict"], verdict) if each]
        worst = min(said, key=lambda each: _WORST.index(each) if each in _WORST else len(_WORST))
        model.change(tables.runs, run, verdict=worst)
    # Deciding takes milliseconds; what lies before is the wait for the evidence.
    moves.end(
        model,
        message,
        Step.GATE,
        told.stored_at_ms,
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
    _deploy(model, message, verdict=verdict, reason=message.sentence if blocked else "", **state)
    _event(model, message, told, "decided", message.sentence)
    _place(model, message, verdict=verdict, decision_id=message.decision)
    at, where = told.stored_at_ms, message.environment
    if blocked:
        moves.end(model, message, Step.DEPLOY, at, StepState.SKIPPED, where, text="The gate blocked it.")
        moves.end(model, message, Step.OPERATE, at, StepState.SKIPPED, where, text="Not deployed.")
    else:
        moves.wait(model, message, Step.DEPLOY, at, "for the runtime", where)


def deploy_planned(model: Model, message: DeployPlanned, told: Told) -> None:
    run, deploy = model.runs.get(message.run), model.deploys.get(message.request)
    back = model.releases.get(message.back_to) if message.back_to else None
    if message.release not in model.releases:
        row = model.releases[message.release] = tables.releases.new(
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
                "trigger": run["trigger"] if run else "",
                "executor": run["executor"] if run else "",
                "before_id": message.before,
                "back_to_id": message.back_to,
                "back_to_number": back["number"] if back else None,
                "changes": message.changes,
                "verdict": deploy["verdict"] if deploy else "",
                "planned_at_ms": told.stored_at_ms,
            }
        )
        model.mark(tables.releases, row)
    _deploy(
        model,
        message,
        state="planned",
        release_id=message.release,
        release_number=message.release_number,
        version=message.version,
        by_hand=message.version_by_hand,
    )
    _event(model, message, told, "planned", f"Release {message.release_number}")
    _place(
        model,
        message,
        state="deploying",
        state_text=f"Deploying release {message.release_number}",
        deploy_id=message.request,
    )
    moves.wait(model, message, Step.DEPLOY, told.stored_at_ms, "for the runtime", message.environment)


def deploy_started(model: Model, message: DeployStarted, told: Told) -> None:
    _deploy(model, message, state="deploying", started_at_ms=told.stored_at_ms)
    _release(model, message.release, state="deploying", started_at_ms=told.stored_at_ms)
    _event(model, message, told, "started", "")
    moves.begin(model, message, Step.DEPLOY, told.stored_at_ms, message.environment)


def deploy_progressed(model: Model, message: DeployProgressed, told: Told) -> None:
    _deploy(model, message, step=message.step, steps=message.steps, text=message.text)
    _event(model, message, told, "progressed", message.text, message.step, message.steps)
    moves.begin(
        model,
        message,
        Step.DEPLOY,
        told.stored_at_ms,
        message.environment,
        text=f"[{message.step}/{message.steps}] {message.text}",
    )


def deploy_ready(model: Model, message: DeployReady, told: Told) -> None:
    at = told.stored_at_ms
    release, run = model.releases.get(message.release), model.runs.get(message.run)
    took = sum(message.stages_ms.values()) or None
    # What has served here until now: it is named by the environment, and stays not healthy when it was that.
    served = model.releases.get(place(model, message, message.environment)["release_id"] or "")
    if served is not None and served is not release and served["state"] in ("serving", "not_healthy"):
        state = "not_healthy" if served["state"] == "not_healthy" else "served"
        model.change(tables.releases, served, retired_at_ms=at, state=state)
    _release(
        model,
        message.release,
        state="serving",
        ready_at_ms=at,
        url=message.url,
        container=message.container,
        stages_ms=message.stages_ms,
        duration_ms=took,
    )
    _deploy(model, message, state="ready", text=message.text, ended_at_ms=at)
    _event(model, message, told, "ready", message.text)
    _place(
        model,
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
        executor=release["executor"] if release else "",
        trigger=release["trigger"] if release else "",
        container=message.container,
        since_ms=at,
        **({"url": message.url} if message.url else {}),
    )
    if run is not None and run["deployed_at_ms"] is None:
        model.change(tables.runs, run, deployed_at_ms=at)
    moves.end(
        model,
        message,
        Step.DEPLOY,
        at,
        StepState.SUCCESS,
        message.environment,
        duration_ms=took,
        stages_ms=message.stages_ms,
        text=message.text,
    )
    moves.begin(model, message, Step.OPERATE, at, message.environment)


def deploy_settled(model: Model, message: DeploySettled, told: Told) -> None:
    at = told.stored_at_ms
    why = {"code": message.code, "reason": message.reason, "advice": message.advice}
    _release(
        model,
        message.release,
        settled_healthy=message.healthy,
        observed_seconds=message.seconds,
        **({} if message.healthy else {"state": "not_healthy", **why}),
    )
    _deploy(model, message, state="settled" if message.healthy else "unhealthy", **why)
    text = f"healthy for {message.seconds} s" if message.healthy else message.reason
    _event(model, message, told, "settled", text)
    where = model.places.get(message.service, {}).get(message.environment)
    if not message.healthy and where is not None and where["release_id"] == message.release:
        model.change(tables.environments, where, state="degraded", state_text=message.reason)
        model.touched_services[message.service] = None
    moves.end(
        model,
        message,
        Step.OPERATE,
        at,
        StepState.SUCCESS if message.healthy else StepState.FAILED,
        message.environment,
        text=text,
        code=message.code,
        advice=message.advice,
    )


def deploy_failed(model: Model, message: DeployFailed, told: Told) -> None:
    at = told.stored_at_ms
    why = {"code": message.code, "reason": message.reason, "advice": message.advice}
    _deploy(model, message, state="failed", ended_at_ms=at, still_serving=message.still_serving, **why)
    if message.release:
        _release(model, message.release, state="failed", retired_at_ms=at, **why)
    _event(model, message, told, "failed", message.reason)
    _place(model, message, state="deploy_failed", state_text=message.reason, deploy_id=message.request)
    moves.end(
        model,
        message,
        Step.DEPLOY,
        at,
        StepState.FAILED,
        message.environment,
        text=message.reason,
        code=message.code,
        advice=message.advice,
    )
    moves.end(model, message, Step.OPERATE, at, StepState.SKIPPED, message.environment, text="Not deployed.")


def deploy_cancelled(model: Model, message: DeployCancelled, told: Told) -> None:
    at = told.stored_at_ms
    row = model.deploys.get(message.request)
    if row is not None and row["state"] not in ("blocked", "failed", "settled", "unhealthy"):
        _deploy(model, message, state="cancelled", reason=message.reason, ended_at_ms=at)
        if row["release_id"]:
            _release(model, row["release_id"], state="cancelled", reason=message.reason, retired_at_ms=at)
    _event(model, message, told, "cancelled", message.reason)
    where = model.places.get(message.service, {}).get(message.environment)
    if where is not None and where["state"] == "deploying" and where["deploy_id"] == message.request:
        state = "registered" if where["release_id"] is None else "running"
        model.change(tables.environments, where, state=state, state_text="")
    for step in (Step.GATE, Step.DEPLOY, Step.OPERATE):
        moves.cancel(model, message, step, at, message.reason, message.environment)


def deploy_rolled_back(model: Model, message: DeployRolledBack, told: Told) -> None:
    """Told beside `deploy.ready` of the release that came back; which of the two is first does not matter."""
    _release(model, message.release, came_back=message.came_back, back_to_number=message.to_number)
    before = model.releases.get(message.from_release) if message.from_release else None
    if before is not None:
        ended = before["retired_at_ms"] if before["retired_at_ms"] is not None else told.stored_at_ms
        model.change(tables.releases, before, state="rolled_back", retired_at_ms=ended)
    _event(model, message, told, "rolled_back", f"Release {message.to_number} serves again.")
    moves.touch(model, message)


_OBSERVED = {Phase.GONE: "stopped", Phase.UNHEALTHY: "degraded", Phase.SETTLED: "running"}


def release_observed(model: Model, message: ReleaseObserved, told: Told) -> None:
    """What the runtime shows of a release that serves: it may be gone, ill, or well again."""
    state = _OBSERVED.get(message.phase)
    release = model.releases.get(message.release)
    if state is None or release is None:
        return
    service = release["service_id"]
    row = model.places.get(service, {}).get(message.environment)
    if row is None or row["release_id"] != message.release or row["state"] not in ("running", "degraded", "stopped"):
        return
    text = "" if state == "running" else message.reason or message.text
    model.change(tables.environments, row, state=state, state_text=text)
    model.touched_services[service] = None
