"""The read model that serves, behind one value that stays the same when fresh tables take its place.

SQLite: a file per read model, and a file `read_model.current` that names the one which serves; it is replaced in one step. What it
does not name is a leftover of a rebuild that did not come to its end, and goes at the next start. PostgreSQL: the tables that serve
are in the schema that every connection looks in; two renames in one transaction put a fresh schema in its place, for all replicas.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from shared.database import Database, Tx
from shared.errors import Unavailable
from shared.hosting import Host

from gateway.rebuilding.fresh import NAME, Place
from gateway.store import position
from gateway.tables import read_model

SWITCH_KEY, REBUILD_KEY = "kiops read model switch", "kiops read model rebuild"
_FRESH, _BEFORE = "read_model_fresh", "read_model_before"


class ReadModel(Database):
    """A `Database` whose tables can be exchanged. Everything but reading and writing is asked of the one that serves now."""

    gate_seconds = 5.0
    """So long at most a switch holds writers."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._now: Database | None = None
        self._stack = AsyncExitStack()
        # Writers of this process go one after another, so that the switch finds none in the middle.
        self._gate = asyncio.Lock()
        self.switching = False  # writers are held, or about to be
        self.on_answers = lambda answers: None
        self.after_switch: Callable[[], object] = lambda: None

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or self.__dict__.get("_now") is None:
            raise AttributeError(name)
        return getattr(self._now, name)

    @property
    def now(self) -> Database:
        assert self._now is not None
        return self._now

    # -- life --------------------------------------------------------------------------------------------------------
    async def open(self) -> None:
        """Open the one that serves, and take away what an unfinished rebuild left."""
        pointer = self._pointer()
        name = pointer.read_text().strip() if pointer.exists() else NAME
        self._now = await self._opened(name)
        if self.now.is_postgresql:
            await self._drop_leftovers()
        else:
            for file in self._host.data.glob("read_model*.db*"):
                if file.name.split(".db")[0] != name:
                    file.unlink(missing_ok=True)

    async def close(self) -> None:
        await self._stack.aclose()

    async def _opened(self, name: str) -> Database:
        # The file may be another one; on PostgreSQL the database is always this one.
        opened = self._host.open_database(
            read_model.metadata, package="gateway", name=name, migrations="migrations_read_model", synchronous="NORMAL"
        )
        return await self._stack.enter_async_context(opened)

    def _pointer(self) -> Path:
        return self._host.data / "read_model.current"

    # -- as a database -----------------------------------------------------------------------------------------------
    @asynccontextmanager
    async def write(self) -> AsyncIterator[Tx]:
        async with self._gate, self.now.write() as tx:
            if self.now.is_postgresql:
                # Another replica's switch waits for this transaction, and the other way round.
                await tx.execute(_LOCK_SHARED, {"key": SWITCH_KEY})
            yield tx

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Tx]:
        async with self.now.read() as tx:
            yield tx

    # -- rebuilding --------------------------------------------------------------------------------------------------
    @asynccontextmanager
    async def fresh(self) -> AsyncIterator[Place]:
        """A place for fresh tables; what is there when the block ends goes. Raises Unavailable `rebuild.running`."""
        if self.now.is_postgresql:
            async with self._one_at_a_time():
                async with self.now.write() as tx:
                    await tx.execute(sa.text(f"drop schema if exists {_FRESH} cascade"))
                url = self._host.settings.database_url.get_secret_value().replace("{database}", NAME)
                try:
                    yield Place(url=url, schema=_FRESH)
                finally:
                    await self._drop_leftovers(alone=True)
            return
        names = [each.name.split(".")[1] for each in self._host.data.glob("read_model.*.db")]
        number = 1 + max((int(name) for name in names if name.isdigit()), default=0)
        file = self._host.data / f"read_model.{number}.db"
        try:
            yield Place(file=str(file))
        finally:
            if self.now is None or file.stem != self._serving():
                for each in self._host.data.glob(f"{file.name}*"):
                    each.unlink(missing_ok=True)

    def _serving(self) -> str:
        pointer = self._pointer()
        return pointer.read_text().strip() if pointer.exists() else NAME

    async def position(self) -> int:
        """How far the read model that serves has learnt."""
        async with self.now.read() as tx:
            return await position.reached(tx)

    async def switch(self, place: Place, until: Callable[[int], Any]) -> int:
        """Hold every writer, await `until(position)` which brings the fresh tables to it and makes them safe, let them serve.

        Returns the position. Readers go on all the time. Raises Unavailable `rebuild.switch` when that takes longer than
        `gate_seconds`; nothing has changed then.
        """
        self.switching = True
        try:
            reached = await (self._switch_schema if self.now.is_postgresql else self._switch_file)(place, until)
        finally:
            self.switching = False
        self.after_switch()
        return reached

    @asynccontextmanager
    async def _in_time(self) -> AsyncIterator[None]:
        """What may be given up. The exchange itself is not in it: nobody could say whether it was done."""
        try:
            async with asyncio.timeout(self.gate_seconds):
                yield
        except TimeoutError:
            raise Unavailable("rebuild.switch", "the fresh tables did not catch up in time", "Try it again.") from None

    async def _switch_file(self, place: Place, until: Callable[[int], Any]) -> int:
        name = Path(place.file).stem
        async with AsyncExitStack() as held:
            async with self._in_time():
                await held.enter_async_context(self._gate)
                reached = await self.position()
                await until(reached)
                new = await self._opened(name)
            self._point_at(name)
            old, self._now = self.now, new
        # Who reads from it still does so to the end; its files are ours to take away.
        await old.close()
        for each in self._host.data.glob("read_model*.db*"):
            if each.name.split(".db")[0] != name:
                each.unlink(missing_ok=True)
        return reached

    def _point_at(self, name: str) -> None:
        """In one step, and on disk: a start after this finds the new one, a start before it the old one."""
        pointer, beside = self._pointer(), self._pointer().with_suffix(".next")
        with open(beside, "w") as file:
            file.write(name + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, pointer)
        folder = os.open(pointer.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    async def _switch_schema(self, place: Place, until: Callable[[int], Any]) -> int:
        async with AsyncExitStack() as held:
            async with self._in_time():
                await held.enter_async_context(self._gate)
                tx = await held.enter_async_context(self.now.write())
                await tx.execute(sa.text("set local lock_timeout = '5s'"))
                await tx.execute(_LOCK, {"key": SWITCH_KEY})
                reached = await position.reached(tx)
                await until(reached)
            serving = await tx.scalar(sa.text("select current_schema()"))
            await tx.execute(sa.text(f'insert into {place.schema}.lease select * from "{serving}".lease'))
            await tx.execute(sa.text(f'alter schema "{serving}" rename to {_BEFORE}'))
            await tx.execute(sa.text(f'alter schema {place.schema} rename to "{serving}"'))
        return reached

    @asynccontextmanager
    async def _one_at_a_time(self) -> AsyncIterator[None]:
        """Among all replicas: a lock of this session, which goes with it."""
        connection = await self.now._writer.connect()
        try:
            taken = (
                await connection.execute(sa.text("select pg_try_advisory_lock(hashtext(:key))"), {"key": REBUILD_KEY})
            ).scalar()
            await connection.commit()
            if not taken:
                raise Unavailable("rebuild.running", "the read model is being rebuilt already", "Wait until that is done.")
            try:
                yield
            finally:
                await connection.execute(sa.text("select pg_advisory_unlock(hashtext(:key))"), {"key": REBUILD_KEY})
                await connection.commit()
        finally:
            await connection.close()

    async def _drop_leftovers(self, *, alone: bool = False) -> None:
        """Schemas that no longer or not yet serve; not while another replica makes one."""
        there = sa.text("select count(*) from pg_namespace where nspname in (:fresh, :before)")
        async with self.now.read() as tx:
            if not await tx.scalar(there, {"fresh": _FRESH, "before": _BEFORE}):
                return
        with contextlib.suppress(Unavailable):
            async with contextlib.AsyncExitStack() as stack:
                if not alone:
                    await stack.enter_async_context(self._one_at_a_time())
                for schema in (_FRESH, _BEFORE):
                    async with self.now.write() as tx:
                        await tx.execute(sa.text(f"drop schema if exists {schema} cascade"))


_TRY_LOCK = sa.text("select pg_try_advisory_lock(hashtext(:key))")
_LOCK_SHARED = sa.select(sa.func.pg_advisory_xact_lock_shared(sa.func.hashtext(sa.bindparam("key", type_=sa.String))))
_LOCK = sa.text("select pg_advisory_xact_lock(hashtext(:key))")
