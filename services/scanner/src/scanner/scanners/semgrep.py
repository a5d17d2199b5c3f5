"""Semgrep with our own rules: weaknesses in Python, and in Dockerfiles what Trivy has no check for."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.words import Area

from scanner.domain.evidence import EngineRun, Proof, judged
from scanner.domain.findings import Finding, severity_of
from scanner.domain.masking import hide_all_values, hide_named_values
from scanner.scanners import snippets
from scanner.scanners.part import Part
from scanner.scanners.program import Program, last_words
from scanner.scanners.targets import Targets

RULES = Path(__file__).parent.parent / "rules"
KINDS = {Area.SAST: "python", Area.IAC: "dockerfile"}
PREFIX = {Area.SAST: "code/", Area.IAC: "iac/"}


@dataclass(frozen=True)
class Output:
    """A Semgrep report, cut by area: findings, files that were read, problems."""

    findings: dict[Area, list[Finding]]
    scanned: set[str]
    problems: dict[Area, list[str]]
    version: str = ""


def rule_count(area: Area) -> int:
    """How many rules there are for an area."""
    files = (RULES / KINDS[area]).glob("*.yaml")
    return sum(len(re.findall(r"(?m)^\s*- id:", file.read_text())) for file in files)


def parse(output: bytes, targets: Targets) -> Output:
    """Read a JSON report. Raises ValueError, KeyError or TypeError when it is none."""
    document = json.loads(output)
    findings: dict[Area, list[Finding]] = {area: [] for area in KINDS}
    problems: dict[Area, list[str]] = {area: [] for area in KINDS}
    lines: dict[str, list[str]] = {}
    for row in document["results"]:
        path = str(row["path"])
        area = _area_of(path)
        # A rule for Python that meets a Dockerfile by its content, or the reverse, is no finding.
        if area is None or not str(row["check_id"]).startswith(f"kiops.{KINDS[area]}."):
            continue
        if path not in lines:
            lines[path] = snippets.read_lines(targets.folder / path)
        findings[area].append(_finding(row, area, targets.original(path), lines[path]))
    for row in document["errors"]:
        path = str(row.get("path") or "")
        text = _problem(row, targets.original(path) if path else "")
        for area in [_area_of(path)] if path else list(KINDS):
            if area is not None and text not in problems[area]:
                problems[area].append(text)
    return Output(findings, {str(path) for path in document["paths"]["scanned"]}, problems, str(document.get("version", "")))


def _area_of(path: str) -> Area | None:
    return next((area for area, prefix in PREFIX.items() if path.startswith(prefix)), None)


def _problem(row: dict[str, Any], path: str) -> str:
    kind = row.get("type")
    kind = kind[0] if isinstance(kind, list) and kind else kind
    words = {"PartialParsing": "could not be parsed in part", "Syntax error": "could not be parsed", "Timeout": "took too long"}
    what = words.get(str(kind), re.sub(r"\s+", " ", f"{kind}: {row.get('message', '')}")[:160])
    return f"{path} {what}" if path else what


def _finding(row: dict[str, Any], area: Area, path: str, lines: list[str]) -> Finding:
    extra, start, end = row["extra"], row["start"], row["end"]
    metadata = extra["metadata"]
    hide = hide_all_values if metadata.get("class") == "hardcoded-secret" else hide_named_values
    text = snippets.matched(lines, (start["line"], start["col"]), (end["line"], end["col"]))
    return Finding(
        area=area,
        rule=str(row["check_id"]),
        title=str(metadata["title"]),
        severity=severity_of(str(extra["severity"])),
        engine="semgrep",
        native_severity=str(extra["severity"]),
        confidence=str(metadata["confidence"]).lower(),
        message=re.sub(r"\s+", " ", str(extra["message"])).strip(),
        advice=re.sub(r"\s+", " ", str(metadata["advice"])).strip(),
        weakness=str(metadata["class"]),
        cwe=tuple(metadata["cwe"]),
        path=path,
        line=int(start["line"]),
        end_line=int(end["line"]),
        scope=snippets.scope(lines, int(start["line"])) if area == Area.SAST else "",
        matched=hide(text),
        code=tuple((number, hide(line)) for number, line in snippets.around(lines, start["line"], end["line"])),
    )


async def scan(program: Program, targets: Targets, *, job: Any, home: Path) -> dict[Area, Part]:
    """Run all rules once over what is shown. One part for each area that has files; {} when neither has."""
    expected = {Area.SAST: targets.code, Area.IAC: targets.dockerfiles}
    wanted = [area for area, files in expected.items() if files]
    if not wanted:
        return {}
    known = await program.known(job, home)
    report = home / "semgrep.json"
    ran = await program.run(
        [
            *("scan", "--metrics=off", "--disable-version-check", "--no-rewrite-rule-ids", "--no-git-ignore", "--disable-nosem"),
            *(word for area in wanted for word in ("--config", str(RULES / KINDS[area]))),
            *("--json", "--quiet", "--jobs", "1", "--timeout", "20", "--timeout-threshold", "0", "--max-target-bytes", "0"),
            *("--output", str(report)),
            *(PREFIX[area].rstrip("/") for area in wanted),
        ],
        job=job,
        home=home,
        cwd=targets.folder,
    )
    general: list[str] = []
    output = None
    try:
        output = await asyncio.to_thread(parse, report.read_bytes(), targets)
    except OSError:
        general.append(f"semgrep wrote no report: {last_words(ran.err)}")
    except (ValueError, KeyError, TypeError) as error:
        general.append(f"the report could not be read ({type(error).__name__})")
    if ran.code != 0:
        general.append(f"semgrep ended with code {ran.code}: {last_words(ran.err)}")
    parts = {}
    version = output.version if output else ""
    for area in wanted:
        read = expected[area] & output.scanned if output else set()
        problems = [*general, *(output.problems[area] if output else [])]
        problems += _unread(expected[area] - read, targets) if output else []
        if area == Area.SAST and targets.too_large:
            problems.append(f"{_named(targets.too_large)} too large to be read")
        proof = Proof(ran.code == 0, output is not None, version, len(read), tuple(problems))
        state, code, reason = judged(proof)
        engine = EngineRun(
            "semgrep", version, known.sha256, ran.code, rule_count(area), problem=reason, duration_ms=ran.duration_ms
        )
        parts[area] = Part(state, engine, tuple(output.findings[area]) if output else (), len(read), code)
    return parts


def _unread(paths: Iterable[str], targets: Targets) -> list[str]:
    names = sorted(targets.original(path) for path in paths)
    return [f"{_named(names)} not read"] if names else []


def _named(names: list[str]) -> str:
    if len(names) == 1:
        return f"{names[0]} was"
    return f"{len(names)} files ({', '.join(names[:3])}{' …' if len(names) > 3 else ''}) were"
