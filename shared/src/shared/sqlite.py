"""SQLite on the event loop's own thread; only a commit that waits for the disk goes to another.

A statement on a local file takes some tens of microseconds. To hand each one to a thread and to wait for the answer takes ten times
that, and a hundred times on a busy machine, because the interpreter has to switch threads twice. So statements run where they
are called. What can take long does not: a durable commit waits for the disk, and `BEGIN IMMEDIATE` for another process.

Common statements are run as `shared.plans` says; what a `Plan` cannot run, SQLAlchemy runs on the same connection.

The classes have the part of SQLAlchemy's asynchronous ones that `shared.database` and the migrations use.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy.engine.row import Row
from sqlalchemy.pool import QueuePool, StaticPool

from shared.plans import Plans, Result, to_json

# So many statements run before others have a turn, so that a long transaction does not keep the process from answering.
STATEMENTS_A_TURN = 40
WAIT_MS = 5000
"""How long a transaction waits for another process that writes, in milliseconds, unless told otherwise."""
KEPT = 2
"""So many connections stay open when nobody uses them."""


class Connection:
    """A connection in use by one transaction."""

    def __init__(self, engine: Engine, connection: sa.Connection) -> None:
        self._engine = engine
        self.sync_connection = connection
        self.driver = cast(sqlite3.Connection, connection.connection.driver_connection)
        self._statements = 0
        self._spoilt = False

    async def execute(self, statement: sa.Executable, parameters: Any = None) -> Result:
        done = self._run(statement, parameters)
        self._statements += 1
        if self._statements >= STATEMENTS_A_TURN:
            self._statements = 0
            await asyncio.sleep(0)
        return done

    def _run(self, statement: sa.Executable, parameters: Any) -> Result:
        many = isinstance(parameters, list | tuple)
        first = (parameters[0] if parameters else None) if many else parameters
        found = self._engine.plans.find(statement, first, many)
        if found is None:
            done = self.sync_connection.execute(statement, parameters)
            return Result(cast("list[Row[Any]]", done.all()) if done.returns_rows else [], done.rowcount)
        plan, extracted, collected = found
        try:
            if many:
                values = [plan.values(each, extracted, collected) for each in parameters]
                return Result([], self.driver.executemany(plan.text, values).rowcount)
            cursor = self.driver.execute(plan.text, plan.values(parameters, extracted, collected))
            # All rows are fetched before the number of changed ones is asked for: RETURNING counts as it is read.
            rows = plan.rows(cursor.fetchall()) if cursor.description else []
            return Result(rows, cursor.rowcount)
        except sqlite3.Error as error:
            raise as_always(error, plan.text) from error

    async def run_sync(self, call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """Call with the synchronous connection, as migrations want it."""
        return call(self.sync_connection, *arguments, **options)

    async def get_raw_connection(self) -> Any:
        """SQLAlchemy's proxy of the driver's connection; `driver_connection` is the sqlite3 one."""
        return self.sync_connection.connection

    @asynccontextmanager
    async def begin(self, *, durable: bool = True) -> AsyncIterator[None]:
        """A transaction that writes: begun at once, committed at the end of the block, rolled back by an exception.

        One that is not `durable` outlives a crash of the process, but maybe not one of the machine.
        """
        driver = self.driver
        try:
            await self._engine.begin_immediate(driver, durable=durable)
            before = driver.total_changes
            yield
        except BaseException:
            self._spoilt = True
            self._engine.end(self.sync_connection, commit=False)
            raise
        self._spoilt = True  # until the commit is through
        await self._engine.commit(self.sync_connection, wait=durable and driver.total_changes != before)
        self._spoilt = False

    async def close(self) -> None:
        """Give it back; after what went wrong SQLAlchemy makes itself a new one on the same file."""
        if self._spoilt:
            self.sync_connection.close()
        else:
            await self._engine.give_back(self.sync_connection)


class Engine:
    """A SQLite file in WAL mode, for one writer or for readers."""

    def __init__(self, path: Path, *, writes: bool, synchronous: str = "FULL", wait_ms: int = WAIT_MS) -> None:
        self._wait_ms = wait_ms
        self._writes = writes
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
        self._durable = self._waits = synchronous == "FULL"
        self.plans = Plans(self.dialect, lambda plan: plan.learn(None))
        self._free: list[sa.Connection] = []  # of the readers; the writer has one

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

    # -- connections -------------------------------------------------------------------------------------------------
    async def connect(self) -> Connection:
        given = Connection(self, self._free.pop() if self._free else self.sync_engine.connect())
        if not self._writes:
            try:
                given.driver.execute("BEGIN")  # one view for all statements of the block
            except sqlite3.Error as error:
                given.sync_connection.close()
                raise as_always(error, "BEGIN") from error
        return given

    async def give_back(self, connection: sa.Connection) -> None:
        """Keep it for the next transaction; one that cannot end its own is closed."""
        try:
            self.end(connection, commit=False)
        except BaseException:
            connection.close()
            raise
        if len(self._free) < KEPT:
            self._free.append(connection)
        else:
            connection.close()

    async def dispose(self) -> None:
        while self._free:
            self._free.pop().close()
        self.sync_engine.dispose()
        if self._thread:
            self._thread.shutdown(wait=True)

    # -- transactions ------------------------------------------------------------------------------------------------
    async def begin_immediate(self, driver: Any, *, durable: bool = True) -> None:
        """Take the right to write. Raises SQLAlchemy's OperationalError when another process keeps it for `wait_ms`."""
        if self._durable and durable != self._waits:
            driver.execute(f"pragma synchronous={'FULL' if durable else 'NORMAL'}").close()
            self._waits = durable
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

    @staticmethod
    def end(connection: sa.Connection, *, commit: bool) -> None:
        """End the transaction, and SQLAlchemy's own thought of it when it ran a statement."""
        if connection.in_transaction():
            if commit:
                connection.commit()
            else:
                connection.rollback()
            return
        driver = cast(sqlite3.Connection, connection.connection.driver_connection)
        try:
            if commit:
                driver.commit()
            else:
                driver.rollback()
        except sqlite3.Error as error:
            raise as_always(error, "COMMIT" if commit else "ROLLBACK") from error

    async def commit(self, connection: sa.Connection, *, wait: bool = True) -> None:
        """Commit, in the writer's thread when it waits for the disk: a transaction that changed no row has nothing to wait for."""
        try:
            if self._durable and wait:
                await self._apart(lambda: self.end(connection, commit=True))
            else:
                self.end(connection, commit=True)
        except sa.exc.DBAPIError:
            # SQLite keeps a transaction that it could not commit, for a full disk for instance.
            cast(sqlite3.Connection, connection.connection.driver_connection).rollback()
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


def as_always(error: sqlite3.Error, statement: str) -> sa.exc.DBAPIError:
    """The error as SQLAlchemy raises it. Without the values: nobody knows what is among them."""
    kind = {
        sqlite3.OperationalError: sa.exc.OperationalError,
        sqlite3.IntegrityError: sa.exc.IntegrityError,
        sqlite3.DataError: sa.exc.DataError,
        sqlite3.InterfaceError: sa.exc.InterfaceError,
        sqlite3.ProgrammingError: sa.exc.ProgrammingError,
    }.get(type(error), sa.exc.DatabaseError)
    return kind(statement, None, error)
