# ruff: noqa: E501  (rows of data read better as one line)
"""Pure parts of the pages: timelines to scale, previews, verdicts, logs, projects."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from gateway.domain.timeline import Wait, Work, compare
from gateway.domain.timeline import timeline as reckon
from gateway.labels import State
from gateway.logs import Line
from gateway.pages import account, building, cards, deploys, findings, gate, logs, sources, timeline

BORN = 1_795_250_000_000


def run(**more: Any) -> Any:
    given = {
        "trigger": "webhook", "state": "success", "deployed_at_ms": BORN + 8_000, "finished_at_ms": BORN + 68_100, "state_text": "",
        "superseded_by_number": None, "cancelled_by": "",
    }  # fmt: skip
    return SimpleNamespace(**given | more)


def works(extra: int = 0) -> list[Work]:
    at = BORN + 300 + extra
    return [
        Work("source", "", "success", at, at + 200, text="cloned 9f3c1ab, 6 files"),
        Work("sast", "", "success", BORN + 60, BORN + 2_700),
        Work("build", "", "success", at + 200, at + 4_300, stages_ms={"analyse": 100, "build": 4_000}),
        Work("sca", "", "success", at + 4_300, at + 6_200),
        Work("gate", "production", "success", at + 6_200, at + 6_240),
        Work("deploy", "production", "success", at + 6_300, at + 7_700),
        Work("operate", "production", "success", at + 7_700, at + 67_700),
    ]


def drawn(extra: int = 0, history: int = 0, **more: Any) -> tuple[Any, Any, Any]:
    line = reckon(BORN, BORN + 68_100 + extra, BORN + 99_000, works(extra), [Wait("source", "", BORN, BORN + 300 + extra, "for a build slot")],
                  deployed_ms=BORN + 8_000 + extra)  # fmt: skip
    before = [reckon(BORN, BORN + 68_100, BORN + 99_000, works(), deployed_ms=BORN + 8_000) for _ in range(history)]
    row = run(deployed_at_ms=BORN + 8_000 + extra, finished_at_ms=BORN + 68_100 + extra, **more)
    line = compare(line, before)
    return row, line, timeline.draw(row, line, [])


def test_bars_stay_inside_and_a_long_watch_does_not_squeeze_the_road() -> None:
    _, _, picture = drawn()
    by = {r.label: r for r in picture.rows}
    assert all(r.bar and 0 <= r.bar.x <= 100 and r.bar.x + r.bar.width <= 100.5 for r in picture.rows)
    assert by["Build"].bar.width > 25, "the build is the longest part of the road"
    assert by["Operate"].took == "1 min 00 s", "the watch keeps its true length in words"
    assert by["Operate"].bar.tone == "off" and by["Build"].bar.tone == "crit" and by["SAST"].bar.tone == "off"
    assert picture.total_label == "Push to deployed" and picture.total == "8.0 s"


def test_the_critical_path_is_joined_from_row_to_row() -> None:
    _, line, picture = drawn()
    critical = [s for s in line.segments if s.critical]
    assert sum(s.counts_ms for s in critical) == line.wall_ms
    starts = [piece for r in picture.rows for piece in r.lines if piece[1:] == (22, 30)]
    ends = [piece for r in picture.rows for piece in r.lines if piece[1:] == (0, 7)]
    assert sorted(x for x, *_ in starts) == sorted(x for x, *_ in ends) and len(starts) >= 5


def test_a_slow_run_says_what_was_slow() -> None:
    row, line, picture = drawn(extra=9_000, history=20)
    say, because = timeline.told(row, line, picture, State("ok", "Deployed"))
    assert say == "Deployed 17.0 s after the push, 9.0 s slower than the median of 20."
    assert because == "It waited 9.0 s longer for a build slot."
    assert picture.total_delta == "9.0 s more" and picture.total_tone == "worse"


def test_too_few_runs_are_not_compared() -> None:
    row, line, picture = drawn(extra=9_000, history=2)
    assert picture.medians == 0 and all(r.delta == "" for r in picture.rows)
    assert timeline.told(row, line, picture, State("ok", "Deployed"))[0] == "Deployed 17.0 s after the push."


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"state": "blocked", "deployed_at_ms": None}, "Blocked by the gate 1 min 08 s after the push."),
        ({"state": "superseded", "deployed_at_ms": None, "superseded_by_number": 7}, "Superseded by #7 after 1 min 08 s."),
        ({"state": "cancelled", "deployed_at_ms": None, "cancelled_by": "ana"}, "Cancelled by ana after 1 min 08 s."),
        ({"state": "failed", "deployed_at_ms": None}, "Build failed 1 min 08 s after the push."),
    ],
)
def test_how_it_ended_in_one_sentence(more: dict[str, Any], said: str) -> None:
    line = reckon(BORN, BORN + 68_100, BORN + 99_000, works()[:3])
    row = run(**more)
    assert timeline.told(row, line, timeline.draw(row, line, []), State("bad", "Build failed"))[0] == said


def test_texts_find_their_place() -> None:
    assert timeline.placed("short", 10, 20)[1] == "right"
    assert timeline.placed("a text of thirty-three characters", 60, 90)[1] == "left"
    assert timeline.placed("a text of thirty-three characters", 5, 95)[1] == "in"
    words, where, _ = timeline.placed("a very long text " * 20, 10, 50)
    assert words.endswith("…") and where == "right"


@pytest.mark.parametrize("seconds", [3, 8, 68, 322, 4_000, 90_000, 900_000])
def test_the_axis_has_few_ticks(seconds: int) -> None:
    ticks = timeline.axis(seconds * 1000.0)
    assert ticks[0] == (0.0, "0") and 2 <= len(ticks) <= 12 and all(x < 100 for x, _ in ticks)


# ---- previews ----------------------------------------------------------------------------------------------------------
def test_a_preview_is_told_by_what_it_is_about() -> None:
    parts = deploys.diff(
        [
            "- image shop@sha256:19ab",
            "+ image shop@sha256:e40c",
            "+ variable A=1",
            "  variable B=2",
            "- health path /",
            "+ health path /ready",
        ]
    )
    assert [(p.title, p.note) for p in parts] == [
        ("Image", ""),
        ("Variables", "1 comes back, 1 stays"),
        ("Settings", "1 comes back"),
    ]
    assert parts[2].lines == (("del", "health path /"), ("add", "health path /ready"))


# ---- verdicts ----------------------------------------------------------------------------------------------------------
REASON = {
    "area": "secrets", "rule": "secrets.none", "effect": "block", "text": "a key in prices.py:4", "finding": "v1-1",
    "pass_by": "Revoke the key and take it out of the history",
}  # fmt: skip


def given(**more: Any) -> dict[str, Any]:
    return {
        "area": "secrets",
        "evidence": "fresh",
        "verdict": "pass",
        "text": "nothing found",
        "threshold": "none",
        "counts": {},
    } | more


def test_an_area_says_its_reason_once() -> None:
    row = gate.area(given(verdict="block", text="secrets.none: a key in prices.py:4", counts={"critical": 1}), [REASON], "/f")
    assert row.says == State("bad", "Blocks", "secrets.none: a key in prices.py:4") and row.evidence.why == ""
    assert row.found_href == "/f?area=secrets"
    quiet = gate.area(given(), [], "/f")
    assert quiet.says == State("ok", "Passes") and quiet.evidence.why == ""
    other = gate.area(given(area="dast", evidence="not_applicable", text="runs after the deploy"), [], "/f")
    assert other.says == State("na", "Does not count") and other.evidence.why == "runs after the deploy"


def test_not_known_is_not_none() -> None:
    """No vulnerability data is never shown as zero findings."""
    row = gate.area(given(area="sca", evidence="no_data", verdict="warn", text="sca.data: no vulnerability data"), [], "/f")
    assert row.counts is None and row.found == "not known"
    assert row.evidence.word == "No vulnerability data" and row.evidence.shape == "missing"


def test_a_way_leads_to_its_finding() -> None:
    body = {"ways": [REASON["pass_by"]], "reasons": [REASON], "verdict": "block"}
    (way,) = gate.ways(body, "/services/shop/runs/2/findings")
    more = f"{REASON['pass_by']}; renew the vulnerability data and scan again"
    first, second = gate.ways(body | {"ways": [REASON["pass_by"], more]}, "/services/shop/runs/2/findings")
    assert first == way
    assert (second.title, second.text) == ("Clear the warnings as well", "Renew the vulnerability data and scan again.")
    assert (way.label, way.href) == ("Open the finding", "/services/shop/runs/2/findings/v1-1")
    assert way.title == "Revoke the key and take it out of the history" and way.text == "A key in prices.py:4."


@pytest.mark.parametrize(
    ("verdicts", "said"),
    [
        ({"secrets": "block"}, "Secrets blocks. 2.4.0 keeps serving."),
        ({"secrets": "block", "sca": "warn"}, "Secrets blocks. SCA warns; it cannot change the verdict. 2.4.0 keeps serving."),
        (
            {"secrets": "block", "iac": "block", "sca": "warn", "image": "warn"},
            "Secrets and IaC block. SCA and Image warn; none of them can change the verdict. 2.4.0 keeps serving.",
        ),
    ],
)
def test_a_block_is_explained(verdicts: dict[str, str], said: str) -> None:
    body = {"verdict": "block", "areas": [{"area": a, "verdict": v} for a, v in verdicts.items()]}
    assert gate.explained(body, "2.4.0") == said


# ---- logs --------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("words", "tone"),
    [
        ("#12 [build 4/8] COPY src ./src", "step"), ("#12 CACHED", "dim"), ("#12 DONE 0.1s", "dim"), ("error: no such file", "err"),
        ("#9 ERROR: process exit code: 1", "err"), ("E: Unable to locate package", "err"), ("Killed", "err"),
        ("warning: 2 peer dependencies", "warnline"), ("npm WARN deprecated", ""), ("0 errors found", ""), ("errors.py", ""),
        ("Everything is fine", ""), ("", ""),
    ],
)  # fmt: skip
def test_lines_have_their_tone(words: str, tone: str) -> None:
    assert logs.tone(words) == tone


def test_stages_fold_and_the_failed_one_is_open() -> None:
    build = SimpleNamespace(state="failed", stage="build", stages_ms={"clone": 400})
    lines = [Line(i, i * 10, "clone" if i < 4 else "build", 1, f"line {i}") for i in range(1, 9)]
    folded = logs.folded(lines, build)
    assert [(f.name, f.state.shape, f.open, f.meta) for f in folded] == [
        ("Clone", "ok", False, "lines 1 to 3"), ("Build", "bad", True, "lines 4 to 8"),
    ]  # fmt: skip
    assert [f.first for f in logs.folded(lines, build, skipped=5)] == [6]


def test_a_running_build_says_how_far_it_is() -> None:
    build = SimpleNamespace(state="running", stage="", stages_ms={}, files=6, started_at_ms=BORN, number=3)
    stages = building.stages(build, [{"clone": 1000, "analyse": 500, "build": 20_000}] * 4, BORN + 10_000)
    assert [(s.name, s.tone, s.percent) for s in stages] == [("Clone", "ok", 100), ("Analyse", "ok", 100), ("Build", "run", 50)]
    assert stages[2].meta == "10.0 s, about 10 s left by the median of 4"


# ---- the rest ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("address", "project"),
    [
        ("https://gitlab.example/team/shop.git", ("team/shop", "gitlab.example", "brand-gitlab")),
        ("git@github.com:team/shop.git", ("team/shop", "github.com", "brand-github")),
        ("ssh://git@git.example:2222/shop", ("shop", "git.example", "git-branch")),
        ("/srv/git/shop.git", ("shop", "on this machine", "brand-git")),
        ("file:///srv/git/shop.git", ("shop", "on this machine", "brand-git")),
    ],
)
def test_projects_are_named_by_their_address(address: str, project: tuple[str, str, str]) -> None:
    assert cards.project_of(address) == project


@pytest.mark.parametrize(
    ("asked", "goes"),
    [
        ("/services/shop?x=1", "/services/shop?x=1"), ("//evil.example", "/dashboard"), ("https://evil.example", "/dashboard"),
        ("/\\evil.example", "/dashboard"), ("", "/dashboard"), ("/a\nb", "/dashboard"),
    ],
)  # fmt: skip
def test_sign_in_leads_only_to_pages_of_ours(asked: str, goes: str) -> None:
    assert account.inside(asked) == goes


def test_refs_lose_their_prefix() -> None:
    assert sources.text_ref("refs/heads/release/5") == "release/5" and sources.text_ref("refs/tags/v1") == "v1"


def test_references_lead_to_public_pages() -> None:
    found = findings.references({"cwe": ["CWE-89"], "ids": ["CVE-2026-1", "GHSA-x", "OTHER-1"]})
    assert found[0] == ("CWE-89", "https://cwe.mitre.org/data/definitions/89.html") and found[3] == ("OTHER-1", "")
