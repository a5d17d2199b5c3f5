"""The timeline explains time: its critical bars follow each other without gap or overlap and add up to the wall time."""

from __future__ import annotations

from dataclasses import replace

from gateway.domain.timeline import Timeline, Wait, Work, compare, timeline
from hypothesis import given
from hypothesis import strategies as st

S = 1000


def critical(line: Timeline) -> list[tuple[str, str, int]]:
    return [(each.kind, each.step, each.counts_ms) for each in line.segments if each.critical]


def adds_up(line: Timeline) -> None:
    bars = sorted((each for each in line.segments if each.critical), key=lambda each: (each.started_ms, each.ended_ms))
    assert sum(each.counts_ms for each in bars) == line.wall_ms == line.worked_ms + line.waited_ms
    cursor = line.began_ms
    for bar in bars:
        assert bar.started_ms == cursor, "a gap or an overlap"
        assert bar.ended_ms - bar.started_ms == bar.counts_ms >= 0
        cursor = bar.ended_ms
    assert cursor == line.ended_ms
    assert all(each.counts_ms == 0 for each in line.segments if not each.critical)


PUSH = [
    Work("source", "", "success", 2 * S, 3 * S),
    Work("sast", "", "success", 1 * S, 5 * S),
    Work("build", "", "success", 3 * S, 8 * S),
    Work("sca", "", "success", 9 * S, 12 * S),
    Work("gate", "dev", "success", 12 * S, 12 * S + 40),
    Work("deploy", "dev", "success", 13 * S, 15 * S),
    Work("operate", "dev", "success", 15 * S, 25 * S),
]


def test_the_path_goes_back_from_the_last_step_over_what_each_had_to_wait_for() -> None:
    """SAST ran beside the build and decided nothing."""
    told = [Wait("source", "", 0, 2 * S, "for a build slot: shop-web #239 is ahead")]
    line = timeline(0, 25 * S, 99 * S, PUSH, told, deployed_ms=15 * S)
    adds_up(line)
    assert critical(line) == [
        ("wait", "source", 2 * S),
        ("work", "source", 1 * S),
        ("work", "build", 5 * S),
        ("wait", "sca", 1 * S),
        ("work", "sca", 3 * S),
        ("work", "gate", 40),
        ("wait", "deploy", 960),
        ("work", "deploy", 2 * S),
        ("work", "operate", 10 * S),
    ]
    assert [each.step for each in line.segments if not each.critical] == ["sast"]
    assert line.segments[0].text == "for a build slot: shop-web #239 is ahead"
    assert line.deployed_after_ms == 15 * S and not line.live


def test_a_slow_source_scan_takes_the_path_over_from_the_build() -> None:
    slow = [replace(work, ended_ms=12 * S - 10) if work.step == "sast" else work for work in PUSH]
    slow = [replace(work, ended_ms=11 * S) if work.step == "sca" else work for work in slow]
    line = timeline(0, 25 * S, 99 * S, slow)
    adds_up(line)
    assert [step for kind, step, _ in critical(line) if kind == "work"] == ["sast", "gate", "deploy", "operate"]


def test_a_live_run_ends_now_and_says_what_it_waits_for() -> None:
    line = timeline(0, None, 10 * S, PUSH[:3], waiting="for the scanner")
    adds_up(line)
    assert line.live and line.ended_ms == 10 * S
    assert line.segments[-1].kind == "wait" and line.segments[-1].text == "for the scanner"
    running = timeline(0, None, 6 * S, [*PUSH[:2], Work("build", "", "running", 3 * S, None)])
    adds_up(running)
    assert running.segments[-1].step == "build" and running.segments[-1].counts_ms == 3 * S


def test_a_run_in_which_nothing_began_is_one_wait() -> None:
    line = timeline(5, None, 905, [], waiting="for the builder")
    adds_up(line)
    assert critical(line) == [("wait", "", 900)] and line.segments[0].text == "for the builder"


def test_compared_with_the_median_of_the_runs_before() -> None:
    lines = [
        timeline(0, (20 + n) * S, 99 * S, [Work("build", "", "success", n * S, (20 + n) * S)], deployed_ms=(20 + n) * S)
        for n in range(1, 6)
    ]
    line = compare(lines[4], lines[:3])
    assert line.compared_with == 3
    assert {each.kind: each.median_ms for each in line.segments} == {"wait": 2 * S, "work": 20 * S}
    assert (line.median_wall_ms, line.median_waited_ms, line.median_deployed_after_ms) == (22 * S, 2 * S, 22 * S)
    assert compare(lines[0], []) == lines[0]


def test_the_facts_own_duration_is_shown_where_there_is_one() -> None:
    line = timeline(0, 10 * S, 99 * S, [Work("build", "", "success", 1 * S, 10 * S, took_ms=8_500)])
    assert line.segments[-1].took_ms == 8_500 and line.segments[-1].counts_ms == 9 * S


@st.composite
def works(draw: st.DrawFn) -> list[Work]:
    """Any times at all: skewed, beyond the run's end, missing."""
    found = []
    for step in draw(st.lists(st.sampled_from([work.step for work in PUSH] + ["dast", "other"]), unique=True)):
        for environment in draw(st.sampled_from([[""], ["dev"], ["dev", "prod"]])):
            start = draw(st.integers(-5_000, 40_000))
            end = draw(st.none() | st.integers(-5_000, 60_000))
            found.append(Work(step, environment, "success", start, end, draw(st.none() | st.integers(0, 9_000))))
    return found


@given(works(), st.integers(0, 30_000), st.none() | st.integers(-100, 30_000), st.integers(0, 50_000))
def test_whatever_the_times_are_it_adds_up(found: list[Work], born: int, finished: int | None, now: int) -> None:
    line = timeline(born, finished, now, found)
    adds_up(line)
    assert sum(each.kind == "work" for each in line.segments) == len(found)
