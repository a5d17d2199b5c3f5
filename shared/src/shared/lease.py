"""One active instance of a role: on SQLite the file lock on the data folder decides, on PostgreSQL a lease row with a token.

A lease lasts `seconds` on the database's clock and is renewed while it is held. The token grows when the lease changes hands, and
is checked in the transaction that writes what the role is for, so that an instance which lost its lease writes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any

import sqlalchemy as sa

from shared import logging, tasks
from shared.database import Database, Tx
from shared.errors import KiopsError, Unavailable

LEASE_SECONDS = 6.0
LOOK_SECONDS = 1.0
"""How often an instance that waits looks whether the lease is free."""


class Lease:
    """The lease of one role ("reader", "relay", "scheduler") on one database. On SQLite it is always held.

    `standby` is true while another instance has it and this one waits; `since_ms` is when this one got it, on the database's clock.
    """

    def __init__(self, database: Database, name: str, holder: str, seconds: float = LEASE_SECONDS) -> None:
        self.database, self.name, self.holder = database, name, holder
        self.lease_ms, self.renew_seconds = int(seconds * 1000), seconds / 4
        self.token = 0
        self.standby = False
        self.since_ms = 0
        self._renewed = -1e9

    @property
    def ours(self) -> bool:
        """Whether this instance has the role, as far as it knows."""
        return not self.database.is_postgresql or self.token > 0

    @asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """The block runs only while the lease is ours: waits until it is, and renews it.

        Raises Unavailable `lease.lost` out of the block when another instance has taken it, or when it could not be renewed.
        """
        if not self.database.is_postgresql:
            yield
            return
        await self._until_ours()
        try:
            async with asyncio.timeout(None) as scope:
                keeper = asyncio.create_task(self._keep(scope))
                try:
                    yield
                finally:
                    await tasks.end(keeper)
        except TimeoutError:
            if scope.expired():
                raise self.lost() from None
            raise

    async def _until_ours(self) -> None:
        try:
            while not await self._take():
                self.standby = True
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            self.standby = False

    async def _keep(self, scope: asyncio.Timeout) -> None:
        while True:
            await asyncio.sleep(self.renew_seconds)
            try:
                kept = await self._take()
            except KiopsError:
                kept = self.database.clock.monotonic() - self._renewed < self.lease_ms / 1000
            if not kept:
                self.token = 0
                scope.reschedule(asyncio.get_running_loop().time())
                return

    async def _take(self) -> bool:
        now = self.database.clock.monotonic()
        if self.token and now - self._renewed < self.renew_seconds / 2:
            return True
        table = self.database.metadata.tables["lease"]
        async with self.database.write() as tx:
            clock = await self.database.now_ms(tx)
            changed = await tx.one(self._taking(table, clock))
            if changed is None and await tx.insert_new(table, {"name": self.name, "holder": "", "token": 0, "until_ms": 0}):
                changed = await tx.one(self._taking(table, clock))
        if changed is None:
            self.token = 0
            return False
        if changed.token != self.token:
            self.since_ms = clock
        self.token, self._renewed = changed.token, now
        return True

    def _taking(self, table: sa.Table, clock: int) -> sa.Executable:
        # An end further ahead than a lease lasts was written before the clock was set back: it counts as over.
        free = (table.c.until_ms < clock) | (table.c.until_ms > clock + self.lease_ms)
        return (
            table.update()
            .where(table.c.name == self.name, (table.c.holder == self.holder) | free)
            .values(
                holder=self.holder,
                until_ms=clock + self.lease_ms,
                token=sa.case((table.c.holder == self.holder, table.c.token), else_=table.c.token + 1),
            )
            .returning(table.c.token)
        )

    def _mine(self) -> sa.Select[Any]:
        """Our row, locked until the transaction's end: who wants to take the lease waits for our commit, and we see that he did."""
        table = self.database.metadata.tables["lease"]
        return (
            sa.select(table.c.token)
            .where(
                table.c.name == sa.bindparam("role"),
                table.c.holder == sa.bindparam("holder"),
                table.c.token == sa.bindparam("held_token"),
            )
            .with_for_update(read=True)
        )

    def fenced(self, statement: sa.Update) -> sa.Update:
        """The statement, made to change nothing unless the lease is ours. Run it with `fence()` among its parameters."""
        if not self.database.is_postgresql:
            return statement
        mine = self._mine().cte("mine")
        return statement.where(sa.exists(sa.select(mine.c.token)))

    def fence(self) -> dict[str, Any]:
        """What a `fenced` statement is run with."""
        return {"role": self.name, "holder": self.holder, "held_token": self.token} if self.database.is_postgresql else {}

    async def check(self, tx: Tx) -> None:
        """Raise Unavailable `lease.lost` in this transaction when another instance holds the lease."""
        if self.database.is_postgresql and await tx.one(self._mine(), self.fence()) is None:
            raise self.lost()

    def lost(self) -> Unavailable:
        """Note that the lease is gone; the error to raise."""
        self.token = 0
        return Unavailable("lease.lost", f"another instance is the {self.name} of {self.database.name} now")

    async def release(self) -> None:
        """Give the lease back, so that another instance need not wait for its end."""
        if self.database.is_postgresql and self.token:
            table = self.database.metadata.tables["lease"]
            async with self.database.write() as tx:
                await tx.execute(table.update().where(table.c.name == self.name, table.c.holder == self.holder).values(until_ms=0))
            self.token = 0


async def serve_alone(lease: Lease, works: Sequence[tuple[str, Callable[[], Coroutine[Any, Any, None]]]]) -> None:
    """Run these works in the one instance that has the lease, until cancelled; when one breaks, all begin again."""
    log = logging.get(lease.database.name)
    while True:
        try:
            async with lease.held(), asyncio.TaskGroup() as group:
                for name, work in works:
                    group.create_task(work(), name=name)
            return
        except KiopsError as error:
            log.warning("periodic work waits", error=str(error))
        except ExceptionGroup as broken:
            log.error("periodic work broke and begins again", error="; ".join(str(each) for each in broken.exceptions))
        await asyncio.sleep(LOOK_SECONDS)
