"""nats-server itself, asked by the identity that may: to read its configuration again, and who is connected with which key."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shared import seeds
from shared.errors import Broken, Unavailable
from shared.permissions import KEEPER, make_keys, with_keys

if TYPE_CHECKING:
    from nats.aio.client import Client

ANSWER_SECONDS = 5.0


@dataclass(frozen=True)
class Server:
    """The nats-server of a data folder: where its keys, its configuration and itself are. An empty `url`: it does not run."""

    keys: Path
    config: Path
    url: str

    def write(self) -> None:
        """Its configuration, made again from the keys. Raises Broken `keys.config`."""
        with seeds.held(self.keys):
            try:
                text = self.config.read_text()
                changed = with_keys(text, make_keys(self.keys))
            except (OSError, ValueError) as error:
                raise Broken(
                    "keys.config",
                    f"nats-server's configuration {self.config} cannot be changed: {error}",
                    "Name it with --config; one that an older release wrote is made anew when KIOPS starts.",
                ) from None
            if changed != text:
                seeds.write(self.config, changed.encode(), like=self.config)

    @asynccontextmanager
    async def keeper(self) -> AsyncIterator[Keeper]:
        """A connection that may have the server read its configuration again. Raises Unavailable `keys.no_bus`."""
        import nats
        from nats import errors

        complaints: list[str] = []

        async def complain(error: Exception) -> None:
            complaints.append(str(error))

        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                client = await nats.connect(
                    self.url, nkeys_seed_str=seeds.read(seeds.seed_file(self.keys, KEEPER)), name=f"kiops-{KEEPER}",
                    inbox_prefix=f"_INBOX_{KEEPER}".encode(), error_cb=complain, max_reconnect_attempts=-1, reconnect_time_wait=0.2,
                )  # fmt: skip
        except (TimeoutError, OSError, errors.Error) as error:
            why = complaints[-1] if complaints else type(error).__name__
            raise Unavailable(
                "keys.no_bus", f"no connection to nats-server at {self.url}: {why}", "It has to run; nothing was taken away."
            ) from None
        try:
            yield Keeper(client)
        finally:
            await client.close()


@dataclass(frozen=True)
class Keeper:
    """What may be asked of nats-server itself."""

    client: Client

    async def reload(self) -> None:
        """Have it read its configuration again. Raises Broken `keys.not_read` with its own words, Unavailable."""
        told = await self._ask("$SYS.REQ.SERVER.PING.CONNZ", {"limit": 1})
        told = await self._ask(f"$SYS.REQ.SERVER.{told['server']['id']}.RELOAD", {})
        if problem := told.get("error"):
            raise Broken("keys.not_read", f"nats-server does not take its new configuration: {problem.get('description')}")

    async def connected(self) -> dict[str, set[str]]:
        """Public key -> names of the connections that signed in with it."""
        found: dict[str, set[str]] = {}
        offset = 0
        while True:
            data = (await self._ask("$SYS.REQ.SERVER.PING.CONNZ", {"auth": True, "offset": offset, "limit": 256}))["data"]
            for each in data.get("connections") or []:
                found.setdefault(each.get("authorized_user", ""), set()).add(each.get("name", ""))
            offset += 256
            if offset >= data["total"]:
                return found

    async def _ask(self, subject: str, body: dict[str, Any]) -> dict[str, Any]:
        from nats import errors

        try:
            reply = await self.client.request(subject, json.dumps(body).encode(), timeout=ANSWER_SECONDS)
        except (errors.Error, TimeoutError, OSError) as error:
            raise Unavailable("keys.no_bus", f"nats-server does not answer: {type(error).__name__}", "Run it again.") from error
        answer = json.loads(reply.data)
        if problem := answer.get("error"):
            if "data" not in answer and "RELOAD" not in subject:
                raise Broken("keys.not_told", f"nats-server: {problem.get('description')}")
        return dict(answer)
