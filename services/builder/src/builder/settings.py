"""Every knob of the builder."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from shared.settings import ServiceSettings


class BuilderSettings(ServiceSettings, env_prefix="BUILDER_"):
    """Read from BUILDER_* variables."""

    engine_socket: Path = Field(Path("/var/run/docker.sock"), description="Unix socket of the Docker engine that builds images.")
    slots: int = Field(2, ge=1, le=64, description="How many builds run at once; builds of one service never do.")
    build_deadline_seconds: int = Field(3600, ge=1, description="A build that takes longer than this has failed.")
    queue_deadline_seconds: int = Field(7200, ge=1, description="A build that waits longer than this for a slot has failed.")
    source_roots: list[Path] = Field(
        default_factory=list,
        description="Folders below which a repository may be a file path, as a JSON list; `demo` in the data folder always is.",
    )
    git_protocols: list[str] = Field(
        default_factory=lambda: ["https", "http", "ssh", "file"],
        description="Kinds of address a repository may have, as a JSON list.",
    )
    git_timeout_seconds: float = Field(600, gt=0, description="How long one call of git may take.")
    git_ca_file: Path | None = Field(
        None, description="File of the authorities that Git hosts are trusted by; the system's when not set."
    )
    kept_images: int = Field(
        10, ge=1, description="How many of a service's newest images are kept; those its last 10 releases need are kept besides."
    )
    clean_up_seconds: float = Field(3600, gt=0, description="How often images that nothing needs any more are removed.")
