"""Codes become words and shapes here, and only here. A shape is a symbol `s-<shape>` of the sprite and a class `st-<shape>`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from shared.words import Step


@dataclass(frozen=True)
class State:
    """A condition: the shape, its word, and in a second line why."""

    shape: str
    word: str
    why: str = ""

    def because(self, why: str) -> State:
        return State(self.shape, self.word, why)


UNKNOWN = State("unknown", "Not known")

SERVICE = {
    "registered": State("missing", "Registered"),
    "building": State("run", "Building"),
    "build_failed": State("bad", "Build failed"),
    "blocked": State("bad", "Blocked"),
    "deploying": State("run", "Deploying"),
    "deploy_failed": State("bad", "Deploy failed"),
    "running": State("ok", "Healthy"),
    "degraded": State("bad", "Not healthy"),
    "stopped": State("stop", "Stopped"),
    "unreachable": State("unknown", "Not reachable"),
}
FAILING = ("build_failed", "blocked", "deploy_failed", "degraded", "unreachable")
MOVING = ("building", "deploying")

STEP_NAMES = {
    "source": "Source",
    "sast": "SAST",
    "build": "Build",
    "sca": "SCA",
    "gate": "Gate",
    "deploy": "Deploy",
    "operate": "Operate",
    "dast": "DAST",
}
# The steps that runs can have today, in the order of their pips.
PIPS = (Step.SOURCE, Step.SAST, Step.BUILD, Step.SCA, Step.GATE, Step.DEPLOY, Step.OPERATE)

STEP = {
    "waiting": State("missing", "Not reached"),
    "running": State("run", "Running"),
    "success": State("ok", "Passed"),
    "warning": State("warn", "Warned"),
    "failed": State("bad", "Failed"),
    "blocked": State("bad", "Blocked"),
    "skipped": State("na", "Skipped"),
    "cancelled": State("stop", "Cancelled"),
    "not_in_run": State("na", "Not in this run"),
}
PIP = {
    "running": "run",
    "success": "ok",
    "warning": "warn",
    "failed": "bad",
    "blocked": "bad",
    "held": "wait",
}
PIP_WORD = {
    "waiting": "not reached",
    "running": "running",
    "success": "passed",
    "warning": "warned",
    "failed": "failed",
    "blocked": "blocked",
    "skipped": "skipped",
    "cancelled": "cancelled",
    "not_in_run": "not in this run",
}

AREA = {
    "sast": "SAST",
    "sca": "SCA",
    "sbom": "SBOM",
    "license": "License",
    "secrets": "Secrets",
    "iac": "IaC",
    "dast": "DAST",
    "image": "Image",
}
AREA_LONG = {
    "sast": "Source code (SAST)",
    "sca": "Packages (SCA)",
    "sbom": "Bill of materials (SBOM)",
    "license": "Licences",
    "secrets": "Secrets in the history",
    "iac": "Infrastructure as code (IaC)",
    "dast": "Running application (DAST)",
    "image": "Image",
}

EVIDENCE = {
    "fresh": State("ok", "Fresh"),
    "stale": State("stale", "Stale"),
    "missing": State("missing", "Missing"),
    "running": State("run", "Running"),
    "failed": State("bad", "Failed"),
    "partial": State("warn", "Partial"),
    "no_data": State("missing", "No vulnerability data"),
    "not_applicable": State("na", "Not applicable"),
}
SCAN = {
    "queued": State("wait", "Waiting"),
    "running": State("run", "Scanning"),
    "cancelled": State("stop", "Cancelled"),
    "completed": State("ok", "Read in full"),
    "partial": State("warn", "Read in part"),
    "no_data": State("missing", "No vulnerability data"),
    "not_applicable": State("na", "Not applicable"),
    "failed": State("bad", "Failed"),
}
# What an area's verdict says in the table of the gate.
SAYS = {"pass": State("ok", "Passes"), "warn": State("warn", "Warns"), "block": State("bad", "Blocks")}
VERDICT = {
    "pass": State("ok", "Passed"),
    "warn": State("warn", "Passed with warnings"),
    "block": State("bad", "Blocked"),
}

SEVERITIES = ("critical", "high", "medium", "low")

TRIGGER = {
    "manual": "By hand",
    "webhook": "Push",
    "scheduled": "Scheduled",
    "sweep": "Sweep",
    "replay": "Replay",
    "image_tag": "Image tag",
    "api": "API",
    "rollback": "Roll back",
    "promotion": "Promotion",
}
ENVIRONMENT_KIND = {"production": "production", "not_production": "not production"}
ENDPOINT = {
    "active": State("ok", "Active"),
    "ready": State("alive", "Ready", "no delivery yet"),
    "unconfigured": State("missing", "Unconfigured", "the organisation has no base URL"),
    "inactive": State("stop", "Switched off"),
}
ENVIRONMENT = {
    "registered": State("missing", "Nothing deployed"),
    "deploying": State("run", "Deploying"),
    "running": State("ok", "Healthy"),
    "degraded": State("bad", "Not healthy"),
    "stopped": State("stop", "Stopped"),
    "deploy_failed": State("bad", "Deploy failed"),
    "blocked": State("bad", "Blocked"),
}
RELEASE = {
    "planned": State("wait", "Planned"),
    "deploying": State("run", "Deploying"),
    "serving": State("ok", "Serves now"),
    "served": State("ok", "Served well"),
    "rolled_back": State("back", "Rolled back"),
    "failed": State("bad", "Failed"),
    "not_healthy": State("bad", "Not healthy"),
}
BUILD = {
    "queued": State("wait", "Waiting"),
    "running": State("run", "Building"),
    "success": State("ok", "Built"),
    "failed": State("bad", "Failed"),
    "cancelled": State("stop", "Cancelled"),
}
STAGES = {"clone": "Clone", "analyse": "Analyse", "build": "Build", "push": "Push"}

_FAILED_AT = {
    "source": "Source failed",
    "sast": "Scan failed",
    "build": "Build failed",
    "sca": "Scan failed",
    "gate": "Gate failed",
    "deploy": "Deploy failed",
    "operate": "Not healthy",
}
_RUNNING_AT = {
    "source": "Cloning",
    "sast": "Scanning",
    "build": "Building",
    "sca": "Scanning the image",
    "gate": "Judging",
    "deploy": "Deploying",
    "operate": "Watching",
}


def of(table: dict[str, State], code: str | None) -> State:
    """The state of a code; a code this version does not know is shown as it is."""
    return table.get(code or "") or (State("unknown", code.replace("_", " ").capitalize()) if code else UNKNOWN)


def run_state(run: Any) -> State:
    """The state of a run row (state, steps, ended_step, verdict, trigger, deployed_at_ms): its outcome by its proper name."""
    match run.state:
        case "pending":
            return State("wait", "Waiting")
        case "running":
            at = next((step for step in reversed(PIPS) if (run.steps or {}).get(step) == "running"), None)
            return State("run", _RUNNING_AT.get(at or "", "Running"))
        case "success":
            warned = run.verdict == "warn"
            if run.trigger == "rollback":
                return State("back", "Rolled back")
            if run.deployed_at_ms:
                return State("warn", "Deployed, warned") if warned else State("ok", "Deployed")
            return State("warn", "Passed, warned") if warned else State("ok", "Passed")
        case "failed":
            return State("bad", _FAILED_AT.get(run.ended_step or "", "Failed"))
        case "blocked":
            return State("bad", "Blocked")
        case "held":
            return State("hold", "Held")
        case "cancelled":
            return State("stop", "Cancelled")
        case "superseded":
            return State("stop", "Superseded")
    return of({}, run.state)


def pips(steps: dict[str, str]) -> tuple[tuple[tuple[str, str], ...], str]:
    """The pips of a run as (class, title) and the sentence that they draw."""
    drawn = tuple((PIP.get(steps.get(s, "not_in_run"), "off"), STEP_NAMES[s]) for s in PIPS)
    words = ", ".join(f"{STEP_NAMES[s]} {PIP_WORD.get(steps.get(s, 'not_in_run'), 'not known')}" for s in PIPS)
    return drawn, words


def trigger(code: str) -> str:
    return TRIGGER.get(code, code.replace("_", " ").capitalize())
