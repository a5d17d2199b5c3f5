"""A run as a timeline: work and waits that add up to the wall time, the critical path, compared with the runs before.

The critical path is walked backwards: from the work that ended last to the work that it had to wait for, and so on to the birth
of the run. What lies between two of them is a wait. So the critical segments follow each other without gap or overlap, and their
sum is the wall time, whatever the clocks of the services say: all times come from the stream.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from statistics import median

from shared.words import Step

from gateway.domain.steps import PLAN

NEEDS: dict[str, tuple[str, ...]] = {
    Step.SOURCE: (),
    Step.SAST: (),
    Step.BUILD: (Step.SOURCE,),
    Step.SCA: (Step.BUILD,),
    Step.GATE: (Step.SAST, Step.SCA, Step.BUILD),
    Step.DEPLOY: (Step.GATE,),
    Step.OPERATE: (Step.DEPLOY,),
    Step.DAST: (Step.DEPLOY,),
}
"""What a step cannot begin without."""

_BEFORE: dict[str, str] = {
    Step.SOURCE: "for the builder",
    Step.SAST: "for the scanner",
    Step.BUILD: "for the builder",
    Step.SCA: "for the scanner",
    Step.GATE: "for the gate",
    Step.DEPLOY: "for the runtime",
    Step.OPERATE: "for the watch to begin",
    Step.DAST: "for the scanner",
}


@dataclass(frozen=True, slots=True)
class Work:
    """A step that began. `ended_ms` None: it runs. `took_ms` is the fact's own duration, where it tells one."""

    step: str
    environment: str
    state: str
    started_ms: int
    ended_ms: int | None
    took_ms: int | None = None
    text: str = ""
    stages_ms: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Wait:
    """A wait that a fact told of, with what it was for ("for a build slot: shop-web #239 is ahead")."""

    step: str
    environment: str
    started_ms: int
    ended_ms: int | None
    what: str


@dataclass(frozen=True, slots=True)
class Segment:
    """One bar. `kind` is work or wait. `counts_ms` is its part of the wall time, 0 beside the critical path; `took_ms` what is
    shown as its length; `median_ms` the same of the runs before, None when none of them had it."""

    kind: str
    step: str
    environment: str
    state: str
    started_ms: int
    ended_ms: int
    critical: bool
    counts_ms: int
    took_ms: int
    text: str = ""
    stages_ms: dict[str, int] = field(default_factory=dict)
    median_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Timeline:
    """All bars in the order of their beginning. The sum of `counts_ms` is `wall_ms` = `worked_ms` + `waited_ms`."""

    began_ms: int
    ended_ms: int
    live: bool
    segments: tuple[Segment, ...]
    worked_ms: int
    waited_ms: int
    deployed_after_ms: int | None = None
    compared_with: int = 0
    median_wall_ms: int | None = None
    median_waited_ms: int | None = None
    median_deployed_after_ms: int | None = None

    @property
    def wall_ms(self) -> int:
        return self.ended_ms - self.began_ms


def timeline(
    born_ms: int,
    finished_ms: int | None,
    now_ms: int,
    works: Sequence[Work],
    waits: Sequence[Wait] = (),
    *,
    deployed_ms: int | None = None,
    waiting: str = "",
) -> Timeline:
    """Of one run. `waiting` says what it waits for now, when it has not ended and nothing runs."""
    end = max(born_ms, finished_ms if finished_ms is not None else now_ms)
    spans = [_clamped(work, born_ms, end) for work in works]
    critical = _critical(born_ms, end, spans, waits, finished_ms is None, waiting)
    chosen = {(each.step, each.environment) for each in critical if each.kind == "work"}
    beside = [
        _segment(work, work.started_ms, work.ended_ms or end, critical=False)
        for work in spans
        if (work.step, work.environment) not in chosen
    ]
    segments = sorted([*critical, *beside], key=lambda each: (each.started_ms, each.ended_ms, _place(each.step)))
    return Timeline(
        began_ms=born_ms,
        ended_ms=end,
        live=finished_ms is None,
        segments=tuple(segments),
        worked_ms=sum(each.counts_ms for each in critical if each.kind == "work"),
        waited_ms=sum(each.counts_ms for each in critical if each.kind == "wait"),
        deployed_after_ms=None if deployed_ms is None else max(0, deployed_ms - born_ms),
    )


