"""Seven service processes and nats-server, each killed with -9, while pushes arrive.

Nothing is lost, doubled, stuck or out of order.
"""

from __future__ import annotations

import asyncio
import random
import time
from pathlib import Path

import httpx

from tests.processes.city import ENDED, City, Sender

PUSHES, SERVICES_OF_PEOPLE, KILLS, AT_WORK = 300, 10, 12, 5
VICTIMS = ["gateway", "webhook", "builder", "scanner", "gate", "deployer", "operator-proxy", "nats-server"]


async def test_pushes_survive_kills_of_everything(tmp_path: Path) -> None:
    """Every acknowledged push has exactly one run; 90 % succeed and all end; nothing runs twice but under a newer token."""
    city = await City.build(tmp_path)
    try:
        endpoints = {f"svc-{number}": await city.register(f"svc-{number}") for number in range(SERVICES_OF_PEOPLE)}
        sender = Sender(city)
        sending = asyncio.create_task(send_all(sender, endpoints))
        await kill_all(city, sending)
        await sending
        assert len(sender.acked) == PUSHES
        runs = await until_ended(city, list(endpoints), PUSHES, 240)
        judge(city, sender, runs)
        await until_quiet(city)
    finally:
        await city.stop()
    assert city.children_left() == []


async def send_all(sender: Sender, endpoints: dict[str, tuple[str, str]]) -> None:
    """Each service's pushes one after another, the services beside each other, over about 20 s."""

    async def one(service: str, path: str, secret: str) -> None:
        async with httpx.AsyncClient(timeout=10) as client:
            for number in range(PUSHES // SERVICES_OF_PEOPLE):
                await sender.push(client, service, path, secret, number)
                await asyncio.sleep(random.uniform(0.2, 1.0))

    async with asyncio.TaskGroup() as group:
        for service, (path, secret) in endpoints.items():
            group.create_task(one(service, path, secret))


async def kill_all(city: City, sending: asyncio.Task[None]) -> None:
    """Each victim once in random order, then more until there were enough, and enough of them while a child was at work."""
    waiting = random.sample(VICTIMS, len(VICTIMS))
    while waiting or sum(city.kills.values()) < KILLS or city.kills_at_work < AT_WORK:
        assert sum(city.kills.values()) < 60, "no child was at work at the kills"
        await asyncio.sleep(random.uniform(0.5, 1.8))
        await city.kill(waiting.pop() if waiting else random.choice(VICTIMS))
    for name in VICTIMS[:-1]:
        await city.ready(name, 60)


async def until_ended(city: City, services: list[str], expected: int, seconds: float) -> list[dict]:
    end = time.monotonic() + seconds
    while True:
        runs = [run for service in services for run in await city.runs(service)]
        if len(runs) >= expected and all(run["state"] in ENDED for run in runs):
            return runs
        if time.monotonic() > end:
            stuck = [f"{run['service_name']} #{run['number']} {run['state']}" for run in runs if run["state"] not in ENDED]
            raise AssertionError(f"{len(runs)} runs of {expected}; not ended: {stuck[:20]}; open jobs {city.counts(OPEN)}")
        await asyncio.sleep(0.5)


OPEN = "select count(*) from job where state <> 'ended'"


def judge(city: City, sender: Sender, runs: list[dict]) -> None:
    by_commit: dict[str, list[dict]] = {}
    for run in runs:
        by_commit.setdefault(run["commit"], []).append(run)
    assert set(by_commit) == set(sender.acked), "a push without a run, or a run without a push"
    for commit, (service, number) in sender.acked.items():
        assert [run["number"] for run in by_commit[commit]] == [number], (service, number, by_commit[commit])
    won = [run for run in runs if run["state"] == "success"]
    others = [f"{run['number']} {run['state']} {run.get('reason')}" for run in runs if run["state"] != "success"]
    assert len(won) >= 0.9 * len(runs), others
    stamped = city.stamped()
    for (what, run), edges in stamped.items():
        tokens = [token for edge, token, _ in edges if edge == "begin"]
        assert len(tokens) == len(set(tokens)), f"{what} of {run} ran twice under one token: {tokens}"
    # The order in which a service's releases came into place, as the children saw it: the last `end` of each.
    numbers = {run["id"]: (run["service_name"], run["number"]) for run in runs}
    placed: dict[str, list[tuple[int, int]]] = {}
    for (what, run), edges in stamped.items():
        ends = [line for edge, _, line in edges if edge == "end"]
        if what == "deploy" and ends:
            service, number = numbers[run]
            placed.setdefault(service, []).append((ends[-1], number))
    for service, rows in placed.items():
        order = [number for _, number in sorted(rows)]
        assert order == sorted(order), f"{service} was deployed out of order: {order}"
    for run in won:
        assert any(edge == "end" for edge, _, _ in stamped["deploy", run["id"]]), "a success that nothing was deployed for"


async def until_quiet(city: City) -> None:
    """Outboxes empty, no open job, nothing parked, no dead letter."""
    queries = {
        "outbox": "select count(*) from outbox where sent = 0",
        "jobs": OPEN,
        "parked": "select count(*) from parked",
        "dead letters": "select count(*) from dead_letter",
    }
    end = time.monotonic() + 60
    while True:
        left = {name: {key: value for key, value in city.counts(query).items() if value} for name, query in queries.items()}
        if not any(left.values()):
            return
        assert time.monotonic() < end, left
        await asyncio.sleep(0.5)
