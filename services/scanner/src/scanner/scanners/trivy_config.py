"""Trivy's checks of Dockerfiles, Kubernetes manifests and Terraform (the ones built into it; no network)."""

from __future__ import annotations

import json
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

QUIET = ("--skip-version-check", "--disable-telemetry", "--quiet")
ABOUT_SECRETS = {"DS-0031", "KSV-0109", "KSV-01010"}


def own_files(home: Path) -> tuple[str, ...]:
    """Arguments that give Trivy an empty ignore file and configuration, so that it looks for none where it runs."""
    (home / "ignore").write_text("")
    (home / "configuration.yaml").write_text("{}\n")
    return ("--ignorefile", str(home / "ignore"), "--config", str(home / "configuration.yaml"))


def parse(output: bytes, targets: Targets) -> tuple[list[Finding], set[str], int]:
    """Findings, the files that were checked (as they are shown), and how many checks were made.

    Raises ValueError, KeyError, TypeError or AttributeError when the output is no report."""
    document = json.loads(output)
    if "SchemaVersion" not in document:
        raise ValueError("not a Trivy report")
    findings: list[Finding] = []
    read: set[str] = set()
    checks = 0
    for result in document.get("Results") or []:
        shown = f"iac/{result['Target']}"
        summary = result.get("MisconfSummary") or {}
        made = int(summary.get("Successes", 0)) + int(summary.get("Failures", 0))
        if not made:
            continue
        read.add(shown)
        checks += made
        lines = snippets.read_lines(targets.folder / shown)
        for row in result.get("Misconfigurations") or []:
            if row["Status"] == "FAIL":
                findings.append(finding_of(row, Area.IAC, targets.original(shown), lines))
    return findings, read, checks


def finding_of(row: dict[str, Any], area: Area, path: str, lines: list[str]) -> Finding:
    """A finding of one failed check; `lines` is the file it is about, as far as there is one."""
    cause = row.get("CauseMetadata") or {}
    start, end = int(cause.get("StartLine") or 0), int(cause.get("EndLine") or 0)
    rule = str(row["ID"])
    hide = hide_all_values if rule in ABOUT_SECRETS else hide_named_values
    text = "\n".join(lines[start - 1 : end]) if start else ""
    return Finding(
        area=area,
        rule=f"trivy.{rule}",
        title=hide_named_values(str(row["Title"]))[:200],
        severity=severity_of(str(row["Severity"])),
        engine="trivy",
        native_severity=str(row["Severity"]),
        message=str(row.get("Message", ""))[:500],
        advice=str(row.get("Resolution", ""))[:500],
        weakness="hardcoded-secret" if rule in ABOUT_SECRETS else rule,
        references=tuple(str(address) for address in (row.get("References") or [])[:5]),
        path=path,
        line=start or None,
        end_line=end or None,
        resource=str(cause.get("Resource", "")),
        matched=hide(text),
        code=tuple((number, hide(line)) for number, line in snippets.around(lines, start, end)) if start and lines else (),
    )


async def scan(program: Program, targets: Targets, *, job: Any, home: Path) -> Part | None:
    """Check what is shown below `iac`; None when there is nothing of the kind."""
    expected = targets.dockerfiles | targets.manifests
    if not expected:
        return None
    known = await program.known(job, home)
    ran = await program.run(
        [
            *("config", "--cache-dir", str(home / "cache"), "--skip-check-update", *QUIET),
            *("--misconfig-scanners", "dockerfile,kubernetes,terraform", "--include-non-failures", "--format", "json"),
            *own_files(home),
            "iac",
        ],
        job=job,
        home=home,
        cwd=targets.folder,
    )
    problems: list[str] = []
    findings: list[Finding] = []
    read: set[str] = set()
    checks: int | None = None
    try:
        findings, read, checks = parse(ran.out, targets)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        problems.append(f"the report could not be read ({type(error).__name__})")
    if ran.code != 0:
        problems.insert(0, f"trivy ended with code {ran.code}: {last_words(ran.err)}")
    elif checks is not None:
        # Trivy passes over a file it cannot parse without a word.
        problems += [f"{targets.original(path)} could not be read" for path in sorted(expected - read)]
    proof = Proof(ran.code == 0, checks is not None, known.version, len(read & expected), tuple(problems))
    state, code, reason = judged(proof)
    engine = EngineRun("trivy", known.version, known.sha256, ran.code, checks, problem=reason, duration_ms=ran.duration_ms)
    return Part(state, engine, tuple(findings), len(read & expected), code)
