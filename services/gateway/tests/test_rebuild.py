"""The read model is made anew from the first fact while pages are read and pushes arrive: the same rows, no error, no lost run."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gateway_journeys as journeys
import httpx
import pytest
import sqlalchemy as sa
from gateway.settings import GatewaySettings
from gateway.tables import read_model
from gateway.wiring import wire
from gateway_journeys import Story
from gateway_props import Gateway, publish
from shared.context import new_traceparent
from shared.facts._base import Message
from shared.processes import leftovers

KEPT_APART = {"outbox", "lease", "inbox"}


async def everything(gateway: Gateway) -> dict[str, list[str]]:
    async with gateway.read.read() as tx:
        return {
            name: sorted(repr(tuple(row)) for row in await tx.all(sa.select(table)))
            for name, table in read_model.metadata.tables.items()
            if name not in KEPT_APART
        }


async def rebuilt(gateway: Gateway) -> dict[str, Any]:
    begun = await gateway.client.post("/api/v1/read-model/rebuild")
    assert begun.status_code == 202, begun.text
    async with asyncio.timeout(60):
        while (found := (await gateway.client.get("/api/v1/read-model/rebuild")).json())["state"] == "running":
            await asyncio.sleep(0.02)
    return dict(found)


def history(runs: int) -> Story:
    story = journeys.registered()
    for number in range(1, runs + 1):
        (journeys.blocked_push if number % 5 == 0 else journeys.good_push)(story, number, *_release(number), number * 60)
    return story


def _release(number: int) -> tuple[int, ...]:
    return () if number % 5 == 0 else (number,)


def serving(gateway: Gateway) -> list[str]:
    return sorted(file.name for file in (gateway.root / "services" / "gateway").glob("read_model*.db"))


@pytest.mark.slow
async def test_a_rebuilt_read_model_has_the_same_rows(gateway: Gateway) -> None:
    await gateway.tell(*(message for message, _ in history(6).told))
    await publish(gateway.root, "webhook", gateway.platform.services["gateway"].host.bus.url,
                  "kiops.webhook.push.received.main.svc_shop", b'{"run": 1}', {"ce-id": "malformed"})  # fmt: skip
    await gateway.settled()
    live = await everything(gateway)
    assert len(live["runs"]) == 6 and len(live["dead_letter"]) == 1
    for _ in range(2):
        found = await rebuilt(gateway)
        assert (found["state"], found["code"]) == ("done", ""), found
        assert found["position"] == found["of"] == await gateway.read.position()
        again = await everything(gateway)
        for name, rows in live.items():
            if name == "dead_letter":  # its time is when it was given up
                assert len(again[name]) == len(rows)
            elif name == "audit":  # the order to rebuild is in it
                assert set(again[name]) > set(rows)
            elif name != "stream_position":
                assert again[name] == rows, name
    audit = (await gateway.client.get("/api/v1/audit", params={"category": "platform"})).json()["items"]
    assert [row["action"] for row in audit] == ["read model rebuilt", "read model rebuilt"]


@pytest.mark.slow
async def test_people_read_and_pushes_arrive_meanwhile(gateway: Gateway) -> None:
    await gateway.tell(*(message for message, _ in history(6).told))
    answers: list[int] = []
    pushed, over = [0], asyncio.Event()

    async def read() -> None:
        paths = ("/api/v1/runs", "/api/v1/services", "/services/shop/runs", "/", "/api/v1/builds", "/api/v1/runs/run_3")
        turn = 0
        while not over.is_set():
            answers.append((await gateway.client.get(paths[turn % len(paths)])).status_code)
            turn += 1
            await asyncio.sleep(0.01)  # without a socket between us nothing else makes an answer wait for the others

    async def push() -> None:
        number = 100
        while not over.is_set():
            story = Story()
            journeys.push(story, number)
            journeys.finished(story, number, "failed", "build", "It did not compile.")
            await gateway_tells(gateway, *(message for message, _ in story.told))
            pushed[0], number = pushed[0] + 1, number + 1

    others = [asyncio.create_task(read()), asyncio.create_task(push())]
    try:
        for _ in range(2):
            before, read_before = pushed[0], len(answers)
            found = await rebuilt(gateway)
            assert found["state"] == "done", found
            assert pushed[0] > before and len(answers) > read_before
    finally:
        over.set()
        await asyncio.gather(*others)
    await gateway.settled()
    assert set(answers) <= {200, 303}, sorted(set(answers))
    live = await everything(gateway)
    assert len(live["runs"]) == 6 + pushed[0]
    assert not live["parked"] and not live["dead_letter"]
    assert (await rebuilt(gateway))["state"] == "done"
    again = await everything(gateway)
    for name in set(live) - {"audit", "stream_position"}:
        assert again[name] == live[name], name


@pytest.mark.slow
async def test_a_switch_that_takes_too_long_is_tried_again(gateway: Gateway) -> None:
    """The process that makes the tables stands still while writers are held: they go on, and a later try does it."""
    await gateway.tell(*(message for message, _ in history(6).told))
    gateway.read.gate_seconds = 1.0
    rebuilding = asyncio.create_task(rebuilt(gateway))
    async with asyncio.timeout(60):
        while not (makers := leftovers(str(gateway.root.resolve()), "gateway")):
            await asyncio.sleep(0.005)
    (maker,) = makers
    async with gateway.read.write():  # the switch waits for us, and has not asked the process yet
        async with asyncio.timeout(60):
            while not gateway.read.switching:
                await asyncio.sleep(0.005)
        os.kill(maker, signal.SIGSTOP)
    try:
        story = Story()
        journeys.push(story, 100)
        await gateway_tells(gateway, *(message for message, _ in story.told))
        await gateway.settled()  # it could be handled only after a try that gave up
    finally:
        os.kill(maker, signal.SIGCONT)
    found = await rebuilding
    assert (found["state"], found["code"]) == ("done", ""), found
    await gateway.settled()
    first = await everything(gateway)
    assert len(first["runs"]) == 7
    assert (await rebuilt(gateway))["state"] == "done"
    again = await everything(gateway)
    for name in set(first) - {"audit", "stream_position"}:
        assert again[name] == first[name], name


async def gateway_tells(gateway: Gateway, *messages: Message) -> None:
    from shared import ids

    url = gateway.platform.services["gateway"].host.bus.url
    for message in messages:
        name = f"test-{ids.uuid7()}"
        headers = {"Nats-Msg-Id": name, "ce-id": name, "ce-type": message.type(), "traceparent": new_traceparent("")}
        await publish(gateway.root, message.owner, url, message.subject, message.model_dump_json().encode(), headers)


@pytest.mark.slow
async def test_one_at_a_time(gateway: Gateway) -> None:
    await gateway.tell(*(message for message, _ in history(1).told))
    assert (await gateway.client.post("/api/v1/read-model/rebuild")).status_code == 202
    second = await gateway.client.post("/api/v1/read-model/rebuild")
    assert second.status_code == 422 and second.json()["code"] == "rebuild.running"
    async with asyncio.timeout(60):
        while (await gateway.client.get("/api/v1/read-model/rebuild")).json()["state"] == "running":
            await asyncio.sleep(0.02)


@pytest.mark.slow
async def test_a_process_that_dies_leaves_the_old_one_serving(gateway: Gateway, tmp_path: Path) -> None:
    await gateway.tell(*(message for message, _ in history(2).told))
    live = await everything(gateway)
    # A key that is none: the process ends with an error, after it has made its tables.
    (tmp_path / "no.key").write_text("no seed")
    bus = gateway.platform.services["gateway"].host.bus
    bus.seed, kept = tmp_path / "no.key", bus.seed
    found = await rebuilt(gateway)
    assert (found["state"], found["code"]) == ("failed", "rebuild.process"), found
    await gateway.settled()
    assert (await everything(gateway))["runs"] == live["runs"]
    if not gateway.read.is_postgresql:
        assert serving(gateway) == ["read_model.db"]
    bus.seed = kept
    assert (await rebuilt(gateway))["state"] == "done"
    assert (await everything(gateway))["runs"] == live["runs"]


@pytest.mark.slow
async def test_a_start_finds_the_one_that_serves_and_takes_leftovers_away(nats: Any, platform: Callable[..., Any]) -> None:
    wires = {"gateway": lambda host: wire(host, GatewaySettings())}
    rows: list[Any] = []
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
                    await found.tell(*(message for message, _ in history(2).told))
                    assert (await rebuilt(found))["state"] == "done"
                    await found.settled()
                    # As a kill in the middle of the next one would leave it.
                    if found.read.is_postgresql:
                        async with found.read.write() as tx:
                            await tx.execute(sa.text("create schema read_model_fresh"))
                            await tx.execute(sa.text("create table read_model_fresh.runs (id text)"))
                    else:
                        (found.root / "services" / "gateway" / "read_model.7.db").write_bytes(b"half of it")
                await found.settled()
                rows.append(await everything(found))
                if found.read.is_postgresql:
                    async with found.read.read() as tx:
                        left = await tx.scalar(sa.text("select count(*) from pg_namespace where nspname like 'read_model%'"))
                    assert left == (1 if start == 1 else 0)
                else:
                    assert serving(found) == (["read_model.1.db", "read_model.7.db"] if start == 1 else ["read_model.1.db"])
    assert rows[0] == rows[1]
