"""The deployer's pure rules: the queue, the way back, what differs."""

from __future__ import annotations

from dataclasses import replace

import pytest
from deployer.domain.history import Past, gone_behind, one_back
from deployer.domain.queue import Hold, Waiting, held_commits, lifts, refused, turn
from deployer.domain.releases import Content, came_back, changes, diff
from hypothesis import given
from hypothesis import strategies as st

ONE = Content("shop:1", "sha256:1", 8080, "/", True, 60, {"GREETING": "Hello", "OLD": "1"})
TWO = replace(ONE, image="shop:2", image_id="sha256:2", variables={"GREETING": "Hi", "NEW": "2"})


# -- the queue ---------------------------------------------------------------------------------------------------------
def waiting(*states: str) -> list[Waiting]:
    return [Waiting(f"req_{n}", n, state, n) for n, state in enumerate(states, 1)]


@pytest.mark.parametrize(
    ("states", "due"),
    [
        ((), None),
        (("asked",), None),
        (("allowed",), "req_1"),
        (("asked", "allowed"), None),
        (("allowed", "asked"), "req_1"),
        (("allowed", "allowed"), "req_1"),
        (("cancelled", "allowed"), "req_2"),
        (("blocked", "ready", "failed", "allowed"), "req_4"),
        (("placing", "allowed"), None),
        (("allowed", "placing"), None),
        (("checking", "allowed"), None),
    ],
)
def test_whose_turn_it_is(states: tuple[str, ...], due: str | None) -> None:
    """The oldest run first, nobody beside a switch, nobody past an undecided head."""
    found = turn(waiting(*states))
    assert (found.id if found else None) == due


@given(
    st.lists(st.tuples(st.sampled_from(["asked", "allowed", "cancelled", "ready"]), st.integers(1, 50)), unique_by=lambda x: x[1])
)
def test_the_turn_is_always_that_of_the_oldest_open_run(rows: list[tuple[str, int]]) -> None:
    requests = [Waiting(str(n), n, state) for state, n in rows]
    found = turn(requests)
    open_numbers = [r.number for r in requests if r.state in ("asked", "allowed")]
    if found is not None:
        assert found.number == min(open_numbers)
        assert found.state == "allowed"
    elif open_numbers:
        assert min(requests, key=lambda r: r.number if r.number in open_numbers else 99).state == "asked"


HOLD = Hold(9, ("c3", "c2"))


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"number": 10, "commit": "c4"}, None),
        ({"number": 10, "commit": "c3"}, "this commit was rolled back"),
        ({"number": 8, "commit": "c4"}, "older than the rollback of run #9"),
        ({"number": 10, "commit": "c3", "trigger": "manual"}, None),
        ({"number": 10, "commit": "c3", "trigger": "scheduled"}, "this commit was rolled back"),
        ({"number": 8, "commit": "c3", "cause": "rollback"}, None),
        ({"number": 10, "commit": "c4", "newest_placed": 11}, "run #11 is newer"),
    ],
)
def test_after_a_rollback_only_newer_commits_go_on_by_themselves(values: dict, why: str | None) -> None:
    told = refused(**{"cause": "build", "trigger": "webhook", "newest_placed": 9, "hold": HOLD, **values})
    assert (told is None) if why is None else (told is not None and why in told)


def test_a_newer_commit_or_a_person_lifts_the_hold() -> None:
    assert lifts(HOLD, number=10, commit="c4", by_hand=False)
    assert lifts(HOLD, number=10, commit="c3", by_hand=True)
    assert not lifts(HOLD, number=10, commit="c3", by_hand=False)
    assert not lifts(None, number=10, commit="c4", by_hand=True)
    assert held_commits(["b", "", "a", "b"]) == ("b", "a")


