"""One active instance: on SQLite the file lock on the data folder decides, on PostgreSQL a lease row with a token.

The token is checked in the statement that moves the position on, so that an instance which lost its lease writes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from shared.database import Database, Tx
from shared.errors import Unavailable

LEASE_MS = 8_000
RENEW_SECONDS = 2.0


class Lease:
    """The lease of one role ("reader", "relay") on one database. On SQLite it is always held."""

    def __init__(self, database: Database, name: str, holder: str) -> None:
        self.database, self.name, self.holder = database, name, holder
        self.token = 0
        self._renewed = -1e9

    @asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """The block runs only while the lease is ours; waits until it is."""
        if self.database.is_postgresql:
            while not await self._take():  # noqa: ASYNC110  (another process holds it: there is no event to wait for)
                await asyncio.sleep(RENEW_SECONDS)
        yield

    async def _take(self) -> bool:
        now = self.database.clock.monotonic()
        if self.token and now - self._renewed < RENEW_SECONDS:
            return True
        table = self.database.metadata.tables["lease"]
        async with self.database.write() as tx:
            clock = await self.database.now_ms(tx)
            await tx.insert_new(table, {"name": self.name, "holder": "", "token": 0, "until_ms": 0})
            changed = await tx.one(
                table.update()
                .where(table.c.name == self.name, (table.c.holder == self.holder) | (table.c.until_ms < clock))
                .values(
                    holder=self.holder,
                    until_ms=clock + LEASE_MS,
                    token=table.c.token + 1,
                )
                .returning(table.c.token)
            )
        if changed is None:
            self.token = 0
            return False
        self.token, self._renewed = changed.token, now
        return True

    async def check(self, tx: Tx) -> None:
        """Raise Unavailable `lease.lost` in this transaction when another instance holds the lease."""
        if not self.database.is_postgresql:
            return
        table = self.database.metadata.tables["lease"]
        found = await tx.execute(
            table.update()
            .where(table.c.name == self.name, table.c.holder == self.holder, table.c.token == self.token)
            .values(holder=self.holder)
        )
        if found.rowcount != 1:
            self.token = 0
            raise Unavailable("lease.lost", f"another instance is the {self.name} of {self.database.name} now")

    async def release(self) -> None:
        """Give the lease back, so that another instance need not wait for its end."""
        if self.database.is_postgresql and self.token:
            table = self.database.metadata.tables["lease"]
            async with self.database.write() as tx:
                await tx.execute(table.update().where(table.c.name == self.name, table.c.holder == self.holder).values(until_ms=0))
