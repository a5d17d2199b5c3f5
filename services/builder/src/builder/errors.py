"""What can go wrong on the way from source to image. Each has a code that stays, a sentence and an advice.

Rejected (asked wrongly; the build ends as failed)
├── SourceRefused        source.*   the repository, the credential, the commit (shared.git)
└── BuildError           build.*    the Dockerfile, its steps, the version
Unavailable (not now; the job is tried again with a growing delay)
├── SourceAway           source.unreachable (shared.git)
└── EngineAway           engine.away (shared.engine)
"""

from __future__ import annotations

from shared.errors import Rejected


class BuildError(Rejected):
    """The source does not become an image as it is."""


class EngineCannotBuild(BuildError):
    """There is an engine, but it has no BuildKit."""

    def __init__(self, address: str) -> None:
        super().__init__(
            "build.engine_without_buildkit",
            f"The engine at {address} runs containers and cannot build with BuildKit.",
            "Use a Docker engine of version 20.10 or newer for builds (BUILDER_ENGINE_SOCKET).",
        )


class BuildDeadline(BuildError):
    """The build took too long and was stopped."""

    def __init__(self, seconds: int, stage: str) -> None:
        super().__init__(
            "build.deadline",
            f"The build did not end within {seconds} s and was stopped while it was at: {stage}.",
            "Read in the log which step took so long; make it faster, or raise BUILDER_BUILD_DEADLINE_SECONDS.",
        )


class VersionInvalid(BuildError):
    """A person chose a version that no image can have."""

    def __init__(self, version: str) -> None:
        super().__init__(
            "build.version_invalid",
            f"{version[:140]!r} cannot be a version.",
            "Begin with a letter, digit or underscore, then letters, digits, dots, underscores and dashes; 128 at most.",
        )


class VersionTaken(BuildError):
    """The version belongs to an image of another commit."""

    def __init__(self, version: str, commit: str, number: int) -> None:
        super().__init__(
            "build.version_taken",
            f"Version {version} is already commit {commit[:12]} (run #{number}).",
            "Choose another version, or leave it empty to have one made from the time; the same commit may have it again.",
            commit=commit,
        )
