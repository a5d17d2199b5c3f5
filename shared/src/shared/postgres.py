"""PostgreSQL by asyncpg's own interface, beneath which SQLAlchemy still opens connections, types and translates errors.

A common statement (`shared.plans`) goes to the driver's prepared statement: one question to the server, and none of SQLAlchemy's
switching between greenlets. What a `Plan` cannot run, SQLAlchemy runs on the same connection and in the same transaction. A
connection from the pool is not asked whether it is alive, unless it rested for a while: a server that ended has closed its socket.

Reading needs no transaction: at PostgreSQL's usual isolation each statement has a view of its own within one, too.

The classes have the part of SQLAlchemy's asynchronous ones that `shared.database` and the migrations use.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, NoReturn, cast

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

from shared import logging
from shared.plans import Plans, Result, to_json

CONNECTIONS = 8
"""So many connections at most to one database. Who needs one more waits for it, at most ROOM_SECONDS."""
ROOM_SECONDS = 30.0
REST_SECONDS = 5.0
"""After so long a connection is asked whether it still answers before it is used."""
KEPT_SECONDS = 60.0
"""After so long without use a connection is closed."""
ASLEEP_SECONDS = 15.0
"""After so long without a word in the middle of a transaction the server ends it: who was stopped there would keep its locks, and
with them the roles that another instance is to take over."""
PREPARED = 300
"""So many statements each connection keeps prepared; the server keeps each one's plan in memory."""


