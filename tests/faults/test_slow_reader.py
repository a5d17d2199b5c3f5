"""A service whose handler is slow: others are not slowed, what waits lies at the server, nothing is lost and the order is kept."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from shared.bus import EVENTS
from shared.facts.gateway import ServiceChanged
from shared.inbox import PULL

from tests.flows.conftest import Town, town

__all__ = ["town"]
# About reading, not about storage.
pytestmark = pytest.mark.one_database
FACTS = 900


@pytest.mark.slow
async def test_one_slow_service_slows_no_other_and_hears_everything_in_order(town: Town) -> None:
    await town.register()
    service = (await town.client.get("/api/v1/services/shop")).json()["id"]
    await town.until("quiet", town.platform.settled)
    builder, gateway = town.platform.services["builder"], town.platform.services["gateway"]
    cls, handler, key = builder.loop.subscribers.table[ServiceChanged.type()]
    heard: list[str] = []

    async def slow(tx: Any, message: Any, envelope: Any) -> None:
        await asyncio.sleep(0.01)
        await handler(tx, message, envelope)
        heard.append(message.description)

    builder.loop.subscribers.table[ServiceChanged.type()] = (cls, slow, key)
    async with gateway.service.database.write() as tx:
        for number in range(FACTS):
            about = {"name_": "shop", "repository_url": "https://git.invalid/shop.git", "description": str(number)}
            await tx.put(ServiceChanged(organisation="main", service=service, **about))

    async def behind(name: str) -> int:
        info = await gateway.host.bus.api_call(f"CONSUMER.INFO.{EVENTS}.gateway") if name == "gateway" else None
        each = town.platform.services[name]
        info = info or await each.host.bus.api_call(f"CONSUMER.INFO.{EVENTS}.{name}")
        return info["num_pending"] + info["num_ack_pending"]

    async def others_are_done() -> bool:
        there = await gateway.relay.unsent() == 0
        return there and not any([await behind(name) for name in ("webhook", "scanner", "gate", "deployer", "gateway")])

    await town.until("all others have heard everything", others_are_done)
    info = await builder.host.bus.api_call(f"CONSUMER.INFO.{EVENTS}.builder")
    assert len(heard) < FACTS, "the slow one is behind"
    assert info["num_ack_pending"] <= PULL + PULL // 4, "what it cannot handle yet lies at the server, not in its memory"
    assert builder.loop.bound and not builder.stuck()

    async def all_heard() -> bool:
        return len(heard) >= FACTS

    await town.until("the slow one has heard everything", all_heard, seconds=120)
    await town.until("quiet", town.platform.settled)
    assert heard == [str(number) for number in range(FACTS)], "each once, in order"
    assert await town.platform.failing() == {}
