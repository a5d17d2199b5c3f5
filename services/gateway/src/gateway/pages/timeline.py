"""A run's timeline drawn to scale: rows with bars in percent, and what it says in words. The reckoning is in `gateway.domain`."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from gateway import labels, text
from gateway.contexts import runs as drawn
from gateway.contexts.runs import Bar, TimelineRow
from gateway.domain.timeline import Segment, Timeline
from gateway.labels import State

# Compared in words only when so many earlier runs say what is usual.
ENOUGH = 3
# Shorter waits are not worth a row.
LEAST_WAIT_MS = 100
LEAST_WAIT_PART = 0.008
# Roughly how wide a letter is, in percent of a track of 660 pixels.
_LETTER = 0.92
_TICKS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400)


class Scale:
    """Milliseconds to percent of the width."""

    def __init__(self, line: Timeline) -> None:
        whole, road = float(max(line.wall_ms, 1000)), line.deployed_after_ms
        # A long watch after the deploy must not squeeze what people came for: its bar runs off the edge.
        if road and whole > 2 * road:
            whole = max(road * 1.5, 1000.0)
        self.zero, self.span = line.began_ms, whole * 1.03

    def at(self, ms: float) -> float:
        return round(min(100.0, max(0.0, (ms - self.zero) / self.span * 100)), 2)

    def wide(self, ms: float) -> float:
        return ms / self.span * 100


def draw(run: Any, line: Timeline, steps: Sequence[Any]) -> drawn.Timeline:
    """The drawing of a run's timeline; steps that never began stand below it."""
    scale = Scale(line)
    least = max(LEAST_WAIT_MS, scale.span * LEAST_WAIT_PART)
    shown = [s for s in line.segments if s.kind == "work" or s.took_ms >= least]
    joins = _joins(shown, scale)
    several = len({s.environment for s in shown if s.environment and s.kind == "work"}) > 1
    enough = line.compared_with >= ENOUGH and run.state not in ("failed", "blocked", "cancelled", "superseded")
    rows = [_row(s, scale, joins.get(i, ()), several, enough, bool(run.deployed_at_ms)) for i, s in enumerate(shown)]
    rows += [_unreached(step, run) for step in steps if step.started_at_ms is None]
    return drawn.Timeline(tuple(rows), axis(scale.span), *_total(run, line), line.compared_with if enough else 0)


def _joins(shown: Sequence[Segment], scale: Scale) -> dict[int, tuple[tuple[float, int, int], ...]]:
    """Vertical pieces (x, from, to) of the critical path, by row."""
    lines: dict[int, list[tuple[float, int, int]]] = {}
    path = [i for i, s in enumerate(shown) if s.critical]
    for before, after in pairwise(path):
        x = scale.at(shown[after].started_ms)
        lines.setdefault(before, []).append((x, 22, 30))
        lines.setdefault(after, []).append((x, 0, 7))
        for between in range(before + 1, after):
            lines.setdefault(between, []).append((x, 0, 30))
    return {row: tuple(pieces) for row, pieces in lines.items()}


def _row(
    s: Segment, scale: Scale, lines: tuple[tuple[float, int, int], ...], several: bool, enough: bool, deployed: bool
) -> TimelineRow:
    name = labels.STEP_NAMES.get(s.step, s.step)
    if s.kind == "wait":
        state, label, tone = State("wait", "Waiting"), "Waiting", "wait"
    else:
        state = labels.of(labels.STEP, s.state)
        label = f"{name} {s.environment}" if several and s.environment else name
        # The watch after the switch decides when the run ends, not when people have the new version.
        decides = s.critical and not (s.step == "operate" and deployed)
        tone = "fail" if s.state in ("failed", "blocked") else "crit" if decides else "off"
    left, right = scale.at(s.started_ms), scale.at(s.ended_ms)
    cuts, at = [], float(s.started_ms)
    for spent in list(s.stages_ms.values())[:-1]:
        at += spent
        if left < (x := scale.at(at)) < right:
            cuts.append(x)
    delta, delta_tone, median_x, median_width = "", "", None, 0.0
    if enough and s.median_ms is not None:
        delta, delta_tone = text.more(s.took_ms - s.median_ms), tone_of(s.took_ms - s.median_ms, s.median_ms)
        median_x, median_width = left, round(min(100 - left, scale.wide(s.median_ms)), 2)
    words, where, x = placed(s.text, left, right)
    bar = Bar(left, round(max(right - left, 0.3), 2), tone, tuple(cuts))
    took = text.took(s.took_ms)
    return TimelineRow(state, label, bar, median_x, median_width, took, delta, delta_tone, words, x, where, s.text, lines)


def _unreached(step: Any, run: Any) -> TimelineRow:
    state = labels.of(labels.STEP, step.state)
    name = labels.STEP_NAMES.get(step.step, step.step)
    words = step.text or (f"waits {step.waits_for}" if step.waits_for and run.finished_at_ms is None else "not reached")
    return TimelineRow(state, name, None, None, 0.0, "", "", "", placed(words, 0, 0)[0], 0.0, "right", words)


