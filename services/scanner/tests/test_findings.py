"""What a finding is, and when two are the same."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scanner.domain.evidence import Proof, judged, worst_state
from scanner.domain.findings import (
    Finding,
    canonical,
    counts,
    fingerprint,
    identified,
    preview_of,
    purl_base,
    secret_identity,
    severity_of,
)
from scanner.domain.masking import HIDDEN, hide_all_values, hide_known, hide_named_values
from scanner.domain.report import MOST_BYTES, MOST_LINES, lines_of, report_of
from scanner.handlers import checked
from shared.words import Area, ScanState, Severity

CODE = Finding(
    Area.SAST, "kiops.python.x", "Title", Severity.HIGH, "semgrep", path="a.py", line=10, end_line=10, scope="A/f", matched="f( x )"
)
PACKAGE = Finding(
    Area.SCA, "CVE-1", "Title", Severity.MEDIUM, "trivy", path="lib/x-1.0.dist-info/METADATA", package="x",
    purl="pkg:pypi/x@1.0", installed="1.0", ids=("CVE-1", "GHSA-1"),
)  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [
        {"line": 99, "end_line": 99},
        {"commit": "abc"},
        {"message": "other words"},
        {"title": "Another"},
        {"matched": "f(\n    x\n)"},
        {"severity": Severity.LOW},
    ],
)
def test_what_moves_or_is_said_otherwise_stays_the_same_finding(change: dict[str, object]) -> None:
    assert fingerprint(replace(CODE, **change)) == fingerprint(CODE)  # type: ignore[arg-type]


@pytest.mark.parametrize("change", [{"path": "b.py"}, {"scope": "A/g"}, {"matched": "f(y)"}, {"rule": "other"}])
def test_what_is_elsewhere_or_other_is_another_finding(change: dict[str, object]) -> None:
    assert fingerprint(replace(CODE, **change)) != fingerprint(CODE)  # type: ignore[arg-type]


def test_equal_places_are_told_apart_by_their_order() -> None:
    twice = identified([replace(CODE, line=20, end_line=20), CODE])
    again = identified([replace(CODE, line=120, end_line=120), replace(CODE, line=110, end_line=110)])
    assert len({finding.id for finding in twice}) == 2 and [f.id for f in twice] == [f.id for f in again]


def test_a_vulnerability_is_known_by_any_of_its_names_and_every_version() -> None:
    other = replace(
        PACKAGE, ids=("GHSA-1", "CVE-1"), installed="1.1", purl="pkg:pypi/X@1.1?y=1", path="lib/x-1.1.dist-info/METADATA"
    )
    assert fingerprint(other) == fingerprint(PACKAGE)
    (joined,) = identified([PACKAGE, replace(other, severity=Severity.HIGH)])
    assert (joined.installed, joined.severity) == ("1.0, 1.1", Severity.HIGH)
    assert canonical(["GHSA-2", "CVE-9", "PYSEC-1"]) == "CVE-9" and canonical([]) == ""
    assert purl_base("pkg:npm/%40scope/name@1.2?arch=x") == "pkg:npm/%40scope/name"
    assert purl_base("pkg:deb/debian/zlib1g") == "pkg:deb/debian/zlib1g"


def test_one_weakness_at_one_place_is_one_group() -> None:
    found = identified(
        [
            replace(CODE, cwe=("CWE-89",)),
            replace(CODE, rule="other", cwe=("CWE-89", "CWE-20")),
            replace(CODE, rule="third", cwe=("CWE-1",)),
        ]
    )
    assert len({finding.group for finding in found}) == 2


def test_the_worst_come_first_and_are_counted() -> None:
    found = identified([replace(CODE, rule=str(s), severity=s) for s in (Severity.LOW, Severity.CRITICAL, Severity.INFO)])
    assert [finding.severity for finding in found] == [Severity.CRITICAL, Severity.LOW, Severity.INFO]
    assert counts(found) == {"critical": 1, "low": 1, "info": 1}


@pytest.mark.parametrize(
    ("native", "ours"),
    [("CRITICAL", "critical"), ("ERROR", "high"), ("moderate", "medium"), ("UNKNOWN", "info"), ("nonsense", "medium")],
)
def test_severities_of_engines_in_our_scale(native: str, ours: str) -> None:
    assert severity_of(native) == ours


def test_a_secret_is_recognised_and_not_told() -> None:
    secret = "abcd" + "efghijklmnop"
    assert secret_identity(secret, b"1" * 32) == secret_identity(secret, b"1" * 32) != secret_identity(secret, b"2" * 32)
    assert preview_of(secret) == "abcd…" and preview_of("short") == "…" and preview_of("ab\ncdefghijklmnopqrst") == "…"


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ('password = "swordfish"', f"password = {HIDDEN}"),
        ("token = os.environ['T']", "token = os.environ['T']"),
        ("api_key=ab12cd34!", f"api_key={HIDDEN}"),
        ("name = 'shop'", "name = 'shop'"),
    ],
)
def test_values_given_to_secret_names_are_hidden(line: str, shown: str) -> None:
    assert hide_named_values(line) == shown


def test_in_findings_about_secrets_all_values_are_hidden() -> None:
    assert hide_all_values("ENV DB=swordfish9") == f"ENV DB={HIDDEN}"
    assert hide_all_values("login('ada', \"swordfish\")") == f"login('{HIDDEN}', \"{HIDDEN}\")"
    assert hide_known("a swordfish b", ("swordfish",)) == f"a {HIDDEN} b"


@given(
    st.booleans(), st.booleans(), st.sampled_from(["", "1.0"]), st.integers(0, 3), st.lists(st.just("x was not read"), max_size=5)
)
def test_only_a_full_proof_is_completed(ended: bool, readable: bool, version: str, read: int, problems: list[str]) -> None:
    state, code, reason = judged(Proof(ended, readable, version, read, tuple(problems)))
    whole = ended and readable and version != "" and read > 0
    assert (state == ScanState.COMPLETED) == (whole and not problems)
    assert (state == ScanState.FAILED) == (not whole) == bool(code)
    assert state == ScanState.COMPLETED or reason


def test_an_area_is_as_good_as_its_worst_engine() -> None:
    good, part, bad = ScanState.COMPLETED, ScanState.PARTIAL, ScanState.FAILED
    assert [worst_state(s) for s in ([good], [good, bad], [bad, bad], [good, part])] == [good, part, bad, part]


def test_a_message_holds_at_most_200_lines_and_200_kib() -> None:
    many = [replace(CODE, id=str(n), title="t" * 5000, path="p" * 5000, commit="c" * 40) for n in range(5000)]
    lines = lines_of(many)
    assert 100 < len(lines) <= MOST_LINES
    import json

    assert len(json.dumps(lines).encode()) <= MOST_BYTES
    wide = [
        replace(one, title="ä" * 300, path="\U0001f600" * 300, package="ß" * 300, fix="ü" * 300, licence="ö" * 300) for one in many
    ]
    assert len(json.dumps(lines_of(wide), ensure_ascii=False).encode()) <= MOST_BYTES


def test_texts_that_no_database_takes_are_mended() -> None:
    from scanner.domain.evidence import AreaScan

    odd = replace(CODE, title="a\x00b\udcff", code=((1, "x\x00\udcff"),), message="\udcff")
    (line,) = lines_of([odd])
    assert line["title"] == "ab?"
    assert b"\\u0000" not in report_of(AreaScan(Area.SAST, ScanState.COMPLETED, findings=(odd,)), {}, None)


def test_more_licences_than_a_message_holds_are_not_called_complete() -> None:
    from scanner.domain.evidence import AreaScan

    findings = tuple(replace(CODE, area=Area.LICENSE, id=str(n)) for n in range(201))
    assert checked(AreaScan(Area.LICENSE, ScanState.COMPLETED, findings=findings)).state == ScanState.PARTIAL
    assert checked(AreaScan(Area.LICENSE, ScanState.COMPLETED, findings=findings[:200])).state == ScanState.COMPLETED
