"""A process that is stopped (SIGSTOP) for longer than its leases last, and wakes: another has taken over, and it is refused.

Two replicas of builder on one PostgreSQL. The one that works on a job sleeps; the other takes the job under the next token and
reads the stream; the sleeper wakes in the middle of what it thinks is its job.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from shared.ids import uuid7
from shared.settings import PlatformSettings
from shared.testing.nats import NatsServer
from shared.testing.postgres import Postgres

from kiops.chaos.city import DATABASES, City
from kiops.chaos.judge import judge, until_ended, until_quiet
from kiops.chaos.sender import Sender

SHORT = {"lease_seconds": 2.0, "heartbeat_seconds": 0.5}
REAL = {name: PlatformSettings.model_fields[name].default for name in ("lease_seconds", "heartbeat_seconds", "role_lease_seconds")}
"""What a platform has."""


async def until(what: str, condition: Callable[[], Any], seconds: float = 90) -> Any:
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, f"{what}: not within {seconds:g} s"
        await asyncio.sleep(0.05)
    return found


@pytest.fixture
def prefix(postgres: Postgres) -> Iterator[str]:
    """What the names of this test's databases begin with."""
    mark = uuid7()[-8:] + "_"
    yield mark
    for name in DATABASES:
        postgres.drop(mark + name.replace("-", "_"))


@pytest.mark.parametrize("settings", [SHORT, pytest.param(REAL, marks=pytest.mark.heavy)], ids=["short leases", "real leases"])
async def test_who_sleeps_through_his_lease_is_refused(
    tmp_path: Path, nats: NatsServer, postgres: Postgres, prefix: str, settings: dict[str, float]
) -> None:
    nats.stop()  # only that it is there; the platform has one of its own
    folder = tmp_path / "platform"
    folder.mkdir()
    city = City(folder, postgres, prefix, settings=settings, seconds={"build": 4 + max(4, settings["lease_seconds"])})
    try:
        await city.open()
        sender = Sender(city, {name: await city.register(name) for name in ("shop", "mill")})
        replica = city.start_replica("builder")
        await city.ready(replica, 120)
        await sender.push("shop", 0)
        token, run, pid = await until("a build at work", lambda: at_work(city))
        assert token == 1
        sleeper, asleep_at = parent(pid), time.monotonic()
        names = {city.processes[name].pid: name for name in ("builder", replica)}
        os.kill(sleeper, signal.SIGSTOP)
        try:
            await sender.push("mill", 0)  # the stream goes on too
            await until("another attempt at the job", lambda: [1, 2] == begun(city, run))
            # The sleeper's last pull is open for 20 s; a heartbeat every 5 s tells what it got.
            await until("a build of what came meanwhile", lambda: len(builds(city)) == 2, 45)
            least = settings["lease_seconds"] - settings["heartbeat_seconds"]
            assert time.monotonic() - asleep_at > least, "taken from who still had it"
        finally:
            os.kill(sleeper, signal.SIGCONT)
        await until_ended(city, 2, print)
        # The sleeper, awake, found its attempt taken over, and is a useful replica again.
        await until("a refusal", lambda: "taken over" in log_of(city, names[sleeper]))
        await city.ready(names[sleeper], 60)
        for number in (1, 2):
            await asyncio.gather(*(sender.push(service, number) for service in sender.endpoints))
        await until_ended(city, 6, print)
        assert await until_quiet(city) == {}
        outcome = judge(sender.acked, await city.runs(), city.stamps.effects)
        assert outcome.well and outcome.succeeded == outcome.runs == 6, (outcome.figures(), outcome.wrong)
        assert city.stamps.effects["build", run].begun == [1, 2]
        told = postgres.execute(
            "select count(*) from outbox where subject like 'kiops.builder.build.succeeded.%'", prefix + "builder"
        )
        assert int(told) == 6, "each build was told of once"
    finally:
        await city.close()


def at_work(city: City) -> tuple[int, str, int] | None:
    """(token, run, process id of the child) of a build that is being made."""
    city.stamps.look()
    return next(((token, run, pid) for (what, run, token), pid in city.stamps.open.items() if what == "build"), None)


def begun(city: City, run: str) -> list[int]:
    city.stamps.look()
    return city.stamps.effects["build", run].begun


def builds(city: City) -> list[str]:
    city.stamps.look()
    return [run for what, run in city.stamps.effects if what == "build"]


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])


def log_of(city: City, name: str) -> str:
    return (city.root / f"{name}.out").read_text() + "".join(path.read_text() for path in (city.root / "logs").glob("builder*.log"))
