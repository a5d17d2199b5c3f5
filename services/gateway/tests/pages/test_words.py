# ruff: noqa: E501  (rows of data read better as one line)
"""How numbers, times and states are written."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from gateway import labels, text

from shared import words


@pytest.mark.parametrize(
    ("milliseconds", "said"),
    [
        (None, ""), (0, "0 ms"), (41, "41 ms"), (400, "0.4 s"), (38_240, "38.2 s"), (59_960, "1 min 00 s"), (112_000, "1 min 52 s"),
        (7_500_000, "2 h 05 min"), (273_600_000, "3 d 4 h"), (-5, "0 ms"),
    ],
)  # fmt: skip
def test_durations(milliseconds: float | None, said: str) -> None:
    assert text.took(milliseconds) == said


@pytest.mark.parametrize(
    ("ago_ms", "said"),
    [(900, "just now"), (40_000, "40 s ago"), (960_000, "16 min ago"), (11 * 86_400_000, "11 d ago"), (-3 * 3_600_000, "in 3 h")],
)
def test_relative_times(ago_ms: int, said: str) -> None:
    assert text.relative(1_795_250_000_000 - ago_ms, 1_795_250_000_000) == said


def test_absolute_times_are_exact() -> None:
    assert text.absolute(1_795_250_000_000) == "2026-11-21 08:33:20 UTC"
    assert text.iso(1_795_250_000_000) == "2026-11-21T08:33:20Z"


def test_names_are_short_and_lists_read_well() -> None:
    assert text.short("9f3c1ab7d20e4c55a8b6f1e0d9c8b7a6f5e4d3c2") == "9f3c1ab"
    assert text.short_digest("sha256:7d41c2e8a90b5f6e") == "sha256:7d41c2e8"
    assert text.listed(["a", "b", "c"]) == "a, b and c"
    assert text.count(1, "run") == "1 run" and text.count(1204, "run") == "1,204 runs"
    assert text.size(84_200_000) == "84 MB" and text.size(3_100_000) == "3.1 MB"
    assert text.stopped("shop-api may go to production") == "shop-api may go to production."


@pytest.mark.parametrize(
    ("table", "codes"),
    [
        (labels.SERVICE, words.ServiceState), (labels.STEP, words.StepState), (labels.EVIDENCE, words.Evidence),
        (labels.SAYS, words.Verdict), (labels.VERDICT, words.Verdict), (labels.AREA, words.Area), (labels.ENDPOINT, words.EndpointState),
        (labels.TRIGGER, words.Trigger), (labels.ENVIRONMENT_KIND, words.EnvironmentKind), (labels.STEP_NAMES, words.Step),
        (labels.PIP_WORD, words.StepState), (labels.SCAN, words.ScanState),
    ],
)  # fmt: skip
def test_every_code_has_its_word(table: dict[str, Any], codes: Any) -> None:
    assert {str(code) for code in codes if code != "other"} <= set(table)


def test_a_code_of_a_newer_writer_is_shown_as_it_is() -> None:
    assert labels.of(labels.SERVICE, "half_open") == labels.State("unknown", "Half open")


def run(**more: Any) -> Any:
    given = {"state": "success", "steps": {}, "verdict": "pass", "trigger": "webhook", "deployed_at_ms": None, "ended_step": None}
    return SimpleNamespace(**given | more)


@pytest.mark.parametrize(
    ("row", "word", "shape"),
    [
        (run(), "Passed", "ok"),
        (run(deployed_at_ms=5), "Deployed", "ok"),
        (run(deployed_at_ms=5, verdict="warn"), "Deployed, warned", "warn"),
        (run(deployed_at_ms=5, trigger="rollback"), "Rolled back", "back"),
        (run(state="failed", ended_step="build"), "Build failed", "bad"),
        (run(state="failed", ended_step="operate"), "Not healthy", "bad"),
        (run(state="failed"), "Failed", "bad"),
        (run(state="running", steps={"source": "success", "build": "running"}), "Building", "run"),
        (run(state="blocked"), "Blocked", "bad"),
        (run(state="superseded"), "Superseded", "stop"),
    ],
)
def test_a_run_is_called_by_its_outcome(row: Any, word: str, shape: str) -> None:
    assert (labels.run_state(row).word, labels.run_state(row).shape) == (word, shape)


def test_pips_say_what_they_draw() -> None:
    drawn, said = labels.pips({"source": "success", "sast": "failed", "build": "running", "gate": "waiting"})
    assert [tone for tone, _ in drawn] == ["ok", "bad", "run", "off", "off", "off", "off"]
    assert said.startswith("Source passed, SAST failed, Build running, SCA not in this run, Gate not reached")