class Connection:
    """A connection in use by one caller."""

    def __init__(self, engine: Engine, connection: AsyncConnection, adapter: Any) -> None:
        self._engine = engine
        self._sqlalchemy = connection
        self._adapter = adapter  # SQLAlchemy's; the transaction is its, so that both take part in it
        self.driver = adapter.driver_connection
        self._prepared: dict[str, Any] = {}
        self._era = engine.era
        self._spoilt = False  # what the server made of it is not known: it is closed, not used again
        self._inside = False  # from before a transaction begins until it has ended well
        self.lent = False
        self.rests_since = 0.0
        self.life = engine.life

    # -- statements --------------------------------------------------------------------------------------------------
    async def execute(self, statement: sa.Executable, parameters: Any = None) -> Result:
        many = isinstance(parameters, list | tuple)
        first = (parameters[0] if parameters else None) if many else parameters
        found = self._engine.plans.find(statement, first, many)
        if found is None:
            try:
                done = await self._sqlalchemy.execute(statement, parameters)
            except asyncio.CancelledError:
                self._spoilt = True
                raise
            return Result(cast("list[Any]", done.all()) if done.returns_rows else [], done.rowcount)
        plan, extracted, collected = found
        if many:
            await self.many(plan.text, [plan.values(each, extracted, collected) for each in parameters])
            return Result([], -1)
        rows, prepared = await self._fetch(plan.text, plan.values(parameters, extracted, collected))
        if plan.returns and not plan.learnt:
            plan.learn([each.type.oid for each in prepared.get_attributes()])
        return Result(plan.rows(rows), changed(prepared.get_statusmsg()))

    async def rows(self, text: str, values: Sequence[Any] = ()) -> list[Any]:
        """All rows of a statement as text, values as the driver takes them."""
        return (await self._fetch(text, values))[0]

    async def many(self, text: str, values: Sequence[Sequence[Any]]) -> None:
        """Run a statement as text for each of these."""
        try:
            prepared = self._prepared.get(text) or await self._prepare(text)
            await prepared.executemany(values)
        except BaseException as error:
            self._tell(error, text)

    async def _fetch(self, text: str, values: Sequence[Any]) -> tuple[list[Any], Any]:
        """The rows, and the prepared statement that gave them."""
        try:
            prepared = self._prepared.get(text) or await self._prepare(text)
            return await prepared.fetch(*values), prepared
        except BaseException as error:
            self._tell(error, text)

    async def _prepare(self, text: str) -> Any:
        if len(self._prepared) >= PREPARED:
            del self._prepared[next(iter(self._prepared))]
        prepared = self._prepared[text] = await self.driver.prepare(text)
        return prepared

    def _tell(self, error: BaseException, text: str) -> NoReturn:
        """Raise the error as SQLAlchemy does. Without the values: nobody knows what is among them.

        After a cancel the connection is not used again: the server may have done what was asked, or be about to.
        """
        if not isinstance(error, Exception):
            self._spoilt = True
            raise error
        dialect = self._engine.dialect
        told: Exception = error
        try:
            self._adapter._handle_exception(error)
        except Exception as translated:
            told = translated
        if not isinstance(told, dialect.loaded_dbapi.Error):
            self._spoilt = True
            raise told
        gone = dialect.is_disconnect(told, self._adapter, None)
        self._spoilt = self._spoilt or gone
        if isinstance(told, dialect.loaded_dbapi.InvalidCachedStatementError):
            self._engine.era += 1  # a table has changed: every connection prepares its statements anew
        raise sa.exc.DBAPIError.instance(
            text, None, told, dialect.loaded_dbapi.Error, connection_invalidated=gone, dialect=dialect
        ) from error

    async def run_sync(self, call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """Call with SQLAlchemy's synchronous connection, as migrations want it."""
        return await self._sqlalchemy.run_sync(call, *arguments, **options)

    async def get_raw_connection(self) -> Any:
        """SQLAlchemy's proxy of the driver's connection; `driver_connection` is asyncpg's."""
        return await self._sqlalchemy.get_raw_connection()

    # -- transactions ------------------------------------------------------------------------------------------------
    @asynccontextmanager
    async def begin(self, *, durable: bool = True) -> AsyncIterator[None]:
        """A transaction: committed at the end of the block, rolled back by an exception.

        Only one that began and ended as it should leaves a connection that others may have. A cancel while it begins would else
        leave it open on the server, and what the next one commits would be a part of it and never be committed.
        """
        self._inside = True
        try:
            await self._adapter._start_transaction()
        except BaseException as error:
            self._spoilt = True
            self._tell(error, "BEGIN")
        try:
            yield
        except BaseException as error:
            if isinstance(error, Exception):
                await self._roll_back()
            raise
        await self._end(commit=True)
        self._inside = False

    async def _roll_back(self) -> None:
        """What went wrong is told by its own error; a connection that cannot even roll back is closed, and the log says why."""
        try:
            await self._end(commit=False)
        except Exception as error:
            logging.get("shared").warning("a transaction was not rolled back; its connection is closed", error=str(error))
        else:
            self._inside = False

    async def _end(self, *, commit: bool) -> None:
        """End the transaction, and SQLAlchemy's own thought of it when it ran a statement."""
        if self._sqlalchemy.in_transaction():
            await (self._sqlalchemy.commit() if commit else self._sqlalchemy.rollback())
            return
        transaction, self._adapter._transaction = self._adapter._transaction, None
        if transaction is None:
            return
        try:
            await (transaction.commit() if commit else transaction.rollback())
        except BaseException as error:
            self._tell(error, "COMMIT" if commit else "ROLLBACK")

    async def commit(self) -> None:
        """Commit what SQLAlchemy has run outside `begin`."""
        await self._end(commit=True)

    # -- life --------------------------------------------------------------------------------------------------------
    async def invalidate(self) -> None:
        """Never use it again."""
        self._spoilt = True

    async def close(self) -> None:
        """Give it back."""
        if not self.lent:
            return
        try:
            if self._usable:
                await self._end(commit=False)  # what SQLAlchemy began to read
        except BaseException:
            self._spoilt = True
            raise
        finally:
            self.lent = False
            await self._engine.take_back(self, self._usable and not self.driver.is_in_transaction())

    @property
    def _usable(self) -> bool:
        return not (self._spoilt or self._inside or self.driver.is_closed())

    async def answers(self) -> bool:
        """Whether it can be used again."""
        if self._era != self._engine.era:
            self._era = self._engine.era
            self._prepared.clear()
        if self.driver.is_closed():
            return False
        if time.monotonic() - self.rests_since > REST_SECONDS:
            try:
                async with asyncio.timeout(REST_SECONDS):
                    await self.driver.execute("select 1")
            except (self._theirs.PostgresError, self._theirs.InterfaceError, OSError, TimeoutError):
                return False
        return True

    async def end(self) -> None:
        """Close it for good. That it cannot say goodbye to a server that is gone is no error."""
        self._prepared.clear()
        gone = (sa.exc.SQLAlchemyError, self._theirs.PostgresError, self._theirs.InterfaceError, OSError, TimeoutError)
        with contextlib.suppress(*gone):
            await self._sqlalchemy.invalidate()
        with contextlib.suppress(*gone):
            await self._sqlalchemy.close()

    @property
    def _theirs(self) -> Any:
        """The driver's module, which only SQLAlchemy loads, and only where there is a PostgreSQL."""
        return self._engine.dialect.loaded_dbapi.asyncpg


class Engine:
    """The connections to one database of PostgreSQL."""

    def __init__(self, url: str, asleep_seconds: float = ASLEEP_SECONDS) -> None:
        asleep_ms = str(int(asleep_seconds * 1000))
        self._engine = create_async_engine(
            url,
            poolclass=NullPool,  # the pool is ours
            json_serializer=to_json,
            # Statements give up a lock after 5 s rather than wait for ever.
            connect_args={
                "server_settings": {"lock_timeout": "5000", "idle_in_transaction_session_timeout": asleep_ms},
                "timeout": 5,
            },
        )
        self.sync_engine = self._engine.sync_engine
        self.dialect: Any = self._engine.dialect
        self.plans = Plans(self.dialect)
        self.era = 0
        self._room = asyncio.Semaphore(CONNECTIONS)
        self._free: list[Connection] = []
        self.life = 0

    async def connect(self) -> Connection:
        """A connection; `close()` gives it back. Raises OSError or SQLAlchemy's DBAPIError when there is none."""
        try:
            async with asyncio.timeout(ROOM_SECONDS):
                await self._room.acquire()
        except TimeoutError:
            raise OSError(f"all {CONNECTIONS} connections have been in use for {ROOM_SECONDS:g} s") from None
        try:
            while self._free:
                given = self._free.pop()
                try:
                    given.lent = await given.answers()
                finally:
                    if not given.lent:
                        await given.end()
                if given.lent:
                    return given
            connection = await self._engine.connect()
            raw = cast(Any, await connection.get_raw_connection())
            made = Connection(self, connection, raw.dbapi_connection)
            made.lent = True
            return made
        except BaseException:
            self._room.release()
            raise

    async def take_back(self, connection: Connection, usable: bool) -> None:
        """Keep it for the next caller, or close it."""
        try:
            now = time.monotonic()
            if not usable or connection.life != self.life:
                await connection.end()
            else:
                connection.rests_since = now
                self._free.append(connection)
            # The one that was used last is used next: what lies at the bottom is not needed.
            if self._free and now - self._free[0].rests_since > KEPT_SECONDS:
                await self._free.pop(0).end()
        finally:
            self._room.release()

    async def dispose(self) -> None:
        """Close what is not in use, and the rest as it is given back."""
        self.life += 1
        while self._free:
            await self._free.pop().end()
        await self._engine.dispose()


def changed(status: str) -> int:
    """How many rows a statement changed or gave, as the server says ("INSERT 0 3", "UPDATE 2"); -1 when it does not."""
    _, _, number = (status or "").rpartition(" ")
    return int(number) if number.isdigit() else -1
