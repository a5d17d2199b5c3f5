"""Open pages that never read while thousands of events come: what waits for them is bounded, they are told, others get theirs."""

from __future__ import annotations

import asyncio
import json
import os
import re
from typing import Any

import pytest
from gateway_props import Gateway
from shared.facts.gateway import ServiceChanged
from shared.memory import memory_mb

pytestmark = pytest.mark.one_database  # about what waits in memory
EVENTS, SLOW = 5_000, 30
ROOM_MB = 40
"""Thirty readers' bounded queues are about 5 MB; without bounds, the events that wait for them would be over 100."""


class Client:
    """An ASGI client whose connection takes the answer's beginning and then nothing, as one whose buffers are full, until `go`."""

    def __init__(self, app: Any, path: str, headers: dict[str, str], *, slow: bool) -> None:
        self.app, self.path, self.headers = app, path, headers
        self.go, self.begun, self.gone = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.body = b""
        if not slow:
            self.go.set()
        self.task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        scope = {
            "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "method": "GET",
            "scheme": "http", "path": self.path, "raw_path": self.path.encode(), "query_string": b"", "root_path": "",
            "headers": [(name.encode(), value.encode()) for name, value in self.headers.items()],
            "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 8640),
        }  # fmt: skip

        async def receive() -> dict[str, Any]:
            await self.gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                assert message["status"] == 200, message
                return
            if self.body:
                await self.go.wait()
            self.body += message.get("body", b"")
            self.begun.set()

        await self.app(scope, receive, send)

    def last(self) -> int:
        """The highest number that it was told."""
        return max(map(int, re.findall(rb'(?:^id: |"sequence":)(\d+)', self.body, re.MULTILINE)), default=0)

    async def leave(self) -> None:
        """As a browser that closes its connection."""
        self.gone.set()
        self.go.set()
        async with asyncio.timeout(30):
            await self.task


@pytest.mark.slow
async def test_pages_that_never_read_cost_little_and_are_told_in_the_end(gateway: Gateway) -> None:
    signed_in = {"host": "kiops.test", "authorization": gateway.client.headers["authorization"]}
    link = (await gateway.client.post("/api/v1/login-links")).json()["path"]
    answer = await gateway.client.get(link)
    (cookie,) = re.findall(r"kiops_session=[^;]+", answer.headers["set-cookie"])
    browser = {"host": "kiops.test", "cookie": cookie}
    app = gateway.platform.app
    slow = [Client(app, "/api/v1/events", signed_in, slow=True) for _ in range(SLOW)]
    slow += [Client(app, "/live", browser, slow=True) for _ in range(SLOW)]
    quick = [Client(app, "/api/v1/events", signed_in, slow=False), Client(app, "/live", browser, slow=False)]
    everyone = [*slow, *quick]
    try:
        async with asyncio.timeout(60):
            await asyncio.gather(*(client.begun.wait() for client in everyone))
        _, before = memory_mb([os.getpid()])
        async with gateway.owned.write() as tx:
            for fact in _facts():
                await tx.put(fact)
        await gateway.settled()
        running = gateway.platform.services["gateway"]
        end = running.loop.position
        await _until(lambda: all(client.last() >= end for client in quick))
        _, after = memory_mb([os.getpid()])
        assert after - before < ROOM_MB, f"{before:.0f} MB, then {after:.0f} MB with {2 * SLOW} pages that read nothing"
        # What the quick one got is everything, one by one: it did not wait for anybody.
        told = [int(number) for number in re.findall(rb"id: (\d+)", quick[0].body)]
        assert told == sorted(set(told)) and b"event: stale" not in quick[0].body
        assert quick[0].body.count(b"event: learnt") >= EVENTS
        assert all(client.body.count(b"event: ") == 1 for client in slow), "they took nothing"

        # They read again: told that something is missing, and where it ends.
        for client in slow:
            client.go.set()
        await _until(lambda: all(client.last() >= end for client in slow))
        for client in slow[:SLOW]:
            assert b"event: stale" in client.body and client.body.count(b"event: learnt") < 1_000
            name = re.findall(rb"event: stale\ndata: (.+)\n", client.body)[0]
            assert json.loads(name)["sequence"] > 0
        assert all(b"event: changed" in client.body for client in slow[SLOW:])
    finally:
        for client in everyone:
            await client.leave()
    await _until(lambda: running.service.figures()["live_readers"] == 0)


def _facts() -> list[ServiceChanged]:
    about = {"organisation": "main", "service": "svc_shop", "name_": "shop", "repository_url": "https://git.invalid/shop.git"}
    return [ServiceChanged(**about, description=str(number)) for number in range(EVENTS)]


async def _until(condition: Any) -> None:
    async with asyncio.timeout(90):
        while not condition():
            await asyncio.sleep(0.02)
