"""From the engine's status messages to steps and lines that people read."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from typing import Any

from shared.processes import Lines

from builder.domain.steps import Event, Line, Step, StepState, Warned

LAST_LINES = 12
# How this client hands over the context is no step of the build; a note says what went in.
_OURS = frozenset({"[internal] load remote build context", "copy /context /"})
_CLIPPED = re.compile(r"\[output clipped, log limit ([^\]]+) reached\]")


class Transcript:
    """Numbers steps in order of appearance, puts lines together from the pieces in which they arrive, remembers failures."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._names: dict[str, str] = {}
        self._states: dict[str, StepState] = {}
        self._pieces: dict[tuple[str, int], Lines] = {}
        self._last: dict[str, deque[str]] = {}
        self._errors: dict[str, str] = {}

    def feed(self, response: Any) -> Iterator[Event]:
        """The events of one status message. New steps come first, so that progress knows them before any is over."""
        vertexes = [vertex for vertex in response.vertexes if vertex.name not in _OURS]
        for vertex in vertexes:
            if vertex.digest not in self._numbers:
                number = self._numbers[vertex.digest] = len(self._numbers) + 1
                self._names[vertex.digest] = vertex.name
                self._states[vertex.digest] = StepState.PENDING
                yield Step(number, vertex.name, StepState.PENDING)
        starting = [vertex for vertex in vertexes if _state(vertex) is StepState.RUNNING]
        for vertex in starting:
            yield from self._change(vertex)
        for log in response.logs:
            yield from self._lines(log)
        for vertex in vertexes:
            yield from self._change(vertex)
        for warning in response.warnings:
            yield Warned(warning.short.decode("utf-8", "replace"), warning.url)

    def end(self) -> Iterator[Event]:
        """Lines that had no end yet."""
        for digest, stream in list(self._pieces):
            yield from self._flush(digest, stream)

    def failed(self) -> tuple[str, list[str]]:
        """The step that failed, and the last lines it wrote; ("", []) when none did."""
        # Steps that ran beside the one that failed end as cancelled; they are not the cause.
        for digest, error in self._errors.items():
            if "context canceled" not in error:
                return self._names[digest], list(self._last.get(digest, ()))
        return "", []

    def _change(self, vertex: Any) -> Iterator[Event]:
        state, before = _state(vertex), self._states[vertex.digest]
        if vertex.error:
            self._errors.setdefault(vertex.digest, vertex.error)
        if state is before or (before.over and state is not StepState.FAILED) or state is StepState.PENDING:
            return
        if state.over:
            for stream in (1, 2):
                yield from self._flush(vertex.digest, stream)
        self._states[vertex.digest] = state
        yield Step(self._numbers[vertex.digest], vertex.name, state, _duration_ms(vertex) if state.over else None)

    def _lines(self, log: Any) -> Iterator[Event]:
        key = (log.vertex, int(log.stream) or 1)
        for line in self._pieces.setdefault(key, Lines()).feed(log.msg):
            yield from self._line(*key, line)

    def _flush(self, digest: str, stream: int) -> Iterator[Event]:
        pieces = self._pieces.pop((digest, stream), None)
        if pieces is not None and (rest := pieces.end()):
            yield from self._line(digest, stream, rest)

    def _line(self, digest: str, stream: int, raw: bytes) -> Iterator[Event]:
        # A line that was drawn over (a progress bar) is what it was at last.
        text = raw.decode("utf-8", "replace").rstrip("\r").rpartition("\r")[2]
        self._last.setdefault(digest, deque(maxlen=LAST_LINES)).append(text)
        yield Line(self._numbers.get(digest, 0), stream, text)
        if found := _CLIPPED.search(text):
            yield Warned(
                f"The engine clipped this step's output at {found[1]}. To raise the limit, set BUILDKIT_STEP_LOG_MAX_SIZE and "
                "BUILDKIT_STEP_LOG_MAX_SPEED in the engine's environment."
            )


def _state(vertex: Any) -> StepState:
    if vertex.error:
        return StepState.FAILED
    if vertex.cached:
        return StepState.CACHED
    if vertex.HasField("completed"):
        return StepState.DONE
    return StepState.RUNNING if vertex.HasField("started") else StepState.PENDING


def _duration_ms(vertex: Any) -> int | None:
    if not (vertex.HasField("started") and vertex.HasField("completed")):
        return None
    return max(0, (vertex.completed.ToNanoseconds() - vertex.started.ToNanoseconds()) // 1_000_000)
