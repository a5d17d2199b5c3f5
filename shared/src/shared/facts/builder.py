"""What the builder announces: how source became an image, or why not."""

from __future__ import annotations

from pydantic import Field

from shared.facts._base import Fact


class _Build(Fact):
    build: str
    run: str
    number: int
    commit: str = ""


class BuildQueued(_Build, owner="builder", name="build.queued"):
    """The build waits for a slot. `waits_for` says in words what is ahead of it; empty when nothing is."""

    waits_for: str = ""


class BuildStarted(_Build, owner="builder", name="build.started"):
    """A worker took the build. `attempt` is 1, and more after a crash; equal to the job's fencing token."""

    attempt: int = 1


class SourceFetched(_Build, owner="builder", name="source.fetched"):
    """The commit was cloned. Counts and durations in files and milliseconds."""

    files: int
    duration_ms: int
    author: str = ""
    message: str = ""


class BuildSucceeded(_Build, owner="builder", name="build.succeeded"):
    """The image exists. `image_id` is the engine's own id (sha256 of the config), `digest` the manifest's where the
    engine or a registry gave one; `stages_ms` maps clone, analyse, build, push to milliseconds; `log` is an object."""

    image: str
    image_id: str
    digest: str | None = None
    version: str = ""
    version_by_hand: bool = False
    size_bytes: int = 0
    steps: int = 0
    steps_cached: int = 0
    stages_ms: dict[str, int] = Field(default_factory=dict)
    duration_ms: int = 0
    base_image: str = ""
    log: str | None = None
    log_lines: int = 0


class BuildFailed(_Build, owner="builder", name="build.failed"):
    """The build ended without an image. `stage` is clone, analyse, build or push."""

    stage: str
    code: str
    reason: str
    advice: str = ""
    duration_ms: int = 0
    log: str | None = None
    log_lines: int = 0


class BuildCancelled(_Build, owner="builder", name="build.cancelled"):
    """The build was stopped because its run was cancelled or superseded."""

    reason: str
    log: str | None = None
    log_lines: int = 0
