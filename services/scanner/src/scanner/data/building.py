"""The demo's bundle: a few public advisories of well-known packages in our own words, dated, and used for sample services alone."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from scanner.data import bbolt

ADVISORIES = Path(__file__).parent / "advisories.json"
UPDATED_AT = "2026-11-01T00:00:00Z"
NEVER = "2099-01-01T00:00:00Z"
SEVERITIES = {"UNKNOWN": 0, "LOW": 1, "MEDIUM": 2, "HIGH": 3, "CRITICAL": 4}
SOURCE = "GitHub Security Advisory"
NAMES = {"pip": "pip", "npm": "npm", "maven": "Maven"}


def fingerprint() -> str:
    """Tells whether a bundle was made from these advisories."""
    return hashlib.sha256(ADVISORIES.read_bytes() + UPDATED_AT.encode()).hexdigest()


def tree(advisories: list[dict[str, Any]]) -> dict[bytes, Any]:
    """The buckets of Trivy's database (schema 2) for these advisories."""
    buckets: dict[bytes, Any] = {b"vulnerability": {}, b"data-source": {}}
    for one in advisories:
        source, origin, advisory = _advisory(one)
        buckets[b"data-source"][source] = _json(origin)
        package = buckets.setdefault(source, {}).setdefault(one["package"].lower().encode(), {})
        package[one["id"].encode()] = _json(advisory)
        buckets[b"vulnerability"][one["id"].encode()] = _json(
            {
                "Title": one["title"],
                "Description": one["description"],
                "CweIDs": one["cwe"],
                "Severity": one["severity"],
                "VendorSeverity": {"ghsa": SEVERITIES[one["severity"]], "nvd": SEVERITIES[one["severity"]]},
                "References": [f"https://nvd.nist.gov/vuln/detail/{one['id']}"]
                + [f"https://github.com/advisories/{alias}" for alias in one["aliases"]],
                "PublishedDate": f"{one['published']}T00:00:00Z",
                "LastModifiedDate": f"{one['published']}T00:00:00Z",
            }
        )
    return buckets


def _advisory(one: dict[str, Any]) -> tuple[bytes, dict[str, str], dict[str, Any]]:
    """The bucket's name, where it comes from, and the advisory in the form its kind has: ranges for languages, for a
    distribution the one version that mends it."""
    kind = one["ecosystem"]
    if kind not in NAMES:
        origin = {"ID": "debian", "Name": "Debian Security Tracker", "URL": "https://salsa.debian.org/security-tracker-team"}
        return kind.encode(), origin, {"FixedVersion": one["patched"][0]}
    name = f"{SOURCE} {NAMES[kind]}"
    address = f"https://github.com/advisories?query=type%3Areviewed+ecosystem%3A{kind}"
    versions = {"VendorIDs": one["aliases"], "VulnerableVersions": one["vulnerable"], "PatchedVersions": one["patched"]}
    return f"{kind}::{name}".encode(), {"ID": "ghsa", "Name": name, "URL": address}, versions


def build(folder: Path, *, updated_at: str = UPDATED_AT, advisories: list[dict[str, Any]] | None = None) -> None:
    """Write trivy.db and metadata.json into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    bbolt.write(folder / "trivy.db", tree(json.loads(ADVISORIES.read_text()) if advisories is None else advisories))
    metadata = {"Version": 2, "NextUpdate": NEVER, "UpdatedAt": updated_at, "DownloadedAt": updated_at}
    (folder / "metadata.json").write_text(json.dumps(metadata))


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
