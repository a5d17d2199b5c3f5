"""Gitleaks: secrets in the commits reachable from one commit.

The history is read from a bare clone of our own, so that nothing in the repository can switch the search off: no configuration
or ignore file of the tree is seen, `gitleaks:allow` is ignored, and attributes that hide a file from `git diff` are overruled.
"""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from shared.words import Area, ScanState, Severity

from scanner.domain.evidence import ADVICE, AreaScan, EngineRun, Proof, judged
from scanner.domain.findings import Finding, identified, preview_of, secret_identity
from scanner.scanners.program import Program, last_words

CONFIGURATION = Path(__file__).parent.parent / "rules" / "gitleaks.toml"
LEAKS = 9  # our exit code for "found something": 1 means an error of Gitleaks as well
TITLES = {
    "aws-access-token": "An object store key (AWS access key)",
    "private-key": "A private key",
    "github-pat": "A GitHub access token",
    "github-fine-grained-pat": "A GitHub access token",
    "gitlab-pat": "A GitLab access token",
    "slack-webhook-url": "A Slack webhook address",
    "jwt": "A signed token (JWT)",
    "gcp-api-key": "A Google Cloud key",
    "generic-api-key": "A key or password",
    "kiops-url-password": "A password inside an address",
}
ADVICE_SECRET = (
    "Revoke the secret first: whoever has read the repository has it. Then take it out of the history (amend the commit, or "
    "rewrite with git filter-repo, and push with force); taking the file away in a later commit does not help. Let the program "
    "read the new secret from its environment."
)


@dataclass(frozen=True)
class Leaks:
    """What Gitleaks said: findings, and the secrets' plain values (kept in memory only, to mask them elsewhere)."""

    findings: tuple[Finding, ...]
    values: tuple[str, ...]


def parse(output: bytes, key: bytes) -> Leaks:
    """Findings of a JSON report. Raises ValueError when it is none."""
    rows = json.loads(output)
    if not isinstance(rows, list):
        raise ValueError("not a list")
    findings: dict[tuple[str, str], Finding] = {}
    commits: dict[tuple[str, str], set[str]] = {}
    values: set[str] = set()
    for row in rows:
        secret, path = str(row["Secret"]), str(row["File"])
        if not secret:
            raise ValueError("a finding without its secret")
        values.add(secret)
        identity = (secret_identity(secret, key), path)
        commits.setdefault(identity, set()).add(str(row["Commit"]))
        # Newest first: the last one seen is the commit that brought the secret in.
        findings[identity] = _finding(row, secret, identity[0], path)
    joined = [_counted(finding, len(commits[identity])) for identity, finding in findings.items()]
    return Leaks(tuple(identified(joined)), tuple(sorted(values, key=len, reverse=True)))


def _finding(row: dict[str, Any], secret: str, identity: str, path: str) -> Finding:
    rule = str(row["RuleID"])
    return Finding(
        area=Area.SECRETS,
        rule=rule,
        title=TITLES.get(rule) or f"A secret ({rule.replace('-', ' ')})",
        severity=Severity.CRITICAL if rule != "generic-api-key" else Severity.HIGH,
        engine="gitleaks",
        confidence="medium" if rule == "generic-api-key" else "high",
        message=re.sub(r"\s+", " ", str(row.get("Description", "")))[:400].replace(secret, "•••"),
        advice=ADVICE_SECRET,
        weakness="hardcoded-secret",
        cwe=("CWE-798",),
        path=path,
        line=int(row["StartLine"]),
        end_line=int(row["EndLine"]),
        commit=str(row["Commit"]),
        author=str(row.get("Author", ""))[:120],
        secret=identity,
        preview=preview_of(secret),
    )


def _counted(finding: Finding, commits: int) -> Finding:
    return replace(finding, commits=commits)


def problems_of(log: str) -> tuple[int | None, tuple[str, ...]]:
    """Commits that were read (None: it did not say) and the errors in its log. Gitleaks ends with 0 even when git failed."""
    counted = re.search(r"(\d+) commits scanned", log)
    errors = [line.split("ERR", 1)[1].strip() for line in log.splitlines() if re.search(r"\bERR\b|\bFTL\b", line)]
    return (int(counted[1]) if counted else None), tuple(error[:200] for error in errors)


async def scan(
    program: Program, repository: Path, commit: str, *, key: bytes, commits: int, shallow: bool, job: Any, home: Path
) -> tuple[AreaScan, tuple[str, ...]]:
    """Search all `commits` commits reachable from `commit`. Returns the area and the secrets' values, for masking.

    Merges are compared with their first parent, so that what a merge itself brings in is seen.
    """
    known = await program.known(job, home)
    ran = await program.run(
        [
            *("git", "--no-banner", "--no-color", "--log-level", "info", "--exit-code", str(LEAKS)),
            *("--report-format", "json", "--report-path", "-", "--ignore-gitleaks-allow", "--config", str(CONFIGURATION)),
            *("--gitleaks-ignore-path", str(home / "none"), "--max-decode-depth", "2"),
            *("--log-opts", f"--full-history --no-ext-diff --no-textconv --diff-merges=first-parent {commit}"),
            str(repository),
        ],
        job=job,
        home=home,
        env={"GIT_CONFIG_GLOBAL": str(repository.parent / "gitconfig"), "GIT_CONFIG_NOSYSTEM": "1"},
    )
    read, errors = problems_of(ran.err)
    problems = list(errors)
    if ran.clipped:
        problems.append("the report was longer than 64 MiB")
    try:
        leaks: Leaks | None = await asyncio.to_thread(parse, ran.out, key)
    except (ValueError, KeyError, TypeError) as error:
        leaks = None
        problems.append(f"the report could not be read ({type(error).__name__})")
    # With an error and findings the findings still count (partial); with an error and none nothing is known.
    ended_well = ran.code in (0, LEAKS) and (not errors or bool(leaks and leaks.findings))
    if leaks is not None and ended_well and (ran.code == LEAKS) != bool(leaks.findings):
        ended_well = False
        problems.append(f"exit code {ran.code} and {len(leaks.findings)} findings contradict each other")
    if ran.code not in (0, LEAKS):
        problems.append(f"gitleaks ended with code {ran.code}: {last_words(ran.err)}")
    if ended_well and shallow:
        problems.append("the repository is a shallow copy: older commits could not be read")
    proof = Proof(ended_well, leaks is not None, known.version, read or 0, tuple(problems))
    state, code, reason = judged(proof)
    engine = EngineRun("gitleaks", known.version, known.sha256, ran.code, problem=reason, duration_ms=ran.duration_ms)
    area = AreaScan(
        Area.SECRETS,
        state,
        reason,
        code=code,
        advice=ADVICE.get(code, ""),
        engines=(engine,),
        coverage={"commits": commits, "commits_with_additions": read or 0},
        findings=leaks.findings if leaks and state != ScanState.FAILED else (),
        duration_ms=ran.duration_ms,
    )
    return area, leaks.values if leaks else ()
