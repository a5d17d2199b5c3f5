"""What the streams take on the disk: blocks that are full are compressed, and nothing that was acknowledged is lost by it."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import secrets
from collections.abc import AsyncIterator

import pytest
from shared.bootstrap import bootstrap, declare, streams
from shared.bus import EVENTS, LOGS, REBUILD, Bus
from shared.errors import KiopsError
from shared.permissions import BOOTSTRAP
from shared.testing.nats import NatsServer

SUBJECT = "kiops.builder.build.succeeded.main.svc_1"
MESSAGES, KILLS = 1200, 4


def said(number: int) -> bytes:
    """A fact as they are: the same names again and again, some of the values only once. About 20 kB."""
    rows = [{"path": f"source/module_{at:03d}.py", "digest": secrets.token_hex(8), "state": "unchanged"} for at in range(240)]
    return json.dumps({"number": number, "rows": rows}).encode()


async def every_fact(nats: NatsServer) -> AsyncIterator[bytes]:
    """As a rebuild reads them: all bodies, first to last."""
    durable = REBUILD["gateway"]
    bus = Bus("gateway", nats.url, nats.keys / "gateway.nk")
    await bus.open()
    try:
        inbox = bus.client.new_inbox()
        replies = await bus.client.subscribe(inbox)
        body = json.dumps({"batch": MESSAGES * 2, "no_wait": True}).encode()
        await bus.client.publish(f"{bus.api}.CONSUMER.MSG.NEXT.{EVENTS}.{durable}", body, reply=inbox)
        while "Status" not in ((message := await replies.next_msg(timeout=30)).headers or {}):
            yield message.data
    finally:
        await bus.close()


@pytest.mark.slow
async def test_full_blocks_are_compressed_and_survive_kills(nats: NatsServer) -> None:
    """nats-server is killed while blocks are filled and compressed; who got no acknowledgement says it again under the same id."""
    await bootstrap(nats.url, nats.keys)
    bodies = [said(number) for number in range(MESSAGES)]
    acknowledged = 0

    async def publish() -> None:
        nonlocal acknowledged
        bus = Bus("builder", nats.url, nats.keys / "builder.nk")
        await bus.open()
        try:
            while acknowledged < MESSAGES:
                answer = await bus.request(SUBJECT, bodies[acknowledged], headers={"Nats-Msg-Id": f"told-{acknowledged}"})
                assert "seq" in json.loads(answer.data), answer.data
                acknowledged += 1
        finally:
            await bus.close()

    for kill in range(1, KILLS + 1):
        publishing = asyncio.create_task(publish())
        while acknowledged < MESSAGES * kill // (KILLS + 1):
            assert not publishing.done(), publishing.exception()
            await asyncio.sleep(0.005)
        nats.kill()
        publishing.cancel()
        with contextlib.suppress(asyncio.CancelledError, KiopsError):
            await publishing
        nats.start()
    await publish()
    bus = Bus(BOOTSTRAP, nats.url, nats.keys / f"{BOOTSTRAP}.nk")
    await bus.open()
    try:
        info = await bus.api_call(f"STREAM.INFO.{EVENTS}")
        assert info["state"]["messages"] == MESSAGES and info["config"]["compression"] == "s2"
    finally:
        await bus.close()
    found = [hashlib.sha256(body).digest() async for body in every_fact(nats)]
    assert found == [hashlib.sha256(body).digest() for body in bodies]
    blocks = (nats.root / "bus" / "store").rglob(f"{EVENTS}/msgs/*.blk")
    assert sum(file.stat().st_size for file in blocks) < sum(map(len, bodies)) * 0.7


async def test_streams_of_an_older_release_are_compressed_from_now_on(nats: NatsServer) -> None:
    bus = Bus(BOOTSTRAP, nats.url, nats.keys / f"{BOOTSTRAP}.nk")
    await bus.open()
    try:
        for name, settings in streams().items():
            await bus.api_call(f"STREAM.CREATE.{name}", settings | {"compression": "none"})
        await declare(bus)
        for name in (EVENTS, LOGS):
            assert (await bus.api_call(f"STREAM.INFO.{name}"))["config"]["compression"] == "s2"
    finally:
        await bus.close()
