"""SQLite on the event loop's own thread; only a commit that waits for the disk goes to another.

A statement on a local file takes some tens of microseconds. To hand each one to a thread and to wait for the answer takes ten times
that, and a hundred times on a busy machine, because the interpreter has to switch threads twice. So statements run where they
are called. What can take long does not: a durable commit waits for the disk, and `BEGIN IMMEDIATE` for another process.

The classes have the part of SQLAlchemy's asynchronous ones that `shared.database` and the migrations use.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.pool import QueuePool, StaticPool

# So many statements run before others have a turn, so that a long transaction does not keep the process from answering.
STATEMENTS_A_TURN = 40
WAIT_MS = 5000
"""How long a transaction waits for another process that writes, in milliseconds, unless told otherwise."""


def to_json(value: Any) -> str:
    """JSON as it is stored: compact, ASCII."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=True)


class Connection:
    """A connection in use by one transaction."""

    def __init__(self, engine: Engine, connection: sa.Connection) -> None:
        self._engine = engine
        self.sync_connection = connection
        self._statements = 0

    async def execute(self, statement: sa.Executable, parameters: Any = None) -> sa.CursorResult[Any]:
        done = self.sync_connection.execute(statement, parameters)
        self._statements += 1
        if self._statements >= STATEMENTS_A_TURN:
            self._statements = 0
            await asyncio.sleep(0)
        return done

    async def run_sync(self, call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """Call with the synchronous connection, as migrations want it."""
        return call(self.sync_connection, *arguments, **options)

    async def get_raw_connection(self) -> Any:
        """SQLAlchemy's proxy of the driver's connection; `driver_connection` is the sqlite3 one."""
        return self.sync_connection.connection

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[None]:
        """A transaction that writes: begun at once, committed at the end of the block, rolled back by an exception."""
        transaction = self.sync_connection.begin()
        driver = self.sync_connection.connection.driver_connection
        try:
            await self._engine.begin_immediate(driver)
            before = driver.total_changes
            yield
        except BaseException:
            transaction.rollback()
            raise
        await self._engine.commit(transaction, changed=driver.total_changes != before)

    async def close(self) -> None:
        self.sync_connection.close()


class Engine:
    """A SQLite file in WAL mode, for one writer or for readers."""

    def __init__(self, path: Path, *, writes: bool, synchronous: str = "FULL", wait_ms: int = WAIT_MS) -> None:
        self._wait_ms = wait_ms
        self.sync_engine = sa.create_engine(
            f"sqlite+pysqlite:///{path}",
            poolclass=StaticPool if writes else QueuePool,
            connect_args={"check_same_thread": False},
            json_serializer=to_json,
            **({} if writes else {"pool_size": 2, "max_overflow": -1}),
        )
        self.dialect = self.sync_engine.dialect
        # A commit waits for the disk under FULL. Under NORMAL it does not, and a thread would only cost.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="commit") if writes and synchronous != "OFF" else None
        self._durable = synchronous == "FULL"

        @sa.event.listens_for(self.sync_engine, "connect")
        def prepare(connection: Any, record: Any) -> None:
            connection.isolation_level = None  # transactions begin where we say so
            for pragma in (
                f"busy_timeout={wait_ms}",
                "journal_mode=WAL",
                f"synchronous={synchronous}",
                f"busy_timeout={0 if writes else 1000}",
                "foreign_keys=ON",
                "cache_size=-1000",
            ):
                connection.execute(f"pragma {pragma}").close()

        if not writes:

            @sa.event.listens_for(self.sync_engine, "begin")
            def begin(connection: sa.Connection) -> None:
                connection.exec_driver_sql("BEGIN")  # one view for all statements of the block

    async def connect(self) -> Connection:
        return Connection(self, self.sync_engine.connect())

    async def dispose(self) -> None:
        self.sync_engine.dispose()
        if self._thread:
            self._thread.shutdown(wait=True)

    async def begin_immediate(self, driver: Any) -> None:
        """Take the right to write. Raises SQLAlchemy's OperationalError when another process keeps it for `wait_ms`."""
        try:
            driver.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                raise sa.exc.OperationalError("BEGIN IMMEDIATE", None, error) from error

            def wait() -> None:
                driver.execute(f"pragma busy_timeout={self._wait_ms}").close()
                try:
                    driver.execute("BEGIN IMMEDIATE")
                finally:
                    driver.execute("pragma busy_timeout=0").close()

            try:
                await self._apart(wait)
            except sqlite3.OperationalError as later:
                raise sa.exc.OperationalError("BEGIN IMMEDIATE", None, later) from later

    async def commit(self, transaction: sa.RootTransaction, *, changed: bool = True) -> None:
        """Commit, in the writer's thread when it waits for the disk: a transaction that changed no row has nothing to wait for."""
        try:
            if self._durable and changed:
                await self._apart(transaction.commit)
            else:
                transaction.commit()
        except sa.exc.DBAPIError:
            # SQLite keeps a transaction that it could not commit, for a full disk for instance.
            transaction.connection.connection.driver_connection.rollback()
            raise

    async def _apart(self, call: Callable[[], object]) -> None:
        """Do it in the writer's thread. A cancel waits until it is done: nothing else may touch the connection meanwhile."""
        doing = asyncio.get_running_loop().run_in_executor(self._thread, call)
        cancelled: asyncio.CancelledError | None = None
        while not doing.done():
            try:
                await asyncio.shield(doing)
            except asyncio.CancelledError as error:
                cancelled = error
            except Exception:
                break  # it is done; `result` below raises what it raised
        if cancelled:
            if not doing.cancelled():
                doing.exception()
            raise cancelled
        doing.result()
