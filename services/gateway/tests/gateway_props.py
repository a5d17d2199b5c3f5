"""The gateway as tests see it: a client, its databases, facts told with their owners' keys, other services' answers."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from shared.facts._base import Message
from shared.hosting import Platform

from shared import ids

PASSWORD = "-".join(("correct", "horse", "battery", "staple"))


@dataclass
class Gateway:
    """A running gateway. `client` sends the command line's token; `browser()` a fresh client without anything."""

    platform: Platform
    client: httpx.AsyncClient
    root: Path

    def browser(self, **options: Any) -> httpx.AsyncClient:
        # A defect must come back as an answer, as it does for people, not as an exception of the test.
        transport = httpx.ASGITransport(self.platform.app, raise_app_exceptions=False)
        return httpx.AsyncClient(transport=transport, base_url="http://kiops.test", **options)

    @property
    def owned(self) -> Any:
        return self.platform.services["gateway"].service.database

    @property
    def read(self) -> Any:
        return self.platform.services["gateway"].service.loop_database

    async def tell(self, *messages: Message, correlation: str = "", causation: str = "") -> None:
        """Put facts on the stream as their owner would, and wait until the read model has them."""
        loop = self.platform.services["gateway"].loop
        assert loop
        bus = self.platform.services["gateway"].host.bus
        for message in messages:
            headers = {
                "Nats-Msg-Id": (name := f"test-{ids.uuid7()}"),
                "ce-id": name,
                "ce-type": message.type(),
                "ce-correlationid": correlation or getattr(message, "run", ""),
                "ce-causationid": causation,
            }
            await publish(self.root, message.owner, bus.url, message.subject, message.model_dump_json().encode(), headers)
        await self.settled()

    async def settled(self) -> None:
        async with asyncio.timeout(60):
            while not await self.platform.settled():
                await asyncio.sleep(0.02)


async def publish(root: Path, owner: str, url: str, subject: str, body: bytes, headers: dict[str, str]) -> int:
    """Publish with the owner's own key: the rights are the real ones."""
    import nats

    client = await nats.connect(url, nkeys_seed=str(root / "bus" / "keys" / f"{owner}.nk"), inbox_prefix=f"_INBOX_{owner}".encode())
    try:
        ack = await client.jetstream().publish(subject, body, headers=headers)
        return int(ack.seq)
    finally:
        await client.close()


@contextlib.asynccontextmanager
async def answering(
    gateway: Gateway, owner: str, replies: dict[str, Callable[[dict[str, Any]], dict[str, Any] | Awaitable[None] | None]]
) -> AsyncIterator[Any]:
    """Another service's part, over the real bus with its own key: subject beginning -> answer."""
    import nats

    bus = gateway.platform.services["gateway"].host.bus
    client = await nats.connect(
        bus.url,
        nkeys_seed=str(gateway.root / "bus" / "keys" / f"{owner}.nk"),
        inbox_prefix=f"_INBOX_{owner}".encode(),
    )
    try:
        for subject, reply in replies.items():

            async def handle(message: Any, reply: Any = reply) -> None:
                said = reply(json.loads(message.data))
                if asyncio.iscoroutine(said):
                    said = await said
                if said is not None and message.reply:
                    await client.publish(message.reply, json.dumps(said).encode())

            await client.subscribe(f"{subject}.*.*", queue=owner, cb=handle)
        await client.flush()
        yield client
    finally:
        await client.close()
