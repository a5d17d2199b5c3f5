"""Runs with their steps and their timeline."""

from pydantic import Field

from gateway.api.models.base import Out
from gateway.api.models.builds import BuildOut
from gateway.api.models.releases import DeployOut


class RunOut(Out):
    id: str
    service_id: str
    service_name: str
    number: int
    state: str
    state_text: str
    trigger: str
    executor: str
    cause: str
    ref: str
    branch: str
    tag: str
    commit: str
    author: str
    message: str
    version: str
    by_hand: bool
    image: str
    image_id: str
    verdict: str
    plan: list[str]
    environments: list[str]
    steps: dict[str, str]
    release_id: str | None
    ended_step: str | None
    code: str
    reason: str
    superseded_by_number: int | None
    cancelled_by: str
    born_at_ms: int
    started_at_ms: int | None
    deployed_at_ms: int | None
    finished_at_ms: int | None


class StepOut(Out):
    step: str
    environment: str
    state: str
    text: str
    code: str
    advice: str
    waits_for: str
    queued_at_ms: int | None
    started_at_ms: int | None
    ended_at_ms: int | None
    duration_ms: int | None
    stages_ms: dict[str, int]


class SegmentOut(Out):
    """One bar: work or wait. `counts_ms` is its part of the wall time, 0 beside the critical path."""

    kind: str
    step: str
    environment: str
    state: str
    text: str
    critical: bool
    started_ms: int
    ended_ms: int
    counts_ms: int
    took_ms: int
    median_ms: int | None


class TimelineOut(Out):
    """The sum of `counts_ms` is `wall_ms` = `worked_ms` + `waited_ms`; medians are of the last 20 runs that did the same."""

    began_ms: int
    ended_ms: int
    live: bool
    wall_ms: int
    worked_ms: int
    waited_ms: int
    deployed_after_ms: int | None
    compared_with: int
    median_wall_ms: int | None
    median_waited_ms: int | None
    median_deployed_after_ms: int | None
    segments: list[SegmentOut]


class RunDetailOut(RunOut):
    trace_id: str | None = Field(description="Of the OpenTelemetry trace from the delivery on; none while no spans are collected")
    step_rows: list[StepOut]
    timeline: TimelineOut
    build: BuildOut | None
    deploys: list[DeployOut]
