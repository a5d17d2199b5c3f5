"""A build's log for people: which line is a step, a warning, an error; stages that fold."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from gateway import labels, text
from gateway.contexts.service import LogLine, LogStage
from gateway.labels import State
from gateway.logs import Line

_STEP = re.compile(r"^(#\d+ \[|\[[^\]]*\d+/\d+\]|\$ |==> |Step \d+/\d+)")
_DIM = re.compile(r"^#?\d* ?(CACHED|DONE)\b")
_ERROR = re.compile(
    r"^(#\d+ )?([\d.]+ )?(\S{0,40}: )?(error|fatal|panic|E)\b ?[:\[!]"
    r"|^(#\d+ )?ERROR\b|\bKilled$|^(#\d+ )?([\d.]+ )?Traceback|^npm ERR!|exit code: [1-9]",
    re.IGNORECASE,
)
_WARNING = re.compile(r"^(#\d+ )?([\d.]+ )?(\S{0,40}: )?warn(ing)?\b", re.IGNORECASE)


def tone(words: str) -> str:
    """The class of a line: step, dim, err, warnline or none."""
    head = words[:300]
    if _STEP.match(head):
        return "step"
    if _DIM.match(head):
        return "dim"
    if _ERROR.search(head):
        return "err"
    return "warnline" if _WARNING.match(head) else ""


def wire(line: Line) -> dict[str, Any]:
    """A line as the page's script takes it."""
    return {"number": line.number, "at": at(line.ms), "text": line.text, "tone": tone(line.text), "stage": line.stage}


def at(ms: int) -> str:
    return f"{ms / 1000:.1f}"


def folded(lines: Sequence[Line], build: Any, skipped: int = 0) -> tuple[LogStage, ...]:
    """Stages in the order of their lines. What failed, or the build itself, is open."""
    groups: list[tuple[str, list[Line]]] = []
    for line in lines[skipped:]:
        if not groups or (groups[-1][0] != line.stage and line.stage):
            groups.append((line.stage, []))
        groups[-1][1].append(line)
    found = []
    for i, (key, members) in enumerate(groups):
        last = i == len(groups) - 1
        failed = build.state == "failed" and (key == build.stage or (last and not build.stage))
        state = State("bad", "Failed") if failed else State("ok", "Passed")
        if last and build.state == "cancelled":
            state = State("stop", "Cancelled")
        first, end = members[0].number, members[-1].number
        stage_ms = (build.stages_ms or {}).get(key)
        spent = stage_ms if stage_ms is not None else members[-1].ms - members[0].ms
        found.append(
            LogStage(
                key=key,
                name=labels.STAGES.get(key, key.capitalize() or "Output"),
                state=state,
                meta=f"line {first}" if first == end else f"lines {first:,} to {end:,}",
                took=text.took(spent),
                open=failed or key == "build" or len(groups) == 1,
                lines=tuple(LogLine(m.number, at(m.ms), m.text, tone(m.text)) for m in members),
                first=first,
                last=end,
            )
        )
    return tuple(found)
