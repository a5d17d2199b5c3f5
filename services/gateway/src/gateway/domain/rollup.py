"""A service at a glance: one state out of its environments and its last run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from shared.words import EnvironmentKind, RunState, ServiceState, Step, StepState

ORDER = (
    ServiceState.UNREACHABLE,
    ServiceState.DEPLOYING,
    ServiceState.BUILDING,
    ServiceState.BLOCKED,
    ServiceState.DEPLOY_FAILED,
    ServiceState.BUILD_FAILED,
    ServiceState.DEGRADED,
    ServiceState.RUNNING,
    ServiceState.STOPPED,
    ServiceState.REGISTERED,
)


@dataclass(frozen=True, slots=True)
class Place:
    """An environment: its own state, whether its runtime answers, since when its release serves (None: none does)."""

    name: str
    kind: str
    state: str
    reachable: bool
    since_ms: int | None


@dataclass(frozen=True, slots=True)
class LastRun:
    """The run with the highest number."""

    state: str
    ended_step: str | None
    steps: Mapping[str, str]


def roll_up(places: Sequence[Place], last: LastRun | None) -> tuple[str, str]:
    """(state, environment it comes from; empty when it comes from the last run)."""
    found: dict[str, str] = {}
    for place in sorted(places, key=lambda each: (each.kind != EnvironmentKind.PRODUCTION, each.name)):
        state = place.state
        if place.since_ms is not None and not place.reachable:
            state = ServiceState.UNREACHABLE
        found.setdefault(state, place.name)
    if last is not None:
        if last.state in (RunState.PENDING, RunState.RUNNING) and _building(last.steps):
            found.setdefault(ServiceState.BUILDING, "")
        if last.state == RunState.BLOCKED:
            found.setdefault(ServiceState.BLOCKED, "")
        if last.state == RunState.FAILED and last.ended_step in (None, Step.SOURCE, Step.BUILD, Step.SAST, Step.SCA):
            found.setdefault(ServiceState.BUILD_FAILED, "")
    for state in ORDER:
        if state in found:
            return str(state), found[state]
    return str(ServiceState.REGISTERED), ""


def _building(steps: Mapping[str, str]) -> bool:
    return any(steps.get(step) in (StepState.WAITING, StepState.RUNNING) for step in (Step.SOURCE, Step.BUILD))


def foremost(places: Sequence[Place]) -> Place | None:
    """The environment whose release a service is named by: production before others, then what was deployed last."""
    serving = [place for place in places if place.since_ms is not None]
    return max(serving, key=lambda each: (each.kind == EnvironmentKind.PRODUCTION, each.since_ms), default=None)
