"""What the scanner announces: what is wrong with source and image, and how sure it is."""

from __future__ import annotations

from pydantic import Field

from shared.facts._base import Fact, Part
from shared.words import Area, ScanState, Severity


class Engine(Part):
    """One tool's part in a scan. `data_date` is the ISO date of its vulnerability data, None when it has or needs none;
    `sample_data` marks the demo's tiny bundle."""

    name: str
    version: str
    exit_code: int | None = None
    rules: int | None = None
    data_date: str | None = None
    sample_data: bool = False
    problem: str = ""


class FindingLine(Part):
    """As much of a finding as a decision needs. `id` is its identity, stable over runs; `fix` what mends it (a version for a
    package); `confidence` is high, medium or low; `triage` is empty while nobody decided."""

    id: str
    rule: str
    severity: Severity
    title: str
    path: str = ""
    line: int | None = None
    commit: str = ""
    package: str = ""
    installed: str = ""
    fix: str = ""
    confidence: str = "high"
    licence: str = ""
    triage: str = ""


class _Scan(Fact):
    scan: str
    run: str
    number: int
    commit: str = ""
    image_id: str = ""


class ScanQueued(_Scan, owner="scanner", name="scan.queued"):
    """A scan of these areas waits for a worker."""

    areas: list[str]


class ScanStarted(_Scan, owner="scanner", name="scan.started"):
    """A worker took the scan; `attempt` is its fencing token."""

    areas: list[str]
    attempt: int = 1


class ScanFinished(_Scan, owner="scanner", name="scan.finished"):
    """One area was read. `coverage` counts what was read (files, commits, packages, layers); `counts` maps severity to
    number; `findings` has at most 200, worst first, of `findings_total`; the rest is in the object `report`. A state of
    no_data means components were listed but no vulnerability data was there: never clean."""

    area: Area
    state: ScanState
    reason: str = ""
    engines: list[Engine] = Field(default_factory=list)
    coverage: dict[str, int] = Field(default_factory=dict)
    counts: dict[str, int] = Field(default_factory=dict)
    findings: list[FindingLine] = Field(default_factory=list)
    findings_total: int = 0
    data_date: str | None = None
    sample_data: bool = False
    duration_ms: int = 0
    report: str | None = None


class ScanFailed(_Scan, owner="scanner", name="scan.failed"):
    """An engine failed or read nothing, so nothing is known of this area and nothing is resolved."""

    area: Area
    code: str
    reason: str
    advice: str = ""
    engines: list[Engine] = Field(default_factory=list)
    duration_ms: int = 0


class ScanCancelled(_Scan, owner="scanner", name="scan.cancelled"):
    """The scan was stopped because its run was."""

    areas: list[str]
    reason: str
