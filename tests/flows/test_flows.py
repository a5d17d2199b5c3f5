"""The road from push to release through all seven services, and the ways off it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from tests.flows.conftest import Town, town_of


async def test_a_push_is_built_scanned_judged_and_deployed_and_its_timeline_adds_up(town: Town) -> None:
    await town.register()
    answer = await town.push()
    assert answer.status_code == 202 and answer.json()["run"]["number"] == 1
    run = await town.ended(1)
    assert run["state"] == "success", run
    assert {step: state for step, state in run["steps"].items() if state not in ("success", "warning")} == {}
    timeline = run["timeline"]
    assert sum(part["counts_ms"] for part in timeline["segments"]) == timeline["wall_ms"] > 0
    assert timeline["worked_ms"] + timeline["waited_ms"] == timeline["wall_ms"]


async def test_a_ref_that_no_rule_names_is_answered_with_the_reason(town: Town) -> None:
    await town.register()
    answer = await town.push("wip")
    assert answer.status_code == 202 and answer.json()["run"] is None and "wip" in answer.json()["reason"]["text"]


async def test_a_newer_push_of_the_same_branch_supersedes_and_another_branch_does_not(town: Town) -> None:
    await town.register(supersede=True)
    for branch in ("main", "feature/é-1", "main"):
        assert (await town.push(branch)).status_code == 202
    runs = [await town.ended(number) for number in (1, 2, 3)]
    assert [run["state"] for run in runs] == ["superseded", "success", "success"], [run["reason"] for run in runs]
    assert runs[0]["superseded_by_number"] == 3


async def test_a_person_cancels_a_run_and_its_child_is_gone(platform: Any, tmp_path: Path) -> None:
    async with town_of(platform, tmp_path, build=60) as town:
        await town.register()
        await town.push()

        async def building() -> bool:
            return "begin build" in town.stamps.read_text()

        await town.until("a build", building)
        run = await town.until("its run on the pages", lambda: town.run(1))
        answer = await town.client.post(f"/api/v1/runs/{run['id']}/cancel")
        assert answer.status_code == 202, answer.text
        ended = await town.ended(1)
        assert (ended["state"], ended["cancelled_by"]) == ("cancelled", "admin")
        child = int(re.findall(r"begin build \S+ \d+ (\d+)", town.stamps.read_text())[0])

        async def gone() -> bool:
            return not Path(f"/proc/{child}").exists()

        await town.until("the end of the build's child", gone, 2)
        assert "end build" not in town.stamps.read_text()


async def test_a_rollback_returns_to_the_release_before(town: Town) -> None:
    await town.register()
    for number in (1, 2):
        await town.push()
        assert (await town.ended(number))["state"] == "success"
    first = (await town.run(1))["image_id"]
    answer = await town.client.post("/api/v1/services/shop/rollback", json={"environment": "development"})
    assert answer.status_code == 202, answer.text
    run = await town.ended(3)
    assert (run["state"], run["trigger"], run["image_id"]) == ("success", "rollback", first), run
    places = (await town.client.get("/api/v1/services/shop/environments")).json()["items"]
    assert places[0]["image_id"] == first, places


async def test_a_push_while_the_bus_is_away_is_kept_and_its_run_ends_well(town: Town, nats: Any) -> None:
    """The delivery is on disk and answered; when nats-server is back, the run goes its way."""
    await town.register()
    nats.kill()

    async def away() -> bool:
        return "bus" in (await town.platform.failing()).get("webhook", {})

    await town.until("webhook misses the bus", away)
    answer = await town.push()
    assert answer.status_code == 202 and answer.json()["run"]["number"] == 1
    nats.start()
    assert (await town.ended(1))["state"] == "success"
    await town.until("quiet", town.platform.settled)
