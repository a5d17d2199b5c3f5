"""Releases, deploys, and the way back."""

from pydantic import Field

from gateway.api.models.base import In, Out


class DeployEventOut(Out):
    kind: str
    text: str
    step: int
    steps: int
    at_ms: int


class DeployOut(Out):
    id: str
    environment: str
    cause: str
    state: str
    text: str
    step: int
    steps: int
    verdict: str
    release_id: str | None
    release_number: int | None
    code: str
    reason: str
    advice: str
    still_serving: int | None
    requested_at_ms: int | None
    started_at_ms: int | None
    ended_at_ms: int | None
    events: list[DeployEventOut] = Field(default_factory=list)


class DeployIn(In):
    """Put a release into its environment again, or into another one."""

    release: str = Field(max_length=80)
    environment: str = Field("", max_length=48)


class RollbackIn(In):
    """`release` null: the one before the one that runs."""

    environment: str = Field(max_length=48)
    release: str | None = Field(None, max_length=80)


class ReleaseOut(Out):
    id: str
    service_id: str
    environment: str
    number: int
    run_id: str
    run_number: int
    runtime: str
    state: str
    version: str
    by_hand: bool
    image: str
    image_id: str
    digest: str | None
    commit: str
    trigger: str
    executor: str
    before_id: str | None
    back_to_id: str | None
    back_to_number: int | None
    changes: list[str]
    came_back: list[str]
    verdict: str
    url: str
    container: str
    stages_ms: dict[str, int]
    settled_healthy: bool | None
    code: str
    reason: str
    advice: str
    planned_at_ms: int | None
    started_at_ms: int | None
    ready_at_ms: int | None
    retired_at_ms: int | None
    duration_ms: int | None


class PreviewOut(Out):
    """What a rollback would change, as lines of a diff, and whether it can be done."""

    release: str
    release_number: int
    from_number: int | None
    image_exists: bool
    target_reachable: bool
    lines: list[str]
