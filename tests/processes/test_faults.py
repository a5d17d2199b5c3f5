"""The fault matrix: each service is killed with -9 at every border of a run that it has, and every run ends right.

A cell is a service and a point of `shared.faults`; its instance dies there once, in the middle of other work, and its successor
goes on. The judge is that of the kill tests: acknowledgements of the sender, runs of the API, the file of the children.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from pathlib import Path

from shared.bus import SERVICES
from shared.testing.nats import NatsServer

from kiops.chaos.city import City
from kiops.chaos.judge import judge, until_ended, until_quiet
from kiops.chaos.sender import Sender

LOOP = ("loop.taken", "loop.handled", "loop.committed", "loop.acked")
RELAY = ("relay.read", "relay.published", "relay.marked")
JOBS = ("job.claiming", "job.claimed", "job.progressing", "job.progressed", "job.finishing", "job.finished")
CHILDREN = ("child.started", "child.ended")
COMMITS = ("commit.before", "commit.after")
KEPT = ("log.closing", "object.writing", "object.kept", "log.closed")
CELLS = {
    "gateway": (*LOOP, *RELAY),
    "webhook": (*LOOP, "accept.storing", *RELAY, "accept.stored", *COMMITS),
    "builder": (*LOOP[:3], *JOBS, *RELAY, *CHILDREN, *KEPT),
    "scanner": (*LOOP[1:3], *JOBS, *RELAY, "relay.begun", *CHILDREN),
    "gate": (*LOOP, *RELAY, *COMMITS),
    "deployer": (*LOOP, *RELAY, *COMMITS),
    "operator-proxy": (*LOOP[1:3], *JOBS, *RELAY[:2], *CHILDREN),
}
PATIENCE_SECONDS = 240
DYING = str(Path(__file__).with_name("dying.py"))


async def test_a_kill_at_every_border_of_a_run(tmp_path: Path, nats: NatsServer) -> None:
    nats.stop()  # only that it is there; the platform has one of its own
    folder = tmp_path / "platform"
    (folder / "cells").mkdir(parents=True)
    deaths = folder / "deaths"
    deaths.touch()
    for name in SERVICES:
        (folder / "cells" / name).write_text("\n".join(CELLS[name]))
    wanted = {f"{name} {point}" for name, points in CELLS.items() for point in points}
    assert len(wanted) >= 60
    city = City(folder, program=(DYING,), seconds={"fetch": 0.0, "build": 0.05, "scan": 0.02, "deploy": 0.03})
    try:
        await city.open()
        sender = Sender(city, {f"svc-{number}": await city.register(f"svc-{number}") for number in range(8)})
        async with asyncio.TaskGroup() as group:
            for service in sender.endpoints:
                group.create_task(push_while(sender, service, wanted, deaths))
            group.create_task(register_while(city, deaths))
        assert sorted(deaths.read_text().splitlines()) == sorted(wanted), "each died once at each of its points"
        for name in SERVICES:
            await city.ready(name, 60)
        await until_ended(city, len(sender.acked), print)
        assert await until_quiet(city) == {}
        outcome = judge(sender.acked, await city.runs(), city.stamps.effects)
    finally:
        await city.close()
    assert outcome.well and outcome.succeeded == outcome.acked == outcome.runs, (outcome.figures(), outcome.wrong)
    assert city.children_left() == []
    assert city.folders_left() == []


def left(wanted: set[str], deaths: Path) -> set[str]:
    return wanted - set(deaths.read_text().splitlines())


async def push_while(sender: Sender, service: str, wanted: set[str], deaths: Path) -> None:
    """Push until every cell has had its death, a few ahead of what is deployed."""
    end = time.monotonic() + PATIENCE_SECONDS
    for number in itertools.count():
        await sender.push(service, number)
        while len(sender.acked) - sender.city.stamps.placed > 16 and left(wanted, deaths):
            sender.city.stamps.look()
            await asyncio.sleep(0.05)
            assert time.monotonic() < end, f"not reached: {sorted(left(wanted, deaths))}"
        if not left(wanted, deaths):
            return


async def register_while(city: City, deaths: Path) -> None:
    """The gateway publishes when people do something: register services until it has died of its own facts."""
    wanted = {f"gateway {point}" for point in CELLS["gateway"]}
    for number in itertools.count():
        if not left(wanted, deaths):
            return
        await city.register(f"extra-{number}")
