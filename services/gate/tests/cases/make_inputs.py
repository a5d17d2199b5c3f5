"""Writes inputs.jsonl: eight areas x six evidence states x both kinds of environment, and what lies beside the table.

Only inputs are made here. Answers are written by hand in by_hand.json, from the default policy's two tables.

    python services/gate/tests/cases/make_inputs.py
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gate.domain.decision import AREAS
from gate.domain.document import Evidence, Question, build_document

NOW_MS = 1_795_250_000_000  # 2026-11-21T08:33:20Z
DAY_MS = 86_400_000
KINDS = {"not_production": "dev", "production": "production"}
COMMIT = "4be07d2f9a1c3e5b7d9f0a2c4e6b8d0f1a3c5e7b"


def finding(rule: str, severity: str, **more: Any) -> dict[str, Any]:
    return {"id": f"fnd-{rule.lower()}", "rule": rule, "severity": severity, "title": rule.replace("-", " "), **more}


FRESH: dict[str, list[dict[str, Any]]] = {
    "secrets": [finding("object-store-key", "critical", title="An object store key", path="export.env", line=4, commit=COMMIT)],
    "sca": [finding("CVE-2023-43804", "high", package="urllib3", installed="2.0.3", fix="2.0.6")],
    "image": [finding("CVE-2026-1000", "critical", package="libssl3", installed="3.0.9")],
    "sast": [finding("sql-from-input", "high", title="SQL made from input", path="shop.py", line=12, confidence="high")],
    "iac": [finding("runs-as-root", "high", title="The container runs as root", path="Dockerfile", line=1)],
    "license": [finding("licence", "low", package="left-pad", installed="1.0", licence="")],
    "sbom": [],
    "dast": [finding("reflected-input", "critical", title="Input comes back as script", path="/search")],
}


def clean(area: str, **changes: Any) -> Evidence:
    date = "2026-11-20" if area in ("sca", "image") else None
    values = {"state": "completed", "scan": f"scn-{area}", "finished_at_ms": NOW_MS - 600_000, "data_date": date, **changes}
    return Evidence(area, **values)


def with_findings(area: str, findings: list[dict[str, Any]], **changes: Any) -> Evidence:
    counts: dict[str, int] = {}
    for found in findings:
        counts[found["severity"]] = counts.get(found["severity"], 0) + 1
    values = {"counts": counts, "findings_total": len(findings), **changes}
    return clean(area, findings=findings, **values)


def case(name: str, kind: str, *changed: Evidence, waited: int = 30, **question: Any) -> dict[str, Any]:
    asked = {
        "service": "svc_1",
        "service_name": "shop-api",
        "run": "run_1",
        "number": 412,
        "commit": COMMIT,
        "image_id": "sha256:c90b12f7",
        "digest": None,
        "environment": KINDS[kind],
        "environment_kind": kind,
        "purpose": "deploy",
        "tested": True,
        **question,
    }
    evidence = {area: clean(area) for area in AREAS} | {e.area: e for e in changed}
    document = build_document(Question(**asked), evidence, now_ms=NOW_MS, waited_seconds=waited)
    return {"name": name, "input": document}


def table() -> Iterator[dict[str, Any]]:
    """The 96 of the table."""
    for area in AREAS:
        for kind in KINDS:
            yield case(f"{area} fresh {kind}", kind, with_findings(area, FRESH[area]))
            yield case(f"{area} stale {kind}", kind, clean(area, finished_at_ms=NOW_MS - 9 * DAY_MS))
            yield case(f"{area} missing {kind}", kind, Evidence(area))
            yield case(f"{area} running {kind}", kind, Evidence(area, "running", scan="scn-1"), waited=601)
            yield case(f"{area} failed {kind}", kind, Evidence(area, "failed", reason="the engine ended with code 137"))
            yield case(f"{area} not_applicable {kind}", kind, Evidence(area, "not_applicable", reason="nothing of that kind here"))


def beside() -> Iterator[dict[str, Any]]:
    """What the table does not show."""
    for area in ("sast", "image"):
        for kind in KINDS:
            yield case(f"{area} partial {kind}", kind, clean(area, state="partial", reason="3 of 9 files were not read"))
    for area in ("sca", "image"):
        for kind in KINDS:
            yield case(f"{area} no_data {kind}", kind, clean(area, state="no_data", data_date=None))
    for area in ("sca", "dast", "secrets"):
        for kind in KINDS:
            yield case(f"{area} 31 days {kind}", kind, clean(area, finished_at_ms=NOW_MS - 31 * DAY_MS))
    yield case("everything clean production", "production")
    yield case("everything clean not_production", "not_production")
    yield case("data of 9 days production", "production", clean("sca", data_date="2026-11-12"))
    yield case("data of 40 days production", "production", clean("sca", data_date="2026-10-12"))
    yield case("image running not waited out production", "production", Evidence("image", "running"), waited=20)
    yield case("dast before the first test deploy production", "production", Evidence("dast"), tested=False)
    yield case("dast before the first test deploy not_production", "not_production", Evidence("dast"), tested=False)
    critical = finding("CVE-2026-2000", "critical", package="openssl", installed="3.0.1", fix="3.0.15")
    yield case("critical with a fix not_production", "not_production", with_findings("sca", [critical]))
    unsure = finding("maybe-sql", "critical", path="shop.py", line=3, confidence="low")
    yield case("unsure critical in code production", "production", with_findings("sast", [unsure]))
    medium = finding("weak-hash", "medium", path="shop.py", line=9)
    yield case("medium in code production", "production", with_findings("sast", [medium]))
    low = finding("CVE-2026-3000", "medium", package="zlib", installed="1.2", fix="1.3")
    yield case("medium in a package production", "production", with_findings("sca", [low]))
    triaged = [FRESH["secrets"][0] | {"triage": "revoked"}]
    yield case("revoked secret production", "production", with_findings("secrets", triaged))
    misconfigured = finding("privileged", "critical", path="compose.yaml", line=8)
    yield case("critical configuration not_production", "not_production", with_findings("iac", [misconfigured]))
    many = [finding(f"CVE-2026-{4000 + n}", "high", package=f"lib{n}", installed="1") for n in range(12)]
    yield case("twelve of one rule production", "production", with_findings("image", many, counts={"high": 12}))
    yield case(
        "more than came along production",
        "production",
        with_findings("image", many, counts={"high": 40}, findings_total=40),
    )
    yield case(
        "two areas block, one warns production",
        "production",
        with_findings("secrets", FRESH["secrets"]),
        with_findings("sca", FRESH["sca"]),
        Evidence("dast"),
    )
    back = {"purpose": "rollback", "served_before": True}
    stale = {"finished_at_ms": NOW_MS - 90 * DAY_MS}
    yield case("rollback with old evidence production", "production", *(clean(a, **stale) for a in AREAS), **back)
    yield case("rollback with no evidence production", "production", *(Evidence(a) for a in AREAS), **back)
    yield case("rollback, new critical production", "production", with_findings("sca", [critical]), **back)
    yield case(
        "rollback to what never served production",
        "production",
        with_findings("sca", [critical]),
        Evidence("dast"),
        purpose="rollback",
    )
    yield case(
        "for information, a secret",
        "not_production",
        with_findings("secrets", FRESH["secrets"]),
        purpose="information",
        environment="",
    )
    yield case("a kind nobody knows", "production", Evidence("license"), environment_kind="other", environment="edge")


def main() -> None:
    rows = [*table(), *beside()]
    assert len({row["name"] for row in rows}) == len(rows)
    out = Path(__file__).with_name("inputs.jsonl")
    out.write_text("".join(json.dumps(row, sort_keys=True, separators=(",", ":")) + "\n" for row in rows))
    print(f"{len(rows)} inputs")


if __name__ == "__main__":
    main()
