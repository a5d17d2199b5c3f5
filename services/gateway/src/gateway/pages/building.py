"""Rows and stages of builds."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any

from gateway import labels, text
from gateway.contexts.frame import Version
from gateway.contexts.service import BuildRow, BuildStage
from gateway.labels import State

STAGES = ("clone", "analyse", "build", "push")


def row(build: Any, service: str) -> BuildRow:
    """A row of the history; `build` has its run's columns beside its own."""
    state = labels.of(labels.BUILD, build.state)
    if build.state == "failed":
        state = state.because(build.reason)
    cached = f"{build.steps_cached} of {build.steps} steps cached" if build.steps and build.steps_cached else ""
    return BuildRow(
        number=build.number,
        href=f"/services/{service}/runs/{build.number}",
        log_href=f"/services/{service}/builds/{build.number}",
        state=state,
        version=Version(build.version, bool(build.by_hand)) if build.version else None,
        commit=build.commit,
        branch=build.branch or build.tag,
        message=build.message,
        cause=labels.trigger(build.trigger),
        who=build.executor or build.author,
        at_ms=build.started_at_ms or build.queued_at_ms,
        took_ms=build.duration_ms,
        size=text.size(build.size_bytes),
        cached=cached,
    )


def cause(build: Any) -> str:
    """ "started by a push of Mira Osei"."""
    if build.cause:
        return build.cause
    who = build.executor or build.author
    if build.trigger == "webhook":
        return f"started by a push{f' of {who}' if who else ''}"
    return f"started {labels.trigger(build.trigger).lower()}{f' of {who}' if who else ''}"


def waits(build: Any) -> str:
    return text.sentence(f"Waits {build.waits_for}") if build.state == "queued" and build.waits_for else ""


def stages(build: Any, usual: Sequence[dict[str, int]], now_ms: int) -> tuple[BuildStage, ...]:
    """The stages of a build with how far each is. How far the running one is, the median of earlier builds tells."""
    done = build.stages_ms or {}
    names = [key for key in STAGES if key != "push" or "push" in done or any("push" in u for u in usual)]
    running = current(build, names) if build.state == "running" else ""
    found = []
    for key in names:
        name, spent = labels.STAGES[key], done.get(key)
        normal = median([u[key] for u in usual if key in u]) if any(key in u for u in usual) else None
        if build.state == "failed" and key == build.stage:
            found.append(BuildStage(key, name, State("bad", name), "bad", 100, text.took(spent) or "failed"))
        elif key == running:
            began = (build.started_at_ms or now_ms) + sum(done.get(k, 0) for k in names[: names.index(key)])
            so_far = max(0, now_ms - began)
            percent = min(95, round(so_far / normal * 100)) if normal else 50
            words = text.took(so_far)
            if normal and normal > so_far + 1000:
                words += f", about {text.about(normal - so_far)} left by the median of {len(usual)}"
            found.append(BuildStage(key, name, State("run", name), "run", percent, words))
        elif spent is not None or build.state == "success":
            found.append(BuildStage(key, name, State("ok", name), "ok", 100, text.took(spent)))
        elif running and names.index(key) < names.index(running):
            found.append(BuildStage(key, name, State("ok", name), "ok", 100, ""))
        elif build.state == "failed" and build.stage in names and names.index(key) < names.index(build.stage):
            found.append(BuildStage(key, name, State("ok", name), "ok", 100, ""))
        else:
            found.append(BuildStage(key, name, State("missing", name), "off", 0, "not reached"))
    return tuple(found)


def current(build: Any, names: Sequence[str]) -> str:
    """The stage that a running build is in, as far as facts tell: before the source is there it clones, then it builds."""
    if build.stage in names:
        return build.stage
    return "build" if build.files or build.stages_ms else "clone"


def statistics(row: Any) -> str:
    """ "27 builds; 93 % of the last 27 succeeded, 48 s on average"."""
    if row is None or not row.total:
        return ""
    words = text.count(row.total, "build")
    if row.ended:
        words += f"; {round(100 * (row.good or 0) / row.ended)} % of the last {row.ended} succeeded"
        if row.average:
            words += f", {text.took(float(row.average))} on average"
    return words
