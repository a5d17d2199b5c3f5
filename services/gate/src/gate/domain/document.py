"""The policy's input: everything the decision depends on, in one document that is stored and can be judged again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from gate.domain.decision import AREAS

DOCUMENT_VERSION = 1
UNREADABLE_AGE_SECONDS = 10 * 365 * 86400
FINDING_FIELDS = (
    "id",
    "rule",
    "severity",
    "title",
    "path",
    "line",
    "commit",
    "package",
    "installed",
    "fix",
    "confidence",
    "licence",
    "triage",
)
FINDING_DEFAULTS: dict[str, Any] = {"line": None, "confidence": "high"}
LONGEST_WORD = 300


@dataclass(frozen=True)
class Question:
    """What is asked: may this image go to this environment? `purpose` is deploy, rollback or information."""

    service: str
    service_name: str
    run: str
    number: int
    commit: str
    image_id: str
    digest: str | None
    environment: str
    environment_kind: str
    purpose: str
    tested: bool = False
    served_before: bool = False


@dataclass(frozen=True)
class Evidence:
    """What is known of one area. `state` is completed, partial, no_data, not_applicable, failed, running or missing; times in
    epoch milliseconds, `data_date` an ISO date; `components` are those of an SBOM, None when nobody read them."""

    area: str
    state: str = "missing"
    scan: str = ""
    reason: str = ""
    code: str = ""
    advice: str = ""
    finished_at_ms: int | None = None
    data_date: str | None = None
    sample_data: bool = False
    counts: Mapping[str, int] = field(default_factory=dict)
    coverage: Mapping[str, int] = field(default_factory=dict)
    engines: list[dict[str, Any]] = field(default_factory=list)
    findings: list[dict[str, Any]] = field(default_factory=list)
    findings_total: int = 0
    report: str | None = None
    components: list[dict[str, str]] | None = None

    @property
    def reported(self) -> bool:
        """Whether the scan of this area has come to an end, however it ended."""
        return self.state not in ("running", "missing")


def build_document(question: Question, evidence: Mapping[str, Evidence], *, now_ms: int, waited_seconds: int) -> dict[str, Any]:
    """The input document: plain JSON values, ages in whole seconds, nothing that a clock or a database would change later."""
    return {
        "version": DOCUMENT_VERSION,
        "now": _iso(now_ms),
        "purpose": question.purpose,
        "served_before": question.served_before,
        "tested": question.tested,
        "waited_seconds": waited_seconds,
        "subject": {
            "service": question.service,
            "service_name": question.service_name,
            "run": question.run,
            "number": question.number,
            "commit": question.commit,
            "image_id": question.image_id,
            "digest": question.digest,
        },
        "environment": {"name": question.environment, "kind": question.environment_kind},
        "areas": {area: _area(evidence.get(area, Evidence(area)), now_ms) for area in AREAS},
    }


def hash_of(document: Mapping[str, Any]) -> str:
    """SHA-256 of the document's canonical JSON: the same document always has the same hash."""
    return hashlib.sha256(canonical(document)).hexdigest()


def canonical(document: Mapping[str, Any]) -> bytes:
    """The document as JSON with sorted keys and no spaces."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def components_of_report(report: Any) -> list[dict[str, str]] | None:
    """Name, version and package URL of every component in an SBOM's report; None when it has no list of them."""
    found = report.get("components") if isinstance(report, Mapping) else None
    if not isinstance(found, list) or not all(isinstance(each, Mapping) for each in found):
        return None
    return [{name: str(each.get(name) or "")[:LONGEST_WORD] for name in ("name", "version", "purl")} for each in found]


def _area(evidence: Evidence, now_ms: int) -> dict[str, Any]:
    findings = [_finding(found) for found in evidence.findings]
    components = {"components": evidence.components} if evidence.area == "sbom" else {}
    return {
        **components,
        "state": evidence.state,
        "scan": evidence.scan,
        "reason": evidence.reason[:LONGEST_WORD],
        "finished_at": _iso(evidence.finished_at_ms) if evidence.finished_at_ms is not None else None,
        "age_seconds": _age(evidence.finished_at_ms, now_ms),
        "data_date": evidence.data_date,
        "data_age_seconds": _data_age(evidence.data_date, now_ms),
        "sample_data": evidence.sample_data,
        "counts": dict(evidence.counts),
        "coverage": dict(evidence.coverage),
        "engines": [{"name": e.get("name", ""), "version": e.get("version", "")} for e in evidence.engines],
        "findings": findings,
        "unlisted": _unlisted(evidence, findings),
    }


def findings_of_report(report: Any, expected: int) -> list[dict[str, Any]]:
    """All findings of a scan's report: its `findings`, each with at least id and severity. Empty when that is not all of them."""
    found = report.get("findings") if isinstance(report, Mapping) else None
    if not isinstance(found, list) or len(found) < expected:
        return []
    if not all(isinstance(each, Mapping) and each.get("id") and each.get("severity") for each in found):
        return []
    return [_finding(each) for each in found]


def _finding(found: Mapping[str, Any]) -> dict[str, Any]:
    values = {name: found.get(name, FINDING_DEFAULTS.get(name, "")) for name in FINDING_FIELDS}
    # A verdict repeats these words several times and must fit into one message.
    return {name: value[:LONGEST_WORD] if isinstance(value, str) else value for name, value in values.items()}


def _unlisted(evidence: Evidence, findings: list[dict[str, Any]]) -> dict[str, int]:
    """How many findings of each severity were counted but did not come along. What no count explains is taken for critical."""
    missing = evidence.findings_total - len(findings)
    if missing <= 0:
        return {}
    unlisted: dict[str, int] = {}
    for severity, count in evidence.counts.items():
        left = min(count - sum(1 for f in findings if f["severity"] == severity), missing)
        if left > 0:
            unlisted[severity] = left
            missing -= left
    if missing > 0:
        unlisted["critical"] = unlisted.get("critical", 0) + missing
    return unlisted


def _age(at_ms: int | None, now_ms: int) -> int | None:
    return None if at_ms is None else max(0, (now_ms - at_ms) // 1000)


def _data_age(date: str | None, now_ms: int) -> int | None:
    """Seconds since the data's date, None when the engine needs no data. A date that cannot be read counts as ten years old."""
    if not date:
        return None
    try:
        at = datetime.fromisoformat(date)
    except ValueError:
        return UNREADABLE_AGE_SECONDS
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return _age(int(at.timestamp() * 1000), now_ms)


def _iso(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
