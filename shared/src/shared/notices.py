"""Notices between the instances of one service on one PostgreSQL: LISTEN and NOTIFY.

A notice is sent in a transaction and arrives when that is committed, so that whoever hears it finds the rows. It only wakes: an
instance that missed one looks by itself a little later. On SQLite there is one instance, and nothing is sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import sqlalchemy as sa

from shared import logging
from shared.database import Database, Tx

OUTBOX = "kiops_outbox"
"""The instance that has the relay's lease is told that another has put something into the outbox."""
LEARNT = "kiops_learnt"
"""The other instances are told what the reader has just handled."""
MOST_BYTES = 7_900  # PostgreSQL refuses 8,000
AGAIN_SECONDS = 1.0
_NOTIFY = sa.select(sa.func.pg_notify(sa.bindparam("channel"), sa.bindparam("payload")))


async def notify(tx: Tx, channel: str, instance: str, *texts: str) -> None:
    """Tell the other instances these texts (each at most MOST_BYTES less the instance's name) when the transaction is committed."""
    for text in texts:
        await tx.execute(_NOTIFY, {"channel": channel, "payload": f"{instance} {text}"})


def packed(lines: Iterable[str], room: int = MOST_BYTES - 64) -> list[str]:
    """Lines joined to as few texts as fit; a line that does not fit by itself is left out."""
    texts: list[str] = []
    size = room + 1
    for line in lines:
        length = len(line.encode()) + 1
        if length > room:
            continue
        if size + length > room:
            texts.append(line)
            size = length
        else:
            texts[-1] += "\n" + line
            size += length
    return texts


class Notices:
    """Listens on channels for what other instances say: channel -> what to do with the text."""

    def __init__(self, database: Database, instance: str, heard: Mapping[str, Callable[[str], object]]) -> None:
        self._database, self._instance, self._heard = database, instance, dict(heard)

    async def serve(self) -> None:
        """Listen until cancelled; a connection that is lost is made again."""
        log = logging.get(self._database.name)
        while True:
            try:
                await self._listen()
            except Exception as error:
                log.warning("notices of other instances are not heard just now", error=f"{type(error).__name__}: {error}")
            await asyncio.sleep(AGAIN_SECONDS)

    async def _listen(self) -> None:
        engine: Any = self._database._writer
        connection = await engine.connect()
        try:
            driver = (await connection.get_raw_connection()).driver_connection
            gone = asyncio.Event()
            driver.add_termination_listener(lambda *_: gone.set())
            for channel in self._heard:
                await driver.add_listener(channel, self._hear)
            await gone.wait()
        finally:
            # It listens, and so must not go back to the pool.
            await connection.invalidate()
            await connection.close()

    def _hear(self, connection: Any, pid: int, channel: str, payload: str) -> None:
        instance, _, text = payload.partition(" ")
        if instance != self._instance:
            try:
                self._heard[channel](text)
            except Exception:
                logging.get(self._database.name).exception("a notice was not understood", channel=channel)
