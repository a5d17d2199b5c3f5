"""Which refs a rule names."""

from __future__ import annotations

import pytest
from webhook.domain.rules import Rule, wrong_pattern


@pytest.mark.parametrize(
    ("patterns", "branch", "matched"),
    [
        (("main",), "main", "main"),
        (("main",), "maintenance", None),
        (("main",), "Main", None),
        (("release/*",), "release/1.2", "release/*"),
        (("*",), "feature/login/form", "*"),
        (("feature/*",), "feature/ünïcödé/名", "feature/*"),
        (("v?",), "v1", "v?"),
        (("v?",), "v12", None),
        (("[ab]-*",), "b-7", "[ab]-*"),
        (("dev", "ma*"), "main", "ma*"),
        ((), "main", None),
    ],
)
def test_branch_patterns_are_globs_over_whole_names(patterns: tuple[str, ...], branch: str, matched: str | None) -> None:
    assert Rule(branches=patterns).match(branch=branch) == matched


def test_a_tag_needs_a_tag_pattern() -> None:
    rule = Rule(branches=("*",), tags=("v*",))
    assert rule.match(tag="v1.0") == "v*"
    assert rule.match(tag="nightly") is None
    assert Rule(branches=("*",)).match(tag="v1.0") is None


def test_the_reason_names_what_the_rule_names() -> None:
    rule = Rule(branches=("main", "release/*"))
    assert rule.why_not(branch="topic") == "the rule does not name branch topic; it names main, release/*"
    assert rule.why_not(tag="v1") == "the rule does not name tag v1; it names no tags at all"


def test_a_pattern_made_to_be_slow_is_not() -> None:
    assert Rule(branches=("*a" * 60 + "b",)).match(branch="a" * 900) is None


@pytest.mark.parametrize("pattern", ["", " ", "a b", "x" * 201, "line\nbreak", "nul\x00"])
def test_what_is_no_pattern_is_refused(pattern: str) -> None:
    assert wrong_pattern([pattern])


def test_patterns_are_counted() -> None:
    assert wrong_pattern(["main"] * 100) is None
    assert wrong_pattern(["main"] * 101)
