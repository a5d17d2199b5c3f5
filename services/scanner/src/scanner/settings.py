"""Every knob of the scanner."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import Field
from shared.settings import ServiceSettings, home


def _tool(name: str) -> Path:
    return home() / "tools" / "bin" / name


class ScannerSettings(ServiceSettings, env_prefix="SCANNER_"):
    """Read from SCANNER_* variables."""

    gitleaks: Path = Field(default_factory=lambda: _tool("gitleaks"), description="Path of the Gitleaks program.")
    semgrep: Path = Field(default_factory=lambda: _tool("semgrep"), description="Path of the Semgrep program.")
    trivy: Path = Field(default_factory=lambda: _tool("trivy"), description="Path of the Trivy program.")
    gitleaks_sha256: str = Field("", description="SHA-256 the Gitleaks program must have; any when empty (it is recorded).")
    trivy_sha256: str = Field("", description="SHA-256 the Trivy program must have; any when empty (it is recorded).")
    docker_host: str = Field(
        default_factory=lambda: os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock",
        description="Address of the container engine whose store has the images: unix:// or tcp://.",
    )
    source_roots: list[Path] = Field(
        default_factory=list,
        description="Folders below which a repository may be a file path, as a JSON list; `demo` in the data folder always is.",
    )
    scans_at_once: int = Field(1, ge=1, description="How many source scans and how many image scans run at once.")
    engines_at_once: int = Field(2, ge=1, description="How many engines one scan may run side by side.")
    engine_nice: int = Field(10, ge=0, le=19, description="Niceness of the engines, so that builds and pages go first.")
    engine_seconds: int = Field(600, ge=1, description="An engine that runs longer than this is stopped, in seconds.")
    scan_deadline_seconds: int = Field(1800, ge=1, description="A scan that takes longer than this has failed, in seconds.")
    fetch_seconds: int = Field(300, ge=1, description="Fetching a repository may take this long, in seconds.")
    file_max_bytes: int = Field(
        2_000_000, ge=1000, description="Source files larger than this are not read; the scan is then partial, in bytes."
    )
    data_download_hours: int = Field(
        12,
        ge=0,
        description="Trivy's own database is downloaded again when it is older than this, in hours; 0: never, only imported.",
    )
    data_download_seconds: int = Field(180, ge=1, description="Downloading the database may take this long, in seconds.")
    data_retry_minutes: int = Field(
        60, ge=1, description="After a download that failed the next one is tried after this long, in minutes."
    )
    identity_key_file: Path | None = Field(
        None, description="File of the key that secrets are recognised by; made below the service's data folder when not set."
    )
