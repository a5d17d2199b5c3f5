"""What a step of a run is called while it works and while it waits, and how several rows of one step become one state."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from shared.words import Area, RunState, Step, StepState

PLAN = tuple(str(step) for step in Step if step is not Step.OTHER)
"""The order in which steps are shown."""

PER_ENVIRONMENT = {Step.GATE, Step.DEPLOY, Step.OPERATE}
"""Steps that a run has once for each environment it goes to."""

AREAS: dict[str, tuple[str, ...]] = {
    Step.SAST: (Area.SAST, Area.SECRETS, Area.IAC),
    Step.SCA: (Area.SCA, Area.SBOM, Area.LICENSE, Area.IMAGE),
    Step.DAST: (Area.DAST,),
}
STEP_OF_AREA = {str(area): str(step) for step, areas in AREAS.items() for area in areas}

WAITS: dict[str, str] = {
    Step.SOURCE: "for the builder",
    Step.SAST: "for the scanner",
    Step.BUILD: "for the source",
    Step.SCA: "for the image",
    Step.GATE: "for the scans",
    Step.DEPLOY: "for the verdict",
    Step.OPERATE: "for the switch",
    Step.DAST: "for the deploy",
}
"""What a step waits for before anything is known of it."""

DOING: dict[str, str] = {
    Step.SOURCE: "Fetching the source",
    Step.SAST: "Scanning the source",
    Step.BUILD: "Building",
    Step.SCA: "Scanning the image",
    Step.GATE: "Deciding",
    Step.DEPLOY: "Deploying",
    Step.OPERATE: "Watching",
    Step.DAST: "Scanning what runs",
}

ENDED = {
    StepState.SUCCESS,
    StepState.WARNING,
    StepState.FAILED,
    StepState.BLOCKED,
    StepState.SKIPPED,
    StepState.CANCELLED,
    StepState.NOT_IN_RUN,
}

_WORST = (
    StepState.FAILED,
    StepState.BLOCKED,
    StepState.RUNNING,
    StepState.WAITING,
    StepState.WARNING,
    StepState.SUCCESS,
    StepState.CANCELLED,
    StepState.SKIPPED,
    StepState.NOT_IN_RUN,
)


def rows_of(plan: Sequence[str], environments: Sequence[str]) -> list[tuple[str, str, int]]:
    """(step, environment, position) of a new run."""
    rows = []
    for position, step in enumerate(plan):
        for environment in environments if step in PER_ENVIRONMENT and environments else ("",):
            rows.append((step, environment, position))
    return rows


def worst(states: Iterable[str]) -> str:
    """The state that stands for all of them."""
    found = set(states)
    return next((str(state) for state in _WORST if state in found), str(StepState.OTHER))


def summary(steps: Iterable[tuple[str, str]]) -> dict[str, str]:
    """{step: state} of rows (step, state), in the order in which steps are shown."""
    rows = list(steps)
    return {step: worst(state for name, state in rows if name == step) for step in PLAN if any(s == step for s, _ in rows)}


def standing(run_state: str, reason: str, steps: Iterable[tuple[str, str, str, str]]) -> str:
    """Where a run stands in a few words. Steps are (step, state, text, waits for), in the order of the plan."""
    rows = list(steps)
    if run_state not in (RunState.PENDING, RunState.RUNNING, RunState.HELD):
        return reason
    running = [step for step, state, _, _ in rows if state == StepState.RUNNING]
    if running:
        return DOING.get(running[-1], running[-1])
    for step, state, _, waits_for in rows:
        if state == StepState.WAITING:
            return f"Waits {waits_for or WAITS.get(step, '')}".strip()
    return ""


def areas_state(areas: Sequence[str], found: dict[str, tuple[str, dict[str, int]]]) -> str:
    """The state of a scan step from its areas: {area: (scan state, counts)}. Running until every known area has ended."""
    states = [found[area][0] for area in areas if area in found]
    if any(state in ("queued", "running") for state in states):
        return StepState.RUNNING if any(state != "queued" for state in states) else StepState.WAITING
    if not states:
        return StepState.WAITING
    if "failed" in states:
        return StepState.FAILED
    if "cancelled" in states:
        return StepState.CANCELLED
    serious = any(counts.get("critical") or counts.get("high") for _, counts in found.values())
    if serious or any(state in ("partial", "no_data") for state in states):
        return StepState.WARNING
    if all(state == "not_applicable" for state in states):
        return StepState.SKIPPED
    return StepState.SUCCESS
