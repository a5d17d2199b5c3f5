"""Seven services, two instances of each: either serves, one reads; roles and jobs move when one dies; nothing is doubled."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from shared.bus import SERVICES
from shared.testing.nats import binary
from shared.testing.parts import Parts
from shared.testing.postgres import Postgres

from kiops.chaos.city import ENDED, City
from kiops.chaos.sender import Sender
from tests.replicas.pair import Pair, until

TWICE = {
    "webhook": "select count(*) from (select service_id, number from runs group by 1, 2 having count(*) > 1) twice",
    "builder": "select count(*) from (select run_id from builds group by 1 having count(*) > 1) twice",
    "deployer": "select count(*) from (select run_id from releases group by 1 having count(*) > 1) twice",
}
ANNOUNCED_TWICE = """select count(*) from (select body::json->>'run', split_part(subject, '.', 3), split_part(subject, '.', 4)
 from outbox where subject like '%.build.succeeded.%' or subject like '%.push.received.%' or subject like '%.run.finished.%'
 group by 1, 2, 3 having count(*) > 1) twice"""


@pytest.fixture
async def pair(tmp_path: Path, parts: Parts, postgres: Postgres) -> AsyncIterator[Pair]:
    parts.program(binary(), "--version", part="nats-server")
    city = City(
        tmp_path / "city", postgres, prefix=f"pair{os.getpid()}_", seconds={"build": 0.5},
        settings={"lease_seconds": 8.0, "heartbeat_seconds": 2.0, "role_lease_seconds": 6.0},
    )  # fmt: skip
    try:
        await city.open()
        for name in SERVICES:
            city.start_replica(name)
        made = Pair(city)
        await made.ready()
        yield made
    finally:
        for process in city.processes.values():
            if process.poll() is None:
                process.terminate()
        await city.close()
        for name in (*SERVICES, "read_model"):
            postgres.drop(city.prefix + name.replace("-", "_"))


async def listen(pair: Pair, called: str, found: set[str]) -> None:
    """Remember the runs that an instance's live events speak of."""
    token = (pair.city.root / "cli.token").read_text().strip()
    async with httpx.AsyncClient(timeout=None) as client:
        address = f"{pair.url(called)}/api/v1/events"
        async with client.stream("GET", address, headers={"Authorization": f"Bearer {token}"}) as answer:
            assert answer.status_code == 200
            async for line in answer.aiter_lines():
                if line.startswith("data:") and '"run"' in line:
                    found.add(json.loads(line[5:]).get("run", ""))


