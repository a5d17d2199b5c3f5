"""What is to be built, and what the engine that builds can do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

LIMITS_SINCE = 29


@dataclass(frozen=True, slots=True)
class BuildPlan:
    """One image to be built. Paths in `context` and `dockerfile` are relative to `source`, the root of the repository.

    `scratch` is a private folder for what the client needs on disk. `secrets` are handed to the steps that mount them,
    `registries` maps a registry's host to (name, password); neither is ever part of the image or of a log.
    """

    source: Path
    scratch: Path
    dockerfile: str = "./Dockerfile"
    context: str = "."
    labels: Mapping[str, str] = field(default_factory=dict)
    arguments: Mapping[str, str] = field(default_factory=dict)
    target: str = ""
    use_cache: bool = True
    secrets: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    registries: Mapping[str, tuple[str, str]] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Abilities:
    """What an engine showed when it was asked once."""

    version: str
    buildkit: bool
    keeps_digests: bool = False

    @property
    def limits(self) -> bool:
        """True when a build's memory and CPU can be limited."""
        major = self.version.split(".", 1)[0]
        return major.isdigit() and int(major) >= LIMITS_SINCE

    def sentence(self) -> str:
        """`20.10.24 with BuildKit (cannot limit memory of builds: needs 29)`."""
        what = f"{self.version} with BuildKit" if self.buildkit else f"{self.version} without BuildKit"
        return what if self.limits else f"{what} (cannot limit memory of builds: needs {LIMITS_SINCE})"
