"""Who follows a log misses no line of it, even one that nats-server had handed out and not yet stored when it was asked."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from shared.bootstrap import bootstrap
from shared.bus import Bus
from shared.testing.nats import NatsServer

SUBJECT = "log.builder.main.job_1"


class Blind(Bus):
    """Finds nothing stored when it looks first, as if nats-server had not stored yet what it handed out."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.looked = asyncio.Event()

    async def _direct_batch(self, *arguments: Any) -> AsyncIterator[tuple[dict[str, str], bytes]]:
        if not self.looked.is_set():
            self.looked.set()
            return
        async for found in super()._direct_batch(*arguments):
            yield found


@pytest.fixture
async def buses(nats: NatsServer) -> AsyncIterator[tuple[Bus, Blind]]:
    """builder's, which writes, and the gateway's, which reads."""
    await bootstrap(nats.url, nats.keys)
    both = Bus("builder", nats.url, nats.keys / "builder.nk"), Blind("gateway", nats.url, nats.keys / "gateway.nk")
    for each in both:
        await each.open()
    yield both
    for each in both:
        await each.close()


async def say(bus: Bus, first: int, count: int, *, end: bool = False) -> None:
    lines = [[0, "build", 1, f"line {number}"] for number in range(first, first + count)]
    await bus.publish_log(SUBJECT, json.dumps({"from": first, "lines": lines, "progress": None, "end": end}).encode())


async def heard(bus: Bus) -> list[int]:
    found: list[int] = []
    async with asyncio.timeout(20):
        async for message in bus.read_log("builder", "main", "job_1"):
            found.extend(range(message["from"], message["from"] + len(message["lines"])))
    return found


async def test_a_line_in_neither_place_is_found_a_little_later(buses: tuple[Bus, Blind]) -> None:
    builder, gateway = buses
    gateway.look_again_seconds = (0.05, 0.05)
    await say(builder, 0, 2, end=True)
    assert await heard(gateway) == [0, 1]


async def test_a_missing_line_is_fetched_before_the_next_is_shown(buses: tuple[Bus, Blind]) -> None:
    builder, gateway = buses
    gateway.look_again_seconds = (60.0,)
    await say(builder, 0, 2)
    hearing = asyncio.create_task(heard(gateway))
    await gateway.looked.wait()
    for first in range(2, 40, 2):
        await say(builder, first, 2)
    await say(builder, 40, 0, end=True)
    assert await hearing == list(range(40)), "every line once, in order"


async def test_what_came_live_is_not_told_again(buses: tuple[Bus, Blind]) -> None:
    builder, gateway = buses
    gateway.look_again_seconds = (0.01,) * 40
    hearing = asyncio.create_task(heard(gateway))
    for first in range(0, 30, 3):
        await say(builder, first, 3)
        await asyncio.sleep(0.02)
    await say(builder, 30, 0, end=True)
    assert await hearing == list(range(30))