async def test_either_of_two_serves_and_what_one_did_the_other_goes_on_with(pair: Pair) -> None:
    city = pair.city
    endpoints = {name: await city.register(name) for name in ("shop", "till")}
    sender = Sender(city, endpoints)
    first, second = city.ports["webhook"], city.ports["webhook-2"]

    # Every instance is ready, whether it has a role or stands by; of each role there is one.
    readers = {name: await pair.holder(name, "reader") for name in SERVICES}
    for name in SERVICES:
        has, stands_by = await pair.roles(readers[name]), await pair.roles(pair.other(readers[name]))
        assert set(has) == set(stands_by) and {"reader", "relay"} <= set(has)
        for role in has:
            await pair.holder(name, role)
    await until("status that tells every instance and role", lambda: all_told(pair, readers))

    # A session opened at one gateway is good at the other, and pages at both learn of a run whichever reads the stream.
    token = (city.root / "cli.token").read_text().strip()
    link = await city.client.post(f"{pair.url('gateway')}/api/v1/login-links", headers={"Authorization": f"Bearer {token}"})
    async with httpx.AsyncClient() as browser:
        await browser.get(pair.url("gateway") + link.json()["path"])
        for called in ("gateway", "gateway-2"):
            assert (await browser.get(f"{pair.url(called)}/api/v1/me")).status_code == 200, called
    learnt: dict[str, set[str]] = {"gateway": set(), "gateway-2": set()}
    listening = [asyncio.create_task(listen(pair, called, found)) for called, found in learnt.items()]

    # Deliveries at either instance get numbers of one row.
    for number in range(6):
        city.ports["webhook"] = (first, second)[number % 2]
        for name in endpoints:
            await sender.push(name, number)
    city.ports["webhook"] = first
    numbers = sorted(sender.acked.values())
    assert numbers == [(name, number) for name in endpoints for number in range(1, 7)]
    await all_ended(pair, 12)
    runs = {run["id"] for run in await city.runs()}

    async def all_learnt() -> bool:
        return all(runs <= found for found in learnt.values())

    await until("live events of every run at both gateways", all_learnt)
    for task in listening:
        task.cancel()
    await asyncio.gather(*listening, return_exceptions=True)

    # What both could have read was done once.
    city.stamps.look()
    for run in runs:
        for what in ("build", "deploy"):
            assert city.stamps.effects[what, run].begun == [1], (what, run)

    # The holders die: what they did moves, and pushes that come meanwhile are done.
    took = {}
    for name in ("webhook", "gateway", "deployer"):
        role = "relay" if name == "deployer" else "reader"
        dead = await pair.holder(name, role)
        if name == "webhook":
            city.ports["webhook"] = city.ports[pair.other(dead)] if dead == "webhook" else first
        moving = asyncio.create_task(pair.killed(dead, role))
        if name != "gateway":
            await sender.push("shop", 10 + len(took))
        took[name, role] = await moving
        pair.start_again(dead)
        await city.ready(dead, 120)
        if name == "webhook":
            city.ports["webhook"] = first
    print("moved after a kill, seconds:", {f"{name} {role}": round(seconds, 1) for (name, role), seconds in took.items()})
    await all_ended(pair, len(sender.acked))

    # A job whose process is killed is begun again at the other under a newer token, and its run ends well.
    run, dead = await kill_at_work(pair, sender)
    await all_ended(pair, len(sender.acked))
    city.stamps.look()
    tokens = city.stamps.effects["build", run].begun
    assert len(tokens) > 1 and tokens == sorted(set(tokens)), tokens
    pair.start_again(dead)
    await city.ready(dead, 120)

    # Whoever stops in peace gives its roles back: nobody waits for the end of a lease.
    dead = await pair.holder("gate", "reader")
    before = pair.lease("gate", "reader")
    city.processes[dead].send_signal(signal.SIGTERM)
    await asyncio.to_thread(city.processes[dead].wait, 30)
    after = pair.lease("gate", "reader")
    assert after["until_ms"] == 0 or after["holder"] != before["holder"]
    await until("the gate's reader", lambda: pair._has(pair.other(dead), "reader"))
    assert pair.lease("gate", "reader")["token"] > before["token"]
    await sender.push("till", 20)
    await all_ended(pair, len(sender.acked))

    # Who died is told as silent, who stopped in peace is not told any more.
    died = {"webhook", "gateway", "deployer", "builder"}

    async def silent() -> bool:
        found = {name: [one for one in each["instances"] if one["silent_seconds"]] for name, each in (await status(pair)).items()}
        return {name: len(each) for name, each in found.items()} == {name: int(name in died) for name in SERVICES}

    await until("status that tells who is silent", silent, 40)
    assert [one["port"] for one in (await status(pair))["gate"]["instances"]] == [city.ports[pair.other(dead)]]

    # Nothing was read, numbered, built or announced twice.
    assert city.postgres
    for name, query in TWICE.items():
        assert city.postgres.execute(query, city.prefix + name).strip() == "0", name
    for name in ("webhook", "builder"):
        assert city.postgres.execute(ANNOUNCED_TWICE, city.prefix + name).strip() == "0", name
    left = {"dead": "select count(*) from dead_letter", "unsent": "select count(*) from outbox where sent = false"}

    async def quiet() -> bool:
        return city.counts(left) == {}

    await until("quiet", quiet)


async def status(pair: Pair) -> dict[str, Any]:
    """What `kiops status` tells of each service."""
    command = [sys.executable, "-m", "kiops", "status", "--json", "--data", str(pair.city.root)]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)
    return json.loads(done.stdout)["services"]


async def all_told(pair: Pair, readers: dict[str, str]) -> bool:
    """Whether status tells both instances of each service, and of each role one holder, for how long, and of which lease."""
    for name, service in (await status(pair)).items():
        ports = {pair.city.ports[name], pair.city.ports[f"{name}-2"]}
        held = [(role, one["port"], how) for one in service["instances"] for role, how in one["roles"].items()]
        roles = [role for role, _, _ in held]
        if {one["port"] for one in service["instances"]} != ports or any(one["silent_seconds"] for one in service["instances"]):
            return False
        if sorted(roles) != sorted(await pair.roles(name)) or any(how["held_seconds"] is None for _, _, how in held):
            return False
        assert [port for role, port, _ in held if role == "reader"] == [pair.city.ports[readers[name]]], name
        assert all(0 <= how["held_seconds"] < 600 and 0 <= how["left_seconds"] <= 6 for _, _, how in held), held
    return True


async def kill_at_work(pair: Pair, sender: Sender) -> tuple[str, str]:
    """Push, and SIGKILL the builder whose child has begun the build. Returns the run and which of the two it was."""
    city = pair.city

    async def building() -> tuple[str, int] | None:
        city.stamps.look()
        for (what, run, _), child in city.stamps.open.items():
            with contextlib.suppress(OSError):
                if what == "build":
                    return run, int(Path(f"/proc/{child}/stat").read_text().rsplit(")", 1)[1].split()[1])
        return None

    await sender.push("till", 15)
    run, parent = await until("a build", building, 30)
    (dead,) = (called for called, process in city.processes.items() if process.pid == parent)
    os.kill(parent, signal.SIGKILL)
    city.processes[dead].wait()
    return run, dead


async def all_ended(pair: Pair, count: int) -> list[dict[str, Any]]:
    async def over() -> list[dict[str, Any]]:
        rows = await pair.city.runs()
        return rows if len(rows) == count and all(row["state"] in ENDED for row in rows) else []

    rows = await until(f"the end of {count} runs", over, 120)
    assert {row["state"] for row in rows} == {"success"}, [(row["number"], row["state"], row.get("reason")) for row in rows]
    return rows
