"""Scans, findings and the gate's decisions."""

from typing import Any

from gateway.api.models.base import Out


class ScanOut(Out):
    area: str
    scan_id: str
    state: str
    reason: str
    code: str
    advice: str
    engines: list[dict[str, Any]]
    coverage: dict[str, int]
    counts: dict[str, int]
    findings_total: int
    data_date: str | None
    sample_data: bool
    duration_ms: int | None
    report: str | None
    commit: str
    image_id: str
    started_at_ms: int | None
    ended_at_ms: int | None


class FindingOut(Out):
    area: str
    finding_id: str
    rule: str
    severity: str
    title: str
    path: str
    line: int | None
    commit: str
    package: str
    installed: str
    fix: str
    confidence: str
    licence: str
    triage: str
    novelty: str
    first_number: int | None


class DecisionOut(Out):
    """`body` is the gate's whole message: areas, reasons, ways to pass, policy and input hash."""

    id: str
    service_id: str
    run_id: str
    number: int
    request_id: str | None
    environment: str
    environment_kind: str
    verdict: str
    sentence: str
    commit: str
    image_id: str
    duration_ms: int | None
    decided_at_ms: int | None
    body: dict[str, Any]
