"""A run as a state machine: steps made of parts, what one part's end means for the others, when all is over.

A step has one part, or one per area (SAST, SCA) or per environment (gate, deploy, operate). Everything heard of a run is
`hear(step, part, state)`. A part that has ended never changes again, whatever is heard later or twice, so that replays are
harmless. The run is over when every part of its plan has ended:

- what cannot happen any more is skipped at once (a failed build skips the image scans, the gate, the deploy);
- what is still at work is waited for (source scans go on after a failed build, and end the run);
- who is silent for too long is failed by the reaper (`run.step_silent`), and a whole run has a deadline.

Scans never decide alone: the gate weighs what they found, or that they failed. A run without a gate has nobody to do that,
so there a failed scan fails the run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from shared.words import RUN_ENDED, Area, RunState, Step, StepState, Trigger

SOURCE_AREAS = (Area.SAST, Area.SECRETS, Area.IAC)
IMAGE_AREAS = (Area.SCA, Area.SBOM, Area.LICENSE, Area.IMAGE)
STEP_OF_AREA = {
    **dict.fromkeys(SOURCE_AREAS, Step.SAST),
    **dict.fromkeys(IMAGE_AREAS, Step.SCA),
    Area.DAST: Step.DAST,
}
ENDED = frozenset(
    {
        StepState.SUCCESS,
        StepState.WARNING,
        StepState.FAILED,
        StepState.BLOCKED,
        StepState.SKIPPED,
        StepState.CANCELLED,
    }
)
PASSED = frozenset({StepState.SUCCESS, StepState.WARNING})
NOT_PASSED = ENDED - PASSED
SCANS = frozenset({Step.SAST, Step.SCA, Step.DAST})


def plan_with_source(environments: Iterable[str]) -> list[Step]:
    """The plan of a push or a build by hand: deploy and operate only when it goes somewhere."""
    road = [Step.SOURCE, Step.SAST, Step.BUILD, Step.SCA, Step.GATE]
    return [*road, Step.DEPLOY, Step.OPERATE] if list(environments) else road


def plan_of_release() -> list[Step]:
    """The plan of a rollback or re-deploy: the image is there and was scanned."""
    return [Step.GATE, Step.DEPLOY, Step.OPERATE]


@dataclass
class Part:
    """One area's or environment's share of a step. `heard_at_ms` is the last sign of life, 0 when there was none."""

    state: StepState = StepState.WAITING
    code: str = ""
    reason: str = ""
    heard_at_ms: int = 0

    @property
    def ended(self) -> bool:
        return self.state in ENDED


@dataclass(frozen=True)
class Outcome:
    """How a run ended, the step that decided, and why in a stable code and in words."""

    state: RunState
    step: Step | None = None
    code: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Patience:
    """How long, in seconds, nothing at all may be heard of a run while a step of this kind is due."""

    build: int
    scan: int
    gate: int
    deploy: int

    def of(self, step: Step) -> int:
        if step in (Step.SOURCE, Step.BUILD):
            return self.build
        if step in SCANS:
            return self.scan
        return self.gate if step is Step.GATE else self.deploy


@dataclass
class Run:
    """One passage through the pipeline. `changed` names the parts that differ from what was loaded."""

    id: str
    number: int
    plan: tuple[Step, ...]
    environments: tuple[str, ...]
    born_at_ms: int
    state: RunState = RunState.PENDING
    switching: bool = False
    heard_at_ms: int = 0
    parts: dict[tuple[Step, str], Part] = field(default_factory=dict)
    changed: set[tuple[Step, str]] = field(default_factory=set)

    def __post_init__(self) -> None:
        known, self.parts = self.parts, {}
        for step in self.plan:
            for name in self._names(step):
                self.parts[step, name] = known.get((step, name)) or Part()

    def _names(self, step: Step) -> tuple[str, ...]:
        if step is Step.SAST:
            return tuple(SOURCE_AREAS)
        if step is Step.SCA:
            return tuple(IMAGE_AREAS)
        if step in (Step.GATE, Step.DEPLOY, Step.OPERATE):
            return self.environments or ("",)
        return ("",)

    # -- what is known -----------------------------------------------------------------------------------------------
    @property
    def over(self) -> bool:
        return self.state in RUN_ENDED

    def of(self, step: Step) -> dict[str, Part]:
        """The parts of a step; empty when it is not in the plan."""
        return {name: part for (its, name), part in self.parts.items() if its is step}

    def step_state(self, step: Step) -> StepState:
        """What a step shows: the worst of its parts once they have ended, running before that."""
        states = [part.state for part in self.of(step).values()]
        if not states:
            return StepState.NOT_IN_RUN
        if not all(state in ENDED for state in states):
            begun = any(state is not StepState.WAITING for state in states)
            return StepState.RUNNING if begun else StepState.WAITING
        order = (StepState.FAILED, StepState.BLOCKED, StepState.CANCELLED, StepState.WARNING, StepState.SUCCESS)
        return next((state for state in order if state in states), StepState.SKIPPED)

    def outcome(self) -> Outcome | None:
        """How the run ended, or None while something can still happen. Failed before Blocked before Cancelled."""
        if not all(part.ended for part in self.parts.values()):
            return None
        deciding = [(step, part) for (step, _), part in self.parts.items() if step not in SCANS or Step.GATE not in self.plan]
        for state, ending in (
            (StepState.FAILED, RunState.FAILED),
            (StepState.BLOCKED, RunState.BLOCKED),
            (StepState.CANCELLED, RunState.CANCELLED),
        ):
            for step, part in deciding:
                if part.state is state:
                    return Outcome(ending, step, part.code, part.reason)
        return Outcome(RunState.SUCCESS)

    def serves_everywhere(self) -> bool:
        """Whether there is nothing left to cancel: every environment of the plan has switched."""
        deploys = self.of(Step.DEPLOY).values()
        return bool(deploys) and all(part.state is StepState.SUCCESS for part in deploys)

    # -- what is heard -----------------------------------------------------------------------------------------------
    def hear(self, step: Step, part: str, state: StepState, *, at_ms: int, code: str = "", reason: str = "") -> None:
        """A sign of life of one part. WAITING only says that somebody knows of it. Parts that are not in the plan are
        passed over, as is everything after the run's end."""
        found = self.parts.get((step, part))
        if self.over or found is None:
            return
        self.heard_at_ms = max(self.heard_at_ms, at_ms)
        self.state = RunState.RUNNING
        if found.ended or (found.state is StepState.RUNNING and state is StepState.WAITING):
            return
        found.heard_at_ms = max(found.heard_at_ms, at_ms)
        found.state, found.code, found.reason = state, code, reason
        self.changed.add((step, part))
        self._settle()

    def _settle(self) -> None:
        """Skip what cannot happen any more."""
        if self._gone(Step.SOURCE):
            self._skip(Step.BUILD, "", "the source could not be fetched")
        if self._gone(Step.BUILD):
            for step in (Step.SCA, Step.GATE):
                for name in self.of(step):
                    self._skip(step, name, "there is no image")
        for name in self.environments:
            if self._gone(Step.GATE, name):
                self._skip(Step.DEPLOY, name, "the gate did not let it pass")
            if self._gone(Step.DEPLOY, name):
                self._skip(Step.OPERATE, name, "nothing was deployed")

    def _gone(self, step: Step, name: str = "") -> bool:
        part = self.parts.get((step, name))
        return part is not None and part.state in NOT_PASSED

    def _skip(self, step: Step, name: str, reason: str) -> None:
        part = self.parts.get((step, name))
        if part is not None and part.state is StepState.WAITING:
            part.state, part.reason = StepState.SKIPPED, reason
            self.changed.add((step, name))

    # -- ends that somebody decides ----------------------------------------------------------------------------------
    def end(self, outcome: Outcome) -> None:
        """End the run now. What had not ended is cancelled, or failed when the run failed."""
        state = StepState.FAILED if outcome.state is RunState.FAILED else StepState.CANCELLED
        for key, part in self.parts.items():
            if not part.ended:
                begun = part.state is StepState.RUNNING
                part.state = state if begun or state is StepState.CANCELLED else StepState.SKIPPED
                part.code, part.reason = outcome.code, outcome.reason
                self.changed.add(key)
        self.state = outcome.state

    def due(self) -> list[tuple[Step, str]]:
        """The parts that somebody should be at work on now."""
        return [key for key, part in self.parts.items() if not part.ended and self._may_begin(*key)]

    def _may_begin(self, step: Step, name: str) -> bool:
        if step is Step.BUILD:
            return self._passed(Step.SOURCE)
        if step is Step.SCA:
            return self._passed(Step.BUILD)
        if step is Step.GATE:
            return all(part.ended for its in (Step.BUILD, *SCANS) for part in self.of(its).values())
        if step is Step.DEPLOY:
            return self._passed(Step.GATE, name)
        if step is Step.OPERATE:
            return self._passed(Step.DEPLOY, name)
        return True

    def _passed(self, step: Step, name: str = "") -> bool:
        part = self.parts.get((step, name))
        return part is None or part.state in PASSED

    def fail_silent(self, patience: Patience, *, quiet_ms: int) -> list[tuple[Step, str]]:
        """Fail the due parts of which nothing was heard for too long. Returns them."""
        silent = [key for key in self.due() if quiet_ms > patience.of(key[0]) * 1000]
        for step, name in silent:
            minutes = quiet_ms // 60_000
            self.hear(
                step,
                name,
                StepState.FAILED,
                at_ms=self.heard_at_ms,
                code="run.step_silent",
                reason=f"nothing was heard of {step.value} for {minutes} minutes",
            )
        return silent


