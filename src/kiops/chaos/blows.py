"""The whole of it: start, register, push and kill at once, wait, judge."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from pathlib import Path

from shared.testing.postgres import Postgres

from kiops.chaos.city import City
from kiops.chaos.judge import Outcome, judge, until_ended, until_quiet
from kiops.chaos.sender import Sender

AHEAD = 240
"""Pushes that may wait for their deploy: enough that every service has work, few enough that memory and waiting stay bounded."""
PATIENCE_SECONDS = 20
WORK_SECONDS = 3.0
SECONDS = {"fetch": 0.0, "build": 0.1, "scan": 0.0, "deploy": 0.05}
"""How long the children take: a process per step, and none for the source, so that the processor is the platform's."""


async def chaos(
    folder: Path,
    *,
    kills: int,
    pushes: int,
    services: int = 40,
    postgres: Postgres | None = None,
    rate: float = 50.0,
    say: Callable[[str], None] = lambda text: None,
) -> tuple[Outcome, City]:
    """Send `pushes` to `services` while `kills` parts are killed with -9, every part once before any twice.

    With a `postgres` the platform's databases are there and it is killed too, else in SQLite files. The kills are spread at random
    over the pushes. Raises Broken `chaos.*` when the platform does not come up, or a push is not acknowledged.
    """
    city = City(folder, postgres, seconds=SECONDS)
    try:
        await city.open()
        say("seven services are ready")
        names = [f"svc-{number}" for number in range(services)]
        gate = asyncio.Semaphore(4)

        async def register(name: str) -> tuple[str, str]:
            async with gate:
                return await city.register(name)

        sender = Sender(city, dict(zip(names, await asyncio.gather(*map(register, names)), strict=True)))
        say(f"{services} services are registered")
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(sender.send(pushes, ahead=min(AHEAD, pushes), rate=rate))
                group.create_task(strike(city, sender, kills, pushes, say))
        except ExceptionGroup as broken:
            first: Exception = broken
            while isinstance(first, ExceptionGroup):
                first = first.exceptions[0]
            raise first from broken
        for name in city.processes:
            await city.ready(name, 120)
        say(f"{len(sender.acked)} pushes are acknowledged")
        await until_ended(city, pushes, say)
        left = await until_quiet(city)
        outcome = judge(sender.acked, await city.runs(), city.stamps.effects)
        outcome.kills = sum(city.kills.values())
        for owner, rows in left.items():
            for what, number in rows.items():
                outcome.note("leftovers", f"{owner} has {number} {what}", number)
    finally:
        await city.close()
    for pid in city.children_left():
        outcome.note("leftovers", f"the process {pid} is a child of the platform and lives")
    for path in city.folders_left():
        outcome.note("leftovers", f"the folder {path.relative_to(city.root)} of an attempt is there")
    return outcome, city


async def strike(city: City, sender: Sender, kills: int, pushes: int, say: Callable[[str], None]) -> None:
    """Kill at random moments between the first push and the last deploy. When nothing moves, the next comes all the same.

    Every second one waits for a tool to be at work: chance alone would hit few of them on a slow machine.
    """
    moments = sorted(random.randrange(2 * pushes) for _ in range(kills))
    waiting: list[str] = []
    for number, moment in enumerate(moments, 1):
        way, since = -1, time.monotonic()
        while way < moment and time.monotonic() - since < PATIENCE_SECONDS:
            city.stamps.look()
            for name in list(city.processes):
                city.tend(name)
            if len(sender.acked) + city.stamps.placed != way:
                way, since = len(sender.acked) + city.stamps.placed, time.monotonic()
            await asyncio.sleep(0.05)
        if not waiting:
            waiting = random.sample(city.victims, len(city.victims))
        victim = waiting.pop()
        if number % 2:
            await until_work(city)
        await city.kill(victim)
        say(f"kill {number} of {kills}: {victim}   {len(sender.acked)} acknowledged, {city.stamps.placed} deployed")
        await asyncio.sleep(random.uniform(0.1, 0.6))


async def until_work(city: City) -> None:
    """Until a tool is at work, at most WORK_SECONDS: towards the end there may be none."""
    for _ in range(int(WORK_SECONDS / 0.01)):
        if city.stamps.at_work():
            return
        await asyncio.sleep(0.01)
