"""A finding, its severity and its identity."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

from shared.words import Area, Severity

ORDER = (Severity.CRITICAL, Severity.HIGH, Severity.MEDIUM, Severity.LOW, Severity.INFO)
RANK = {severity: number for number, severity in enumerate(ORDER)}
CONFIDENCE = {"high": 0, "medium": 1, "low": 2}

# What engines call severity, in our scale. UNKNOWN of Trivy means that nobody rated it: shown as info, never hidden.
NATIVE = {
    "CRITICAL": Severity.CRITICAL,
    "HIGH": Severity.HIGH,
    "ERROR": Severity.HIGH,
    "MEDIUM": Severity.MEDIUM,
    "MODERATE": Severity.MEDIUM,
    "WARNING": Severity.MEDIUM,
    "LOW": Severity.LOW,
    "INFO": Severity.INFO,
    "UNKNOWN": Severity.INFO,
}


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong. `matched` is the text the rule matched (already masked), `scope` the chain of definitions
    around it; both only make the identity. `code` holds (line number, text) around the place. `secret` is the keyed hash
    of a secret, `preview` what may be shown of it."""

    area: Area
    rule: str
    title: str
    severity: Severity
    engine: str
    native_severity: str = ""
    confidence: str = "high"
    message: str = ""
    advice: str = ""
    weakness: str = ""
    cwe: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()
    references: tuple[str, ...] = ()
    path: str = ""
    line: int | None = None
    end_line: int | None = None
    commit: str = ""
    author: str = ""
    commits: int = 0
    scope: str = ""
    matched: str = ""
    code: tuple[tuple[int, str], ...] = ()
    resource: str = ""
    package: str = ""
    purl: str = ""
    installed: str = ""
    fix: str = ""
    licence: str = ""
    secret: str = ""
    preview: str = ""
    id: str = ""
    group: str = ""
    triage: str = ""


def severity_of(native: str) -> Severity:
    """The engine's word in our scale; a word nobody knows is medium, so that it is neither hidden nor blocking."""
    return NATIVE.get(native.strip().upper(), Severity.MEDIUM)


def secret_identity(secret: str, key: bytes) -> str:
    """A keyed hash of a secret: equal secrets are equal, and nobody without the platform's key can test a guess."""
    return hmac.new(key, secret.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()[:32]


def preview_of(secret: str) -> str:
    """At most the first four characters (the kind of key is often told by them), and only of long secrets."""
    return f"{secret[:4]}…" if len(secret) >= 16 and "\n" not in secret[:4] else "…"


def canonical(ids: Iterable[str]) -> str:
    """The one name of a vulnerability among its aliases: CVE before GHSA before the others."""
    known = sorted(set(ids))
    for prefix in ("CVE-", "GHSA-", "PYSEC-"):
        for name in known:
            if name.startswith(prefix):
                return name
    return known[0] if known else ""


def purl_base(purl: str) -> str:
    """The package URL without version and qualifiers."""
    head = purl.split("?", 1)[0].split("#", 1)[0]
    kind, slash, rest = head.partition("/")
    name, at, _ = rest.rpartition("@")
    return f"{kind}{slash}{name if at else rest}".lower()


def squeezed(text: str) -> str:
    """Text without white space, as it enters an identity: reformatting does not make a new finding."""
    return re.sub(r"\s+", "", text)[:400]


def _parts(finding: Finding, nth: int) -> tuple[object, ...]:
    f = finding
    if f.area == Area.SECRETS:
        return (f.secret, f.path)
    if f.purl and f.ids:
        # The path of an installed package has its version in it; an update must not make it another finding.
        return (canonical(f.ids), purl_base(f.purl), f.path.replace(f.installed, "*") if f.installed else f.path)
    if f.area == Area.LICENSE:
        return (f.licence,)
    if f.area == Area.SAST:
        return (f.rule, f.path, f.scope, squeezed(f.matched), nth)
    return (f.rule, f.path, f.resource, squeezed(f.matched), nth)


def fingerprint(finding: Finding, nth: int = 0) -> str:
    """The identity: 32 hexadecimal digits behind the version of this rule. No line number, commit, message or tool version
    is part of it. `nth` tells apart findings that are otherwise equal."""
    text = "\x1f".join(str(part) for part in ("v1", finding.area, *_parts(finding, nth)))
    return "v1-" + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


COUNTED = (Area.SAST, Area.IAC, Area.IMAGE)


def identified(findings: Iterable[Finding]) -> list[Finding]:
    """The findings with identity and group, each once, worst first.

    Equal secrets, vulnerabilities and licences join; equal places of code get a running number in the order of their
    lines. The group is shared by findings of one weakness at overlapping lines of one file: shown and counted together.
    """
    seen: Counter[str] = Counter()
    once: dict[str, Finding] = {}
    for finding in sorted(findings, key=lambda f: (f.path, f.line or 0, f.rule)):
        base = fingerprint(finding)
        nth = seen[base]
        seen[base] += 1
        if nth and not (finding.area in COUNTED and not finding.ids):
            once[base] = _joined(once[base], finding)
            continue
        identity = fingerprint(finding, nth)
        once[identity] = replace(finding, id=identity, group=identity)
    return worst_first(_grouped(once.values()))


def _joined(one: Finding, other: Finding) -> Finding:
    versions = [v for v in one.installed.split(", ") if v]
    if other.installed and other.installed not in versions:
        versions.append(other.installed)
    worse = min(one.severity, other.severity, key=RANK.__getitem__)
    return replace(
        one,
        installed=", ".join(versions),
        severity=worse,
        ids=tuple(dict.fromkeys((*one.ids, *other.ids))),
        fix=one.fix or other.fix,
        commits=max(one.commits, other.commits),
    )


def _grouped(findings: Iterable[Finding]) -> list[Finding]:
    by_path: dict[str, list[Finding]] = {}
    grouped: list[Finding] = []
    for finding in findings:
        before = by_path.setdefault(finding.path, [])
        same = next((other for other in before if _same_place(other, finding)), None)
        finding = replace(finding, group=same.group if same else finding.id)
        before.append(finding)
        grouped.append(finding)
    return grouped


def _same_place(a: Finding, b: Finding) -> bool:
    if a.line is None or b.line is None:
        return False
    overlap = a.line <= (b.end_line or b.line) and b.line <= (a.end_line or a.line)
    return overlap and (bool(set(a.cwe) & set(b.cwe)) or (a.weakness != "" and a.weakness == b.weakness))


def worst_first(findings: Iterable[Finding]) -> list[Finding]:
    """By severity, then confidence, then place."""
    return sorted(
        findings,
        key=lambda f: (RANK.get(f.severity, 9), CONFIDENCE.get(f.confidence, 3), f.path, f.line or 0, f.rule, f.id),
    )


def counts(findings: Iterable[Finding]) -> dict[str, int]:
    """How many of each severity, the worst first; severities with none are left out."""
    found = Counter(f.severity for f in findings)
    return {str(severity): found[severity] for severity in ORDER if found[severity]}
