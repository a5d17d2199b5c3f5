"""What the rebuilding process does: reads facts up to where it is told, projects them into fresh tables, and says how far it is.

It is told on standard input, a JSON object per line: first `Task`, then {"until": position} and {"safe": position} as often as
wanted, until it is killed. It answers on standard output: {"done", "of"} now and then, {"at": position} when it has reached what it
was told, {"safe": position} when a crash of the machine loses nothing of what is there.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import select
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from shared.bus import REBUILD
from shared.clock import Clock
from shared.database import Database, Tx
from shared.inbox import Loop
from shared.lease import Lease

from gateway.projections.table import subscribers
from gateway.rebuilding import fresh
from gateway.rebuilding.stream import Stored, Stream
from gateway.rebuilding.task import Task

BATCH = 20_000
SAY_SECONDS = 0.25


class Alone(Lease):
    """Fresh tables have one writer: there is nothing to lease."""

    @property
    def ours(self) -> bool:
        return True

    def fenced(self, statement: sa.Update) -> sa.Update:
        return statement

    def fence(self) -> dict[str, Any]:
        return {}

    async def check(self, tx: Tx) -> None:
        return None


class Rebuild:
    """Facts into fresh tables, in batches, by the live loop's own way of handling a batch."""

    def __init__(self, database: Database, stream: Stream, created: str) -> None:
        self._database, self._stream, self._created = database, stream, created
        self._loop = Loop("gateway", database, None, subscribers(), Alone(database, "reader", "rebuild"))  # type: ignore[arg-type]
        self._loop.watched = False
        self._loop.aside.may_hold = False
        self._waiting: Sequence[Stored] = ()
        self._said = 0.0

    async def begin(self) -> None:
        positions = self._database.metadata.tables["stream_position"]
        row = {"durable": "gateway", "organisation_id": "_", "stream_created": self._created, "position": 0}
        async with self._database.write() as tx:
            await tx.insert_new(positions, row)

    async def until(self, position: int) -> None:
        """Project every fact up to and with this position of the stream."""
        while self._loop.position < position:
            found = self._waiting or self._stream.read(BATCH)
            if not found:
                break
            cut = len(found)
            while cut and found[cut - 1].envelope.sequence > position:
                cut -= 1
            now, self._waiting = found[:cut], found[cut:]
            if not now:
                break
            await self._loop.take(now)  # type: ignore[arg-type]
            if self._loop.aside.may_hold:
                self._loop.aside.may_hold = await self._parked()
            self.say(position)
        if self._loop.position < position:
            # What stands there was no fact for us.
            async with self._database.write() as tx:
                await self._loop._move(tx, position)
            self._loop.position = position

    async def _parked(self) -> bool:
        parked = self._database.metadata.tables["parked"]
        async with self._database.write() as tx:
            return await tx.one(sa.select(parked.c.id).limit(1)) is not None

    def say(self, of: int) -> None:
        if time.monotonic() - self._said > SAY_SECONDS:
            self._said = time.monotonic()
            tell({"done": self._loop.position, "of": of})


class Orders:
    """Lines of standard input, taken from it only as far as they are there: nothing hides in a buffer while we wait for both."""

    def __init__(self) -> None:
        self._rest = b""

    def waiting(self) -> bool:
        return b"\n" in self._rest

    def look(self) -> None:
        """Take what is there. Ends the process when the gateway is gone."""
        if select.select([sys.stdin], [], [], 0)[0]:
            chunk = os.read(sys.stdin.fileno(), 1 << 16)
            if not chunk:
                raise SystemExit("the gateway is gone")
            self._rest += chunk

    def next(self) -> dict[str, Any]:
        while not self.waiting():
            select.select([sys.stdin], [], [])
            self.look()
        line, self._rest = self._rest.split(b"\n", 1)
        return dict(json.loads(line))


def tell(what: dict[str, Any]) -> None:
    os.write(_answers, json.dumps(what).encode() + b"\n")


_answers = 1
"""Where answers go: standard output, until log lines take that name."""


async def serve() -> None:
    """One rebuild, from the first line of standard input to its end."""
    orders = Orders()
    task = Task(**orders.next())
    place = fresh.Place(task.file, task.url, task.schema)
    async with fresh.opened(place, Clock()) as database:
        indexes: list[str] | None = await fresh.hasten(database)
        stream = Stream(task.bus_url, Path(task.seed), "gateway", REBUILD["gateway"], api=task.api)
        rebuild = Rebuild(database, stream, task.stream_created)
        await rebuild.begin()
        while True:
            while not orders.waiting():
                stream.wait([sys.stdin], 60)
                orders.look()
            order = orders.next()
            if "safe" in order:
                await fresh.make_safe(database, task.file)
                tell(order)
                continue
            await rebuild.until(order["until"])
            if indexes is not None:
                await fresh.settle(database, indexes)
                indexes = None
            tell({"at": order["until"]})


def main() -> None:
    global _answers
    # What is logged goes where errors go: the gateway reads answers only.
    _answers = os.dup(1)
    os.dup2(2, 1)
    # Rows are plain values without cycles: looking for garbage among hundreds of thousands of them only takes time.
    gc.disable()
    asyncio.run(serve())
