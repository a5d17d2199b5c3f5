"""Builds."""

from pydantic import Field

from gateway.api.models.base import In, Out


class BuildIn(In):
    """One of branch, tag and commit; none: the service's branch."""

    branch: str = Field("", max_length=255)
    tag: str = Field("", max_length=255)
    commit: str = Field("", max_length=64)
    version: str | None = Field(None, max_length=128)
    environments: list[str] | None = Field(None, max_length=50, description="null: those of the rule; []: build only")


class BuildOut(Out):
    id: str
    service_id: str
    run_id: str
    number: int
    state: str
    commit: str
    version: str
    by_hand: bool
    image: str
    image_id: str
    digest: str | None
    size_bytes: int | None
    steps: int
    steps_cached: int
    stages_ms: dict[str, int]
    duration_ms: int | None
    base_image: str
    log_lines: int
    waits_for: str
    stage: str
    code: str
    reason: str
    advice: str
    queued_at_ms: int | None
    started_at_ms: int | None
    ended_at_ms: int | None
