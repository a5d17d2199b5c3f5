"""Every knob of this service."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from shared.settings import ServiceSettings


class WebhookSettings(ServiceSettings, env_prefix="WEBHOOK_"):
    """What counts as a push, how long runs may take, where repositories may lie."""

    max_body_bytes: int = Field(5 * 1024 * 1024, ge=1024, description="Longest body of a delivery; a longer one gets 413.")
    run_deadline_seconds: int = Field(4 * 3600, ge=60, description="A run that is not over after this long is failed.")
    build_silent_seconds: int = Field(
        11_400, ge=10, description="A due source or build step of a run of which nothing is heard for this long is failed."
    )
    scan_silent_seconds: int = Field(3600, ge=10, description="The same for the scans of source and image.")
    gate_silent_seconds: int = Field(1200, ge=10, description="The same for the gate, which itself waits up to 10 minutes.")
    deploy_silent_seconds: int = Field(3600, ge=10, description="The same for deploy and operate.")
    reaper_seconds: float = Field(15.0, gt=0, description="How often runs are looked through for silence and deadlines.")
    retention_seconds: float = Field(3600.0, gt=0, description="How often what is kept long enough is looked for.")
    keep_raw_days: int = Field(30, ge=1, description="Raw bodies of deliveries are kept this long; the ledger's rows stay.")
    keep_refused: int = Field(200, ge=1, description="How many unauthenticated deliveries the ledger remembers for each endpoint.")
    source_roots: list[Path] = Field(
        default_factory=list,
        description="Folders below which a repository may be a file path, as a JSON list; `demo` in the data folder always is.",
    )
    git_timeout_seconds: float = Field(15.0, gt=0, description="How long `git ls-remote` may take.")
    retry_after_seconds: int = Field(5, ge=1, description="What a sender is told when its delivery could not be stored.")
