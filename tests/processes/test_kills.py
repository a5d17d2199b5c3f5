"""Seven service processes, nats-server and PostgreSQL, each killed with -9, while pushes arrive.

Nothing is lost, doubled, stuck, left over or out of order. What is done and how it is judged: `kiops.chaos`.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from shared.testing.nats import NatsServer
from shared.testing.parts import Parts
from shared.testing.postgres import Postgres, PostgresMissing

from kiops.chaos.blows import chaos
from kiops.chaos.city import City
from kiops.chaos.judge import Outcome, judge
from kiops.chaos.stamps import Effect, Stamps


@pytest.mark.timeout(1800)
async def test_pushes_survive_kills_of_everything(tmp_path: Path, parts: Parts) -> None:
    """On PostgreSQL, which is killed too: 30 kills, 1,500 pushes to 40 services."""
    try:
        postgres = Postgres.create()  # of this test's own: it is killed
    except PostgresMissing as problem:
        parts.absent("PostgreSQL", str(problem))
    try:
        outcome, city = await chaos(tmp_path, kills=30, pushes=1500, services=40, postgres=postgres, say=print)
    finally:
        postgres.remove()
    judged(outcome, city, pushes=1500, kills=30)


async def test_pushes_survive_kills_on_sqlite(tmp_path: Path, nats: NatsServer) -> None:
    """The same on SQLite files, shorter."""
    nats.stop()  # only that it is there; the platform has one of its own
    outcome, city = await chaos(tmp_path / "platform", kills=9, pushes=200, services=10, say=print)
    judged(outcome, city, pushes=200, kills=9)


def judged(outcome: Outcome, city: City, *, pushes: int, kills: int) -> None:
    assert outcome.well, outcome.wrong
    assert (outcome.acked, outcome.runs, outcome.kills) == (pushes, pushes, kills), outcome.figures()
    assert outcome.succeeded >= 0.98 * pushes, outcome.wrong
    assert set(city.kills) == set(city.victims)
    assert city.kills_at_work >= kills // 3, "the kills came while nothing was at work"


# -- the judge ---------------------------------------------------------------------------------------------------------
def run_of(service: str, number: int, state: str = "success", commit: str = "") -> dict:
    return {
        "id": f"run_{service}_{number}",
        "service_name": service,
        "number": number,
        "state": state,
        "commit": commit or f"{number}",
    }


def effects_of(*rows: tuple[str, int, list[int], int]) -> dict:
    """(run, number of the line of its deploy's end, tokens of the deploy) with every other effect done once."""
    found = {}
    for run, _, tokens, line in rows:
        for what in ("build", "scan-source", "scan-image"):
            found[what, run] = Effect([1], 0)
        found["deploy", run] = Effect(tokens, line)
    return found


def test_the_judge_sees_what_is_wrong() -> None:
    acked = {str(number): ("shop", number) for number in (1, 2, 3, 4)}
    runs = [run_of("shop", 1), run_of("shop", 2), run_of("shop", 3, "running"), run_of("shop", 9, commit="unknown")]
    effects = effects_of(
        ("run_shop_1", 1, [1], 50), ("run_shop_2", 2, [1, 1], 40), ("run_shop_9", 9, [1], 60), ("run_gone_1", 1, [1], 70)
    )
    outcome = judge(acked, runs, effects)
    assert outcome.figures() == {
        "acked": 4, "runs": 4, "kills": 0, "succeeded": 3, "lost": 1, "doubled": 6, "out_of_order": 1, "stuck": 1, "leftovers": 0,
    }  # fmt: skip
    assert not outcome.well
    del effects["deploy", "run_shop_1"]
    assert judge(acked, runs, effects).lost == 2


def test_a_newer_attempt_may_follow_an_older_and_not_the_other_way_round() -> None:
    acked = {"1": ("shop", 1)}
    assert judge(acked, [run_of("shop", 1)], effects_of(("run_shop_1", 1, [1, 2, 5], 9))).well
    assert judge(acked, [run_of("shop", 1)], effects_of(("run_shop_1", 1, [2, 1], 9))).doubled == 1


def test_stamps_are_read_as_they_grow(tmp_path: Path) -> None:
    stamps = Stamps(tmp_path / "stamps")
    with stamps.file.open("a") as file:
        file.write("begin deploy run_1 1 1\nend dep")
        file.flush()
        assert stamps.at_work()  # process 1 lives
        file.write("loy run_1 1 1\nbegin deploy run_2 1 4194305\n")
        file.flush()
        assert not stamps.at_work()  # there is no process of this number
    assert stamps.placed == 1
    assert stamps.effects["deploy", "run_1"] == Effect([1], 2)