def compare(run: Timeline, history: Sequence[Timeline]) -> Timeline:
    """The same timeline with the medians of the runs before (at most the last 20 are meant to be given)."""
    if not history:
        return run
    took: dict[tuple[str, str], list[int]] = {}
    for before in history:
        sums: dict[tuple[str, str], int] = {}
        for each in before.segments:
            key = (each.kind, each.step)
            # Several environments deploy side by side: the longest of them is the step's length.
            sums[key] = max(sums.get(key, 0), each.took_ms) if each.kind == "work" else sums.get(key, 0) + each.took_ms
        for key, value in sums.items():
            took.setdefault(key, []).append(value)
    segments = tuple(
        replace(each, median_ms=_median(took[(each.kind, each.step)])) if (each.kind, each.step) in took else each
        for each in run.segments
    )
    deployed = [before.deployed_after_ms for before in history if before.deployed_after_ms is not None]
    return replace(
        run,
        segments=segments,
        compared_with=len(history),
        median_wall_ms=_median([before.wall_ms for before in history]),
        median_waited_ms=_median([before.waited_ms for before in history]),
        median_deployed_after_ms=_median(deployed) if deployed else None,
    )


def _median(values: list[int]) -> int:
    return round(median(values))


def _place(step: str) -> int:
    return PLAN.index(step) if step in PLAN else len(PLAN)


def _clamped(work: Work, born_ms: int, end_ms: int) -> Work:
    started = min(max(work.started_ms, born_ms), end_ms)
    ended = None if work.ended_ms is None else min(max(work.ended_ms, started), end_ms)
    return replace(work, started_ms=started, ended_ms=ended)


def _critical(born: int, end: int, works: Sequence[Work], waits: Sequence[Wait], live: bool, waiting: str) -> list[Segment]:
    """Segments from birth to end, without gap or overlap."""
    path: list[Segment] = []
    left = list(works)
    current = max(left, key=lambda each: (each.ended_ms or end, _place(each.step)), default=None)
    cursor, after = end, ""  # what lies between the last work and the end belongs to no step
    while current is not None:
        stops = min(current.ended_ms if current.ended_ms is not None else end, cursor)
        if cursor > stops:
            text = _what(waits, after, stops, cursor) if after else (waiting if live else "to be ended")
            path.append(_wait(after, current.environment, stops, cursor, text))
        path.append(_segment(current, min(current.started_ms, stops), stops, critical=True))
        cursor, after = min(current.started_ms, stops), current.step
        left = [each for each in left if each is not current and each.started_ms <= cursor]
        current = _waited_for(current, left, cursor, end)
    if cursor > born or not path:
        text = _what(waits, after, born, cursor) if after else waiting
        path.append(_wait(after, "", born, cursor, text))
    return list(reversed(path))


def _waited_for(current: Work, left: Sequence[Work], cursor: int, end: int) -> Work | None:
    """The work that this one had to wait for: of what it needs, what ended last; else whatever ended last before it."""
    same = [each for each in left if each.environment in ("", current.environment)]
    wanted = list(NEEDS.get(current.step, ()))
    seen: set[str] = set()
    while wanted:
        found = [each for each in same if each.step in wanted]
        if found:
            return max(found, key=lambda each: (min(each.ended_ms or end, cursor), _place(each.step)))
        seen.update(wanted)
        wanted = [need for step in wanted for need in NEEDS.get(step, ()) if need not in seen]
    if current.step in (Step.SOURCE, Step.SAST):
        return None
    before = [each for each in same if (each.ended_ms or end) <= cursor]
    return max(before, key=lambda each: each.ended_ms or end, default=None)


def _what(waits: Sequence[Wait], step: str, start: int, stop: int) -> str:
    """The words of the wait that covers most of this gap."""
    best, text = 0, _BEFORE.get(step, "")
    for wait in waits:
        if wait.step == step and wait.what:
            shared = min(stop, wait.ended_ms if wait.ended_ms is not None else stop) - max(start, wait.started_ms)
            if shared > best:
                best, text = shared, wait.what
    return text


def _wait(step: str, environment: str, start: int, stop: int, text: str) -> Segment:
    return Segment("wait", step, environment, "waiting", start, stop, True, stop - start, stop - start, text)


def _segment(work: Work, start: int, stop: int, *, critical: bool) -> Segment:
    length = stop - start
    return Segment(
        kind="work",
        step=work.step,
        environment=work.environment,
        state=work.state,
        started_ms=start,
        ended_ms=stop,
        critical=critical,
        counts_ms=length if critical else 0,
        took_ms=work.took_ms if work.took_ms is not None else length,
        text=work.text,
        stages_ms=dict(work.stages_ms),
    )
