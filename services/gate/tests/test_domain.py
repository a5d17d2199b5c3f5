"""The gate's pure rules: the input document, what is outstanding, which evidence counts."""

from __future__ import annotations

import json

import pytest
from gate.domain.decision import denied
from gate.domain.document import (
    UNREADABLE_AGE_SECONDS,
    Evidence,
    Question,
    build_document,
    canonical,
    findings_of_report,
    hash_of,
)
from gate.domain.waiting import asked_areas, choose_evidence, outstanding, purpose_of

NOW_MS = 1_795_250_000_000
QUESTION = Question("svc_1", "shop", "run_1", 7, "a" * 40, "sha256:1", None, "dev", "not_production", "deploy")


def document(*evidence: Evidence) -> dict:
    return build_document(QUESTION, {e.area: e for e in evidence}, now_ms=NOW_MS, waited_seconds=3)


def test_the_document_is_plain_json_and_has_every_area() -> None:
    made = document()
    assert json.loads(json.dumps(made)) == made
    assert len(made["areas"]) == 8
    assert {area["state"] for area in made["areas"].values()} == {"missing"}
    assert made["now"] == "2026-11-21T08:33:20Z"


def test_equal_documents_have_equal_hashes_whatever_the_order() -> None:
    one = document(Evidence("sca", "completed", counts={"high": 1, "low": 2}))
    other = document(Evidence("sca", "completed", counts={"low": 2, "high": 1}))
    assert hash_of(one) == hash_of(other)
    assert canonical(one) == canonical(other)
    assert hash_of(one) != hash_of(document())


@pytest.mark.parametrize(
    ("date", "age"),
    [
        (None, None),
        ("2026-11-21", 8 * 3600 + 33 * 60 + 20),
        ("2026-11-20T08:33:20+00:00", 86400),
        ("2027-01-01", 0),
        ("last week", UNREADABLE_AGE_SECONDS),
    ],
)
def test_the_age_of_data(date: str | None, age: int | None) -> None:
    """A date of the future is no negative age, and one that cannot be read is not fresh."""
    assert document(Evidence("sca", "completed", data_date=date))["areas"]["sca"]["data_age_seconds"] == age


def test_findings_that_did_not_come_along_are_counted() -> None:
    high = {"id": "1", "severity": "high"}
    told = Evidence("image", "completed", counts={"high": 3, "low": 1}, findings=[high], findings_total=4)
    assert document(told)["areas"]["image"]["unlisted"] == {"high": 2, "low": 1}


def test_what_no_count_explains_is_taken_for_critical() -> None:
    told = Evidence("image", "completed", findings=[], findings_total=2)
    assert document(told)["areas"]["image"]["unlisted"] == {"critical": 2}


def test_a_report_counts_only_when_it_is_whole() -> None:
    rows = [{"id": "1", "severity": "high", "title": "x" * 1000}, {"id": "2", "severity": "low"}]
    assert [f["id"] for f in findings_of_report({"findings": rows}, 2)] == ["1", "2"]
    assert len(findings_of_report({"findings": rows}, 2)[0]["title"]) == 300
    for report, expected in (({"findings": rows}, 3), ({}, 1), ([], 1), ({"findings": [{"id": "1"}]}, 1)):
        assert findings_of_report(report, expected) == []


def test_only_steps_of_the_plan_are_waited_for() -> None:
    assert asked_areas(["source", "sast", "build", "sca", "gate"]) == [
        "secrets", "sca", "image", "sast", "iac", "license", "sbom",
    ]  # fmt: skip
    assert asked_areas(["gate", "deploy", "operate"]) == []


def test_an_area_is_outstanding_until_it_ended_somehow() -> None:
    told = {"sast": Evidence("sast", "failed"), "secrets": Evidence("secrets", "running")}
    assert outstanding(["sast"], told) == ["secrets", "iac"]


def test_a_failed_scan_does_not_hide_what_an_earlier_one_read() -> None:
    old, failed = Evidence("sca", "completed", scan="old"), Evidence("sca", "failed", scan="new")
    newer = Evidence("sca", "partial", scan="newer")
    assert choose_evidence([(old, 1), (failed, 2)])["sca"].scan == "old"
    assert choose_evidence([(old, 1), (newer, 2), (failed, 3)])["sca"].scan == "newer"
    assert choose_evidence([(failed, 1)])["sca"].scan == "new"


def test_only_a_rollback_is_judged_as_one() -> None:
    assert [purpose_of(c) for c in ("build", "manual", "promotion", "rollback")] == ["deploy"] * 3 + ["rollback"]


def test_a_deny_names_subject_target_and_cause() -> None:
    decision = denied(document(), "policy.timeout", "the policy did not answer within 10 s", "Look at the policy.")
    assert decision.verdict == "block"
    assert decision.sentence == "shop at aaaaaaa may not go to dev: the policy did not answer within 10 s."
    assert decision.reasons[0].area == "other"
