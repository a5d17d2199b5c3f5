"""Runs, one run's timeline, its verdict and its findings."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.contexts.frame import Choice, Counts, Frame, Pager, Version
from gateway.contexts.service import Header
from gateway.labels import State


@dataclass(frozen=True)
class Bar:
    """One bar of the timeline, in percent of the whole width. `tone` is crit, off, wait or fail; `cuts` divide it."""

    x: float
    width: float
    tone: str
    cuts: tuple[float, ...] = ()


@dataclass(frozen=True)
class TimelineRow:
    """A step or a wait. `text_at` is right, left or in (the bar); `lines` are pieces (x, y1, y2) of the critical path."""

    state: State
    label: str
    bar: Bar | None
    median_x: float | None
    median_width: float
    took: str
    delta: str
    delta_tone: str
    text: str
    text_x: float
    text_at: str
    full: str = ""
    lines: tuple[tuple[float, int, int], ...] = ()

    @property
    def spoken(self) -> str:
        """The sentence that the bar draws."""
        parts = [self.label, self.took or self.state.word.lower()]
        if self.delta:
            parts.append(f"{self.delta} than the median")
        return ": ".join(parts[:2]) + "".join(f", {p}" for p in parts[2:]) + (f"; {self.full}" if self.full else "")


@dataclass(frozen=True)
class Timeline:
    rows: tuple[TimelineRow, ...]
    axis: tuple[tuple[float, str], ...]
    total_label: str
    total: str
    total_delta: str
    total_tone: str
    medians: int


@dataclass(frozen=True)
class RunRow:
    id: str
    number: int
    href: str
    state: State
    pips: tuple[tuple[str, str], ...]
    pips_words: str
    version: Version | None
    cause: str
    who: str
    message: str
    branch: str
    commit: str
    at_ms: int | None
    took_ms: int | None
    open: bool = False


@dataclass(frozen=True)
class RunDetail:
    """An opened row: what happened in a sentence, the reason, the timeline, and where to read on."""

    row: RunRow
    say: str
    because: str
    reason: str
    advice: str
    code: str
    tone: str
    timeline: Timeline
    moving: bool
    log_href: str
    log_live: bool
    verdict_href: str
    findings_href: str
    findings: int
    digest: str
    digest_short: str
    cancel_href: str
    link: str
    trace_id: str = ""
    areas: tuple[AreaLine, ...] = ()


@dataclass(frozen=True)
class AreaLine:
    """One scanned area of a run."""

    key: str
    name: str
    state: State
    counts: Counts | None
    total: int
    by: str
    href: str
    data: str = ""
    reason: str = ""
    advice: str = ""
    code: str = ""
    sample: bool = False


@dataclass(frozen=True)
class RunsPage:
    frame: Frame
    service: Header
    show: tuple[Choice, ...]
    branches: tuple[str, ...]
    branch: str
    state_key: str
    rows: tuple[RunRow, ...]
    detail: RunDetail | None
    pager: Pager
    filtered: bool


@dataclass(frozen=True)
class Way:
    """One way to pass, smallest first."""

    title: str
    text: str
    label: str = ""
    href: str = ""


@dataclass(frozen=True)
class GateArea:
    name: str
    evidence: State
    asked: str
    counts: Counts | None
    found: str
    found_href: str
    says: State
    sample: bool


@dataclass(frozen=True)
class Before:
    number: int
    href: str
    version: str
    state: State
    at_ms: int


@dataclass(frozen=True)
class GatePage:
    frame: Frame
    service: Header
    run_number: int
    run_href: str
    state: State
    sentence: str
    explained: str
    ways: tuple[Way, ...]
    areas: tuple[GateArea, ...]
    environment: str
    environment_kind: str
    others: tuple[Choice, ...]
    digest: str
    digest_short: str
    commit: str
    decided_at_ms: int | None
    took: str
    policy: str
    policy_hash: str
    input_hash: str
    engine: str
    before: tuple[Before, ...]
    waiting: str = ""


@dataclass(frozen=True)
class FindingRow:
    id: str
    href: str
    severity: str
    title: str
    rule: str
    where: str
    area: str
    novelty: str
    fix: str


@dataclass(frozen=True)
class FindingsPage:
    frame: Frame
    service: Header
    run_number: int
    run_href: str
    commit: str
    areas: tuple[AreaLine, ...]
    show: tuple[Choice, ...]
    severities: tuple[Choice, ...]
    rows: tuple[FindingRow, ...]
    pager: Pager
    summary: str
    chosen: AreaLine | None
    licences: int = 0


@dataclass(frozen=True)
class CodeLine:
    number: int
    text: str
    hit: bool


@dataclass(frozen=True)
class FindingPage:
    """A finding: where with its code, why it matters, how to mend it, who found it."""

    frame: Frame
    service: Header
    run_number: int
    run_href: str
    list_href: str
    id: str
    severity: str
    title: str
    area: str
    area_href: str
    where: str
    commit: str
    code: tuple[CodeLine, ...]
    why: tuple[str, ...]
    fix: tuple[str, ...]
    package: tuple[tuple[str, str], ...]
    references: tuple[tuple[str, str], ...]
    rule: str
    engines: tuple[tuple[str, str], ...]
    novelty: str
    first_number: int | None
    first_at_ms: int | None
    first_href: str
    gate: State | None
    gate_text: str
    gate_href: str
    previous: str
    next: str
    total: int
    sample: bool
    note: str = ""
    confidence: str = ""
