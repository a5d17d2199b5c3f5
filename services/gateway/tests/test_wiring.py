"""The gateway starts from defaults, remembers everything, and bears a bus that is away."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import gateway_journeys as journeys
import httpx
import pytest
import sqlalchemy as sa
from gateway.settings import GatewaySettings
from gateway.tables import owned, read_model
from gateway.wiring import wire
from gateway_props import Gateway


@pytest.mark.slow
async def test_a_second_start_remembers_people_tokens_and_the_read_model(nats: Any, platform: Callable[..., Any]) -> None:
    wires = {"gateway": lambda host: wire(host, GatewaySettings())}
    kept = ""
    for start in (1, 2):
        async with platform(wires) as running:
            token = (running.settings.root / "cli.token").read_text().strip()
            async with httpx.AsyncClient(
                transport=httpx.ASGITransport(running.app),
                base_url="http://kiops.test",
                headers={"authorization": f"Bearer {token}"},
            ) as client:
                found = Gateway(running, client, running.settings.root)
                if start == 1:
                    kept = token
                    story = journeys.registered()
                    journeys.good_push(story, 1, 1)
                    await found.tell(*(message for message, _ in story.told))
                await found.settled()
                assert token == kept
                assert (await client.get("/api/v1/services/shop")).json()["state"] == "running"
                async with found.owned.read() as tx:
                    assert await tx.scalar(sa.select(sa.func.count()).select_from(owned.users)) == 1


@pytest.mark.slow
async def test_the_read_model_can_be_thrown_away_and_is_made_again_from_the_stream(nats: Any, platform: Callable[..., Any]) -> None:
    wires = {"gateway": lambda host: wire(host, GatewaySettings())}
    rows: list[list[Any]] = []
    for start in (1, 2):
        async with platform(wires) as running:
            async with httpx.AsyncClient() as client:
                found = Gateway(running, client, running.settings.root)
                if start == 1:
                    story = journeys.registered()
                    journeys.good_push(story, 1, 1)
                    journeys.blocked_push(story, 2, 60)
                    await found.tell(*(message for message, _ in story.told))
                await found.settled()
                async with found.read.read() as tx:
                    rows.append([repr(await tx.all(sa.select(table).order_by(*table.primary_key.columns))) for table in _own()])
        for file in (running.settings.root / "services" / "gateway").glob("read_model.db*"):
            file.unlink()
    assert rows[0] == rows[1]


def _own() -> list[sa.Table]:
    chassis = {"outbox", "lease", "stream_position", "inbox", "parked", "dead_letter"}
    return [table for name, table in read_model.metadata.tables.items() if name not in chassis]


@pytest.mark.slow
async def test_a_duplicate_on_the_stream_changes_nothing(gateway: Gateway) -> None:
    story = journeys.registered()
    journeys.push(story, 1)
    await gateway.tell(*(message for message, _ in story.told))
    before = (await gateway.client.get("/api/v1/runs/run_1")).json()
    await gateway.tell(story.told[-1][0])
    after = (await gateway.client.get("/api/v1/runs/run_1")).json()
    before["timeline"] = after["timeline"] = {}
    assert before == after


@pytest.mark.slow
async def test_without_the_bus_it_shows_what_it_knows_and_keeps_what_people_order(gateway: Gateway, nats: Any) -> None:
    story = journeys.registered()
    journeys.push(story, 1)
    await gateway.tell(*(message for message, _ in story.told))
    nats.kill()
    async with asyncio.timeout(30):
        while "bus" not in (status := (await gateway.client.get("/api/v1/status")).json())["services"]["gateway"]["failing"]:
            await asyncio.sleep(0.02)
    assert not status["ready"]
    assert (await gateway.client.get("/api/v1/runs/run_1")).status_code == 200
    asked = await gateway.client.post("/api/v1/runs/run_1/cancel")
    assert asked.status_code == 202 and asked.json()["state"] == "asked"
    nats.start()
    await gateway.settled()
    audit = (await gateway.client.get("/api/v1/audit?category=run")).json()["items"]
    assert [row["action"] for row in audit] == ["cancelled"], "what was ordered meanwhile went out"