def placed(words: str, left: float, right: float) -> tuple[str, str, float]:
    """A bar's text to its right, else to its left, else inside; cut where there is no room at all."""
    need = len(words) * _LETTER + 2.5
    if right + need <= 100:
        return words, "right", right
    if left - need >= 0:
        return words, "left", left
    if right - left >= need:
        return words, "in", left
    room = max(100 - right, left, right - left)
    fits = int((room - 2.5) / _LETTER) - 1
    if fits < 10:
        return "", "right", right
    short = words[:fits].rstrip(" ,;:.") + "…"
    if room == right - left:
        return short, "in", left
    return (short, "right", right) if 100 - right >= left else (short, "left", left)


def tone_of(delta: float, normal: float) -> str:
    """Whether a difference is worth a colour: 5 s, or a quarter of the usual time and at least 1 s."""
    return "worse" if delta >= 5000 or (delta >= 1000 and delta > 0.25 * normal) else ""


def axis(span: float) -> tuple[tuple[float, str], ...]:
    """Ticks (percent, label), at most seven."""
    seconds = span / 1000
    step = next((t for t in _TICKS if seconds / t <= 6.5), _TICKS[-1])
    return tuple((round(at / seconds * 100, 2), _tick(at)) for at in range(0, int(seconds * 0.985) + 1, step))[:40]


def _tick(seconds: int) -> str:
    if seconds == 0:
        return "0"
    if seconds % 3600 == 0:
        return f"{seconds // 3600} h"
    if seconds >= 3600:
        return f"{seconds // 3600} h {seconds % 3600 // 60:02d}"
    if seconds % 60 == 0:
        return f"{seconds // 60} min"
    return f"{seconds} s" if seconds < 60 else f"{seconds // 60} min {seconds % 60:02d}"


def _road(line: Timeline) -> tuple[int, int | None]:
    """What the sum says: from begin to deployed, else to the end; and its median."""
    if line.deployed_after_ms is not None:
        return line.deployed_after_ms, line.median_deployed_after_ms
    return line.wall_ms, line.median_wall_ms


def _total(run: Any, line: Timeline) -> tuple[str, str, str, str]:
    begin = "Push" if run.trigger == "webhook" else "Start"
    over = run.finished_at_ms is not None
    label = f"{begin} to deployed" if run.deployed_at_ms else f"{begin} to end" if over else "So far"
    spent, normal = _road(line)
    if normal is None or line.compared_with < ENOUGH or run.state != "success":
        return label, text.took(spent), "", ""
    return label, text.took(spent), text.more(spent - normal), tone_of(spent - normal, normal)


def told(run: Any, line: Timeline, picture: drawn.Timeline, state: State) -> tuple[str, str]:
    """What happened in one sentence, and a second one about what took longer than usual."""
    begin = "the push" if run.trigger == "webhook" else "it began"
    spent = text.took(line.wall_ms)
    if run.finished_at_ms is None:
        if run.deployed_at_ms:
            return f"Deployed {text.took(line.deployed_after_ms)} after {begin}; being watched.", ""
        more = "" if (run.state_text or "").startswith(state.word) else text.sentence(run.state_text or "")
        return f"{state.word}, {spent} after {begin}.", more
    match run.state:
        case "success" if run.deployed_at_ms and run.trigger == "rollback":
            return f"Rolled back in {text.took(line.deployed_after_ms)}{_compared(line)}.", _why(picture)
        case "success" if run.deployed_at_ms:
            return f"Deployed {text.took(line.deployed_after_ms)} after {begin}{_compared(line)}.", _why(picture)
        case "success":
            return f"{state.word} in {spent}{_compared(line)}.", _why(picture)
        case "blocked":
            return f"Blocked by the gate {spent} after {begin}.", ""
        case "superseded":
            by = f" by #{run.superseded_by_number}" if run.superseded_by_number else ""
            return f"Superseded{by} after {spent}.", "A newer push to the same ref made this run needless."
        case "cancelled":
            return f"Cancelled{f' by {run.cancelled_by}' if run.cancelled_by else ''} after {spent}.", ""
    return f"{state.word} {spent} after {begin}.", ""


def _compared(line: Timeline) -> str:
    spent, normal = _road(line)
    if normal is None or line.compared_with < ENOUGH:
        return ""
    delta = spent - normal
    if abs(delta) < max(500, 0.03 * normal):
        return f", as fast as the median of {line.compared_with}"
    return f", {text.took(abs(delta))} {'slower' if delta > 0 else 'faster'} than the median of {line.compared_with}"


def _why(picture: drawn.Timeline) -> str:
    parts = []
    for row in [r for r in picture.rows if r.delta_tone == "worse"][:3]:
        longer = row.delta.replace(" more", " longer")
        waited = row.label == "Waiting"
        parts.append(f"it waited {longer} {row.text.split(':')[0]}".strip() if waited else f"{row.label} took {longer}")
    return text.sentence("; ".join(parts))
