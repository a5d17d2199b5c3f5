"""What is told of an area: the short lines that travel in a fact, and the report that is kept."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from scanner.domain.evidence import AreaScan
from scanner.domain.findings import Finding, counts

MOST_LINES = 200
MOST_BYTES = 200 * 1024
FORMAT = "kiops.scan-report.v1"


def line_of(finding: Finding) -> dict[str, Any]:
    """As much of a finding as a decision needs, texts cut to a length that fits a message."""
    return {
        "id": finding.id,
        "rule": finding.rule[:120],
        "severity": str(finding.severity),
        "title": clean(finding.title, 200),
        "path": clean(finding.path, 300),
        "line": finding.line,
        "commit": finding.commit,
        "package": clean(finding.package, 200),
        "installed": clean(finding.installed, 80),
        "fix": clean(finding.fix, 120),
        "confidence": finding.confidence,
        "licence": clean(finding.licence, 120),
        "triage": finding.triage,
    }


def lines_of(findings: Iterable[Finding]) -> list[dict[str, Any]]:
    """The lines of the worst findings: at most 200, and no more than fit 200 KiB of JSON."""
    lines: list[dict[str, Any]] = []
    size = 0
    for finding in findings:
        line = line_of(finding)
        size += len(json.dumps(line, ensure_ascii=False).encode("utf-8", "surrogatepass")) + 1
        if len(lines) == MOST_LINES or size > MOST_BYTES:
            break
        lines.append(line)
    return lines


def report_of(area: AreaScan, about: dict[str, Any], sbom: str | None) -> bytes:
    """The whole result as a JSON object: `about` (scan, run, commit, image), how it was found out, and every finding.

    Shape (format kiops.scan-report.v1): format, area, state, reason, code, advice, engines[], coverage{}, counts{}, data_date,
    sample_data, duration_ms, sbom (a reference to a CycloneDX document) or null, components[] (name, version, purl, type, path,
    licences[]; areas sbom and license), findings[] each with id, group, rule, severity, native_severity, confidence, engine, title,
    message, advice, cwe[], ids[], references[], path, line, end_line, code[[number, text]...], commit, commits, author, resource,
    package, purl, installed, fix, licence, preview. Values of secrets are in none of these.
    """
    document = {
        "format": FORMAT,
        **about,
        "area": str(area.area),
        "state": str(area.state),
        "reason": area.reason,
        "code": area.code,
        "advice": area.advice,
        "engines": [vars(engine) for engine in area.engines],
        "coverage": area.coverage,
        "counts": counts(area.findings),
        "data_date": area.data_date,
        "sample_data": area.sample_data,
        "duration_ms": area.duration_ms,
        "sbom": sbom,
        "components": list(area.components),
        "findings": [_whole(finding) for finding in area.findings],
    }
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def _whole(finding: Finding) -> dict[str, Any]:
    hidden = ("secret", "matched", "scope", "area", "weakness")
    values = {
        name: clean(value, 4000) if type(value) is str else value for name, value in vars(finding).items() if name not in hidden
    }
    return values | {"weakness": finding.weakness, "code": [[number, clean(text, 300)] for number, text in finding.code]}


def clean(text: str, most: int) -> str:
    """Without NUL (PostgreSQL takes none) and lone surrogates (UTF-8 has none), cut to a length."""
    text = text.replace("\x00", "").encode("utf-8", "replace").decode("utf-8")
    return text if len(text) <= most else text[: most - 1] + "…"
