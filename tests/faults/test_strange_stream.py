"""nats-server comes back with an empty store: told, nothing published on it, and a way out that loses nothing."""

from __future__ import annotations

import shutil
from typing import Any

import pytest
from shared.bootstrap import bootstrap

from tests.flows.conftest import Town, town

__all__ = ["town"]


@pytest.fixture
def database_url(both_databases: str) -> str:
    return both_databases


async def _trouble(town: Town, words: str) -> None:
    async def told() -> bool:
        failing = await town.platform.failing()
        return len(failing) == 7 and all(words in each.get("stream", "") for each in failing.values())

    await town.until(f"all services say: {words}", told)


async def test_the_stream_is_not_the_one_that_is_known_until_a_person_accepts_it(town: Town, nats: Any) -> None:
    await town.register()
    await town.push()
    assert (await town.ended(1))["state"] == "success"
    refused = await town.client.post("/api/v1/stream/accept")
    assert {row["code"] for row in refused.json()["items"]} == {"bus.stream_same"}

    nats.stop()
    shutil.rmtree(nats.root / "bus" / "store")
    nats.start()
    await _trouble(town, "its store is empty")
    await bootstrap(nats.url, nats.keys)
    await _trouble(town, "the stream is not the one this database knows")

    # A push is stored and answered; nothing of it goes out on a stream that might be replaced by the right one.
    assert (await town.push()).status_code == 202
    webhook = town.platform.services["webhook"]
    assert await webhook.relay.unsent() >= 1

    gateway = town.platform.services["gateway"].service
    page = await town.client.get("/dashboard", headers={"Accept": "text/html"})

    async def told() -> bool:
        return "the stream is not the one this database knows" in (await town.client.get("/dashboard")).text

    await town.until("the pages say it", told)
    assert gateway and page.status_code in (200, 303)

    accepted = (await town.client.post("/api/v1/stream/accept")).json()["items"]
    assert [row["code"] for row in accepted] == [""] * 7
    assert sum(row["again"] for row in accepted) > 10
    assert (await town.ended(2))["state"] == "success"
    await town.until("quiet", town.platform.settled)
    runs = (await town.client.get("/api/v1/runs?limit=50")).json()["items"]
    assert [(run["number"], run["state"]) for run in runs] == [(2, "success"), (1, "success")], "nothing happened twice"
    letters = (await town.client.get("/api/v1/dead-letters")).json()
    assert letters["items"] == []
