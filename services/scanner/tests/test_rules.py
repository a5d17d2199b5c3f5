"""Each of our rules fires on its positive and on nothing in its negative, which is the same file mended."""

from __future__ import annotations

import asyncio
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from scanner.scanners import semgrep as engine
from scanner.scanners.program import Program
from scanner.scanners.targets import prepare
from shared.words import Area, ScanState

EXAMPLES = Path(__file__).parent / "rules"
ENDING = {"python": "py", "dockerfile": "dockerfile"}


def rules(kind: str) -> list[str]:
    """The names of all rules of a kind, from the rule files."""
    text = "".join(file.read_text() for file in sorted((engine.RULES / kind).glob("*.yaml")))
    return re.findall(rf"(?m)^\s*- id: kiops\.{kind}\.(\S+)$", text)


CASES = [(kind, rule) for kind in ENDING for rule in rules(kind)]


@pytest.fixture(scope="module")
def found(semgrep: Program, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    """Findings by the path of the example, from one run over all of them."""
    base = tmp_path_factory.mktemp("rules")
    shutil.copytree(EXAMPLES, base / "tree")
    for path in [*base.rglob("*.py"), *base.rglob("*.dockerfile")]:
        path.write_text(path.read_text().replace("{{SECRET}}", "-".join(["correct", "horse", "9battery"])))
    targets = prepare(base / "tree", base / "shown")
    job = type("Attempt", (), {"id": "job", "token": 1, "folder": base, "mark": None})()
    parts = asyncio.run(engine.scan(semgrep, targets, job=job, home=base))
    assert {area: part.state for area, part in parts.items()} == {
        Area.SAST: ScanState.COMPLETED,
        Area.IAC: ScanState.COMPLETED,
    }, [part.engine.problem for part in parts.values()]
    by_path: dict[str, list[Any]] = {}
    for part in parts.values():
        for finding in part.findings:
            by_path.setdefault(finding.path, []).append(finding)
    return by_path


def test_there_are_enough_rules_and_all_have_examples() -> None:
    assert len(rules("python")) >= 8 and len(rules("dockerfile")) >= 5
    for kind in ENDING:
        assert sorted(path.name for path in (EXAMPLES / kind).iterdir()) == sorted(rules(kind))
    assert engine.rule_count(Area.SAST) == len(rules("python"))
    assert engine.rule_count(Area.IAC) == len(rules("dockerfile"))


@pytest.mark.parametrize(("kind", "rule"), CASES)
def test_a_rule_fires_on_its_positive(kind: str, rule: str, found: dict[str, list[Any]]) -> None:
    path = f"{kind}/{rule}/positive.{ENDING[kind]}"
    lines = [line for line in (EXAMPLES / path).read_text().splitlines() if line.strip()]
    assert len(lines) >= 15
    mine = [finding for finding in found.get(path, []) if finding.rule == f"kiops.{kind}.{rule}"]
    assert len(mine) == 1
    finding = mine[0]
    assert finding.cwe and all(re.fullmatch(r"CWE-\d+", name) for name in finding.cwe)
    assert finding.confidence in ("high", "medium", "low")
    assert len(finding.advice) > 20 and finding.message and finding.weakness and finding.title
    assert finding.line and any(number == finding.line for number, _ in finding.code)


@pytest.mark.parametrize(("kind", "rule"), CASES)
def test_no_rule_fires_on_the_mended_form(kind: str, rule: str, found: dict[str, list[Any]]) -> None:
    assert [finding.rule for finding in found.get(f"{kind}/{rule}/negative.{ENDING[kind]}", [])] == []


def test_a_password_in_the_source_is_not_quoted(found: dict[str, list[Any]]) -> None:
    findings = found["python/hardcoded-password/positive.py"] + found["dockerfile/secret-in-layer/positive.dockerfile"]
    assert len(findings) == 2
    assert "9battery" not in repr(findings)