# -- the way back ------------------------------------------------------------------------------------------------------
def past(*rows: tuple[int, str | None, int | None]) -> dict[str, Past]:
    """Rows of (number, what served before, origin's number where it is another)."""
    return {f"r{n}": Past(f"r{n}", n, f"r{origin or n}", before, f"c{origin or n}") for n, before, origin in rows}


def test_instant_rollback_goes_one_further_back_each_time_and_never_forward() -> None:
    history = past((1, None, None), (2, "r1", None), (3, "r2", None))
    assert one_back("r3", history) == "r2"
    history |= past((4, "r3", 2))
    assert one_back("r4", history) == "r1"
    history |= past((5, "r4", 1))
    assert one_back("r5", history) is None


def test_after_a_new_deploy_it_goes_to_what_served_before_that() -> None:
    """Release 3 was rolled back to 1, then 5 came: the way back from 5 is 1, not the 3 that nobody wanted."""
    history = past((1, None, None), (2, "r1", None), (3, "r2", None), (4, "r3", 1), (5, "r4", None))
    assert one_back("r5", history) == "r1"


def test_a_release_that_never_served_is_not_gone_back_to() -> None:
    """Release 2 failed, so 3 was planned while 1 served."""
    assert one_back("r3", past((1, None, None), (2, "r1", None), (3, "r1", None))) == "r1"


@pytest.mark.parametrize("current", [None, "unknown", "r1"])
def test_there_may_be_nothing_before(current: str | None) -> None:
    assert one_back(current, past((1, None, None))) is None


@given(st.lists(st.booleans(), max_size=30))
def test_pressing_again_always_comes_to_an_end(presses: list[bool]) -> None:
    """Whatever mixture of deploys and rollbacks: each rollback goes to a smaller number than the content that runs."""
    history: dict[str, Past] = {}
    current: str | None = None
    for number, back in enumerate(presses, 1):
        target = one_back(current, history) if back else None
        if back and target is None:
            continue
        if target is not None:
            assert history[target].number < history[history[current].origin].number  # type: ignore[index]
        origin = target or f"r{number}"
        history[f"r{number}"] = Past(f"r{number}", number, origin, current, "")
        current = f"r{number}"


def test_what_a_rollback_goes_behind() -> None:
    history = past((1, None, None), (2, "r1", None), (3, "r2", None), (4, "r3", 1))
    assert gone_behind("r1", history) == ["c2", "c3"]
    assert gone_behind("r4", history) == ["c2", "c3"]
    assert gone_behind("r3", history) == []
    assert gone_behind("unknown", history) == []


# -- what differs ------------------------------------------------------------------------------------------------------
def test_changes_in_words() -> None:
    assert changes(None, ONE) == ["first release here", "image shop:1"]
    assert changes(ONE, ONE) == ["nothing: the same image and configuration again"]
    assert changes(ONE, replace(TWO, container_port=9090)) == [
        "image shop:1 -> shop:2",
        "variable GREETING changed",
        "variable NEW added",
        "variable OLD removed",
        "container port 8080 -> 9090",
    ]


def test_a_preview_as_lines_of_a_diff() -> None:
    assert diff(TWO, ONE) == [
        "- image shop:2",
        "+ image shop:1",
        "- variable GREETING=Hi",
        "+ variable GREETING=Hello",
        "- variable NEW=2",
        "+ variable OLD=1",
        "  container port 8080",
        "  health path /",
        "  entry port its own",
    ]
    assert [line for line in diff(ONE, ONE) if not line.startswith("  ")] == []
    assert all(line.startswith("+ ") for line in diff(None, ONE))


def test_what_came_back_in_words() -> None:
    assert came_back(TWO, ONE) == ["image shop:1", "3 variables: GREETING, NEW, OLD"]
    assert came_back(ONE, replace(ONE, variables={**ONE.variables, "GREETING": "Hi"})) == ["1 variable: GREETING"]
    assert came_back(ONE, ONE) == ["nothing differs"]
    assert came_back(None, ONE) == ["image shop:1"]
