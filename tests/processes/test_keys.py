"""Every key for the bus is replaced while pushes arrive: in seven processes, and in one."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from shared.bus import Bus
from shared.errors import Unavailable
from shared.permissions import make_keys
from shared.testing.nats import NatsServer

from kiops.chaos.city import City
from kiops.chaos.judge import judge, until_ended, until_quiet
from kiops.chaos.sender import Sender
from kiops.rotating import NAMES
from tests.processes.together import Together

REPOSITORY = Path(__file__).parents[2]
SECONDS = {"fetch": 0.0, "build": 0.02, "scan": 0.0, "deploy": 0.0}
PAUSE_SECONDS = 0.1
MOST = 24


def kiops(city: City, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "KIOPS_BUS_URL": city.nats.url, "KIOPS_HOME": str(city.folder)}
    return subprocess.run(
        [sys.executable, "-m", "kiops", *words, "--data", str(city.root)],
        cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip


async def push_until(over: asyncio.Event, sender: Sender) -> None:
    """Pushes without an end until it is over, and a few after it; never so many that they cannot be built in this test."""
    number, after = 0, 0
    while after < 4:
        if len(sender.acked) < MOST or over.is_set():
            names = list(sender.endpoints)
            await sender.push(names[number % len(names)], number)
            number += 1
        after += over.is_set()
        await asyncio.sleep(PAUSE_SECONDS)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("form", [City, Together], ids=["seven processes", "one process"])
async def test_every_key_is_replaced_while_pushes_arrive(tmp_path: Path, nats: NatsServer, form: type[City]) -> None:
    """Every acknowledged push ends in success and nothing is done twice; nobody loses a connection; old keys are refused."""
    nats.stop()  # only that it is there; the platform has one of its own
    city = form(tmp_path / "platform", seconds=SECONDS)
    try:
        await city.open(("all",) if form is Together else tuple(city.ports))
        names = ["shop", "till"]
        sender = Sender(city, {name: await city.register(name) for name in names})
        old = {name: (city.nats.keys / f"{name}.nk").read_text() for name in NAMES}
        before = make_keys(city.nats.keys)
        over = asyncio.Event()
        pushing = asyncio.create_task(push_until(over, sender))
        end = time.monotonic() + 60
        while len(sender.acked) < 3:
            assert time.monotonic() < end and not pushing.done()
            await asyncio.sleep(0.02)
        known = len(sender.acked)
        done = await asyncio.to_thread(kiops, city, "keys", "rotate", "--all", "--wait", "120", "--json")
        assert done.returncode == 0, done.stderr
        assert len(sender.acked) > known, "no push came while keys were replaced"
        over.set()
        await pushing

        told = [json.loads(line) for line in done.stdout.splitlines()]
        assert {row["service"]: row["state"] for row in told} == dict.fromkeys(NAMES, "done")
        now = make_keys(city.nats.keys)
        for row in told:
            assert now[row["service"]] == [row["key"]] and row["former"] == before[row["service"]] != now[row["service"]]
        await refused(city, old, tmp_path)

        await until_ended(city, len(sender.acked), print)
        left = await until_quiet(city)
        outcome = judge(sender.acked, await city.runs(), city.stamps.effects)
        assert outcome.well and not left, (outcome.wrong, left)
        assert outcome.succeeded == outcome.runs == len(sender.acked), outcome.wrong
        said = "".join(path.read_text() for path in [*city.root.glob("logs/*.log"), *city.root.glob("*.out")])
        assert said.count("signed in to nats-server with a new key") == 7
        assert "the connection to nats-server is lost" not in said, "a former key was taken out too early"
        listed = kiops(city, "keys", "list", "--json")
        assert {row["state"] for row in map(json.loads, listed.stdout.splitlines())} == {"in use"}
        new = [(city.nats.keys / f"{name}.nk").read_text() for name in NAMES]
        for seed in (*old.values(), *new):
            assert seed.strip() not in said + listed.stdout + listed.stderr + done.stdout + done.stderr
    finally:
        await city.close()


async def refused(city: City, seeds: dict[str, str], folder: Path) -> None:
    """nats-server does not let these in any more."""
    for name, seed in seeds.items():
        file = folder / f"old-{name}.nk"
        file.write_text(seed)
        file.chmod(0o600)
        with pytest.raises(Unavailable) as error:
            await Bus(name, city.nats.url, file).open()
        assert error.value.code == "bus.refused"
