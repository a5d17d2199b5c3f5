"""What a build shows while it goes: steps, lines, warnings, progress, and the image at the end.

A build is told as a stream of these values, whatever builds it. Progress is computed here and nowhere else, so that it
means the same for every client: it counts the `[stage n/m]` steps of the Dockerfile, never goes back, and is 100 only
with the image.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class StepState(StrEnum):
    """Where one step of a build stands."""

    PENDING = "pending"
    RUNNING = "running"
    DONE = "done"
    CACHED = "cached"
    FAILED = "failed"

    @property
    def over(self) -> bool:
        """True when the step will not change any more."""
        return self in (StepState.DONE, StepState.CACHED, StepState.FAILED)


@dataclass(frozen=True, slots=True)
class Step:
    """A step changed its state. `number` counts from 1 in order of appearance; `duration_ms` is known once it is over."""

    number: int
    name: str
    state: StepState
    duration_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """One line that a step wrote; `stream` is 1 for its output and 2 for its errors."""

    step: int
    stream: int
    text: str


@dataclass(frozen=True, slots=True)
class Note:
    """Something about the build that is worth a line in its log."""

    text: str


@dataclass(frozen=True, slots=True)
class Warned:
    """The engine advises something; the build goes on."""

    text: str
    url: str = ""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the build is: `percent` from 0 to 100, and how many of the Dockerfile's steps are over."""

    percent: int
    done: int
    total: int
    text: str


@dataclass(frozen=True, slots=True)
class Built:
    """The image exists. `digest` is the manifest's, where the engine keeps one; `dockerfile` is the text it was built from;
    sizes in bytes."""

    image_id: str
    digest: str | None = None
    size_bytes: int = 0
    steps: int = 0
    steps_cached: int = 0
    dockerfile: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)


Event = Step | Line | Note | Warned | Progress | Built

_COUNTED = re.compile(r"^\[(?:[^\]]*\s)?(\d+)/(\d+)\] ")
CONTEXT_SHARE, STEPS_SHARE = 2, 83


def counted(name: str) -> bool:
    """True for a step of the Dockerfile (`[build 2/5] RUN ...`), false for what the engine does around it."""
    return _COUNTED.match(name) is not None


class Counter:
    """Turns steps into progress. The context counts 2 of 100, the Dockerfile's steps 83, making the image the rest.

    The engine names all steps it knows as pending before the first one runs, so the number to count against is known early;
    steps that are named later only slow the bar down.
    """

    def __init__(self) -> None:
        self._states: dict[int, StepState] = {}
        self._percent = 0
        self._text = ""

    @property
    def steps(self) -> int:
        """How many steps of the Dockerfile were seen."""
        return len(self._states)

    @property
    def cached(self) -> int:
        """How many of them came from the cache."""
        return sum(state is StepState.CACHED for state in self._states.values())

    def note(self, step: Step) -> Progress | None:
        """Take a step's change; returns the new progress when something about it can be told."""
        if counted(step.name):
            self._states[step.number] = step.state
        elif step.state is not StepState.RUNNING or not self._states:
            return None
        if step.state is StepState.PENDING:
            return None
        if step.state is StepState.RUNNING:
            self._text = step.name
        done = sum(state.over for state in self._states.values())
        return self._tell(CONTEXT_SHARE + STEPS_SHARE * done // len(self._states))

    def finish(self) -> Progress:
        """The image is there: 100."""
        self._text = ""
        return self._tell(100)

    def _tell(self, percent: int) -> Progress:
        self._percent = max(self._percent, percent)
        done = sum(state.over for state in self._states.values())
        return Progress(self._percent, done, len(self._states), self._text)