@dataclass(frozen=True)
class Sibling:
    """What superseding needs to know of another run of the same service and ref, newest first."""

    id: str
    number: int
    trigger: Trigger
    before: str
    commit: str
    open: bool
    switching: bool


@dataclass(frozen=True)
class Supersession:
    """Which runs a new push makes needless, and the run that makes the new one needless (deliveries arrive out of order)."""

    older: tuple[Sibling, ...] = ()
    newer: Sibling | None = None


def supersede(before: str, commit: str, siblings: Iterable[Sibling]) -> Supersession:
    """Weigh a push (from `before` to `commit`) against the runs of the same branch. Runs that a person began stay, and so
    does a run that has begun its switch."""
    pushes = [sibling for sibling in siblings if sibling.trigger is Trigger.WEBHOOK]
    latest = pushes[0] if pushes else None
    if latest and commit and latest.before == commit and before != latest.commit:
        return Supersession(newer=latest)
    return Supersession(older=tuple(sibling for sibling in pushes if sibling.open and not sibling.switching))


def parts_from(rows: Iterable[Mapping[str, object]]) -> dict[tuple[Step, str], Part]:
    """Parts as they were stored."""
    return {
        (Step(str(row["step"])), str(row["part"])): Part(
            StepState(str(row["state"])), str(row["code"]), str(row["reason"]), int(str(row["heard_at_ms"]))
        )
        for row in rows
    }
