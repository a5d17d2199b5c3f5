"""Databases: one writer at a time on SQLite, the same SQL on PostgreSQL, one transaction per request or message.

`write()` and `read()` tell by their name what they do. On SQLite a write begins IMMEDIATE on the one writing connection (two
writers on one file are unfair, a deferred one that reads first gets "database is locked"); reads have connections of their own.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects import sqlite as sqlite_dialect

from shared import ids, postgres, sqlite, tracing
from shared.clock import Clock
from shared.context import Context, current, new_traceparent
from shared.errors import Unavailable
from shared.facts._base import Message, Order
from shared.faults import point
from shared.plans import Result
from shared.sqlite import WAIT_MS

if TYPE_CHECKING:
    from shared.queries.gateway import OrderAnswered


Engine = postgres.Engine | sqlite.Engine


class Tx:
    """One transaction: SQL, messages for the outbox, jobs, and what is to happen after the commit."""

    def __init__(self, connection: postgres.Connection | sqlite.Connection, database: Database) -> None:
        self.connection = connection
        self.database = database
        self._after: list[Callable[[], object]] = []
        self._before: dict[str, tuple[Context, Callable[[Tx], Awaitable[None]]]] = {}
        self._puts: list[dict[str, Any]] = []
        self.answers: list[OrderAnswered] = []

    # -- SQL ---------------------------------------------------------------------------------------------------------
    async def execute(self, statement: sa.Executable, parameters: Any = None) -> Result:
        return await self.connection.execute(statement, parameters)

    async def all(self, statement: sa.Executable, parameters: Any = None) -> Sequence[sa.Row[Any]]:
        return (await self.connection.execute(statement, parameters)).all()

    async def one(self, statement: sa.Executable, parameters: Any = None) -> sa.Row[Any] | None:
        """The first row, or None."""
        return (await self.connection.execute(statement, parameters)).first()

    async def scalar(self, statement: sa.Executable, parameters: Any = None) -> Any:
        """The first column of the first row, or None."""
        return (await self.connection.execute(statement, parameters)).scalar()

    def _insert(self, table: sa.Table) -> Any:
        return (postgresql if self.database.is_postgresql else sqlite_dialect).insert(table)

    async def _write_row(self, kind: tuple[Any, ...], make: Callable[[], Any], values: Mapping[str, Any]) -> Result:
        # Building a statement costs more than running it. One that has plain values is built once and kept.
        if any(isinstance(value, sa.ClauseElement) for value in values.values()):
            return await self.connection.execute(make().values(**values))
        statement = self.database.statements.get(kind)
        if statement is None:
            statement = self.database.statements[kind] = make()
        return await self.connection.execute(statement, dict(values))

    async def insert_new(self, table: sa.Table, values: Mapping[str, Any]) -> bool:
        """Insert unless a unique value is there already. True when the row is new."""
        done = await self._write_row(("new", table), lambda: self._insert(table).on_conflict_do_nothing(), values)
        return done.rowcount > 0

    async def insert_all_new(self, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> None:
        """Insert those of the rows (all with the same columns, plain values) whose unique values are not there already."""
        if rows:
            statement = self.database.statements.get(("new", table))
            if statement is None:
                statement = self.database.statements["new", table] = self._insert(table).on_conflict_do_nothing()
            await self.connection.execute(statement, [dict(row) for row in rows])

    async def upsert(self, table: sa.Table, values: Mapping[str, Any], key: Sequence[str]) -> None:
        """Insert, or change the row with the same key to these values."""

        def make() -> Any:
            statement = self._insert(table)
            changes = {name: statement.excluded[name] for name in values if name not in key}
            if changes:
                return statement.on_conflict_do_update(index_elements=list(key), set_=changes)
            return statement.on_conflict_do_nothing(index_elements=list(key))

        await self._write_row(("up", table, tuple(values), tuple(key)), make, values)

    # -- messages ----------------------------------------------------------------------------------------------------
    async def put(self, message: Message, *, correlation: str | None = None) -> str:
        """Put a fact or an order into the outbox, in this transaction. Returns its id.

        An order of a person goes out under its intent's id, so that sending it again is harmless.
        """
        here = current.get()
        name = message.intent if isinstance(message, Order) and message.intent else f"{self.database.name}-{ids.uuid7()}"
        body = message.model_dump_json()
        if len(body.encode()) > 256 * 1024:
            raise ValueError(f"{message.type()} has {len(body)} bytes: what is longer than 256 KiB belongs in the object store")
        now = self.database.clock.now()
        headers = {
            "ce-id": name,
            "ce-type": message.type(),
            "ce-source": f"/kiops/{self.database.name}",
            "ce-subject": message.subject,
            "ce-time": now.isoformat(timespec="milliseconds"),
            "ce-specversion": "1.0",
            "ce-correlationid": correlation or here.correlation,
            "ce-causationid": here.causation,
            # While spans are collected, who has none begins a trace where the message is sent.
            "traceparent": here.traceparent or ("" if tracing.on() else new_traceparent()),
        }
        self._puts.append(
            {
                "id": name,
                "organisation_id": message.organisation,
                "subject": message.subject,
                "headers": headers,
                "body": body,
                "created_at_ms": self.database.clock.now_ms(),
            }
        )
        return name

    async def answer(
        self,
        order: Order,
        *,
        accepted: bool = True,
        code: str = "",
        reason: str = "",
        advice: str = "",
        data: Mapping[str, str] | None = None,
    ) -> None:
        """Tell the gateway, after the commit, that a person's order was accepted or refused. Nothing for other orders."""
        if not order.intent:
            return
        from shared.queries.gateway import OrderAnswered

        self.answers.append(
            OrderAnswered(
                organisation=order.organisation,
                intent=order.intent,
                accepted=accepted,
                code=code,
                reason=reason,
                advice=advice,
                data=dict(data or {}),
            )
        )

    # -- jobs --------------------------------------------------------------------------------------------------------
    async def enqueue(
        self,
        kind: str,
        *,
        key: str,
        run: str,
        payload: Mapping[str, Any],
        deadline_seconds: int,
        organisation: str | None = None,
        delay_seconds: float = 0,
        job_id: str | None = None,
    ) -> str:
        """Store a job that a worker of this kind will do. Jobs of one key run one after another, in this order."""
        from shared.jobs import enqueue

        return await enqueue(
            self,
            kind,
            key=key,
            run=run,
            payload=payload,
            deadline_seconds=deadline_seconds,
            organisation=organisation,
            delay_seconds=delay_seconds,
            job_id=job_id,
        )

    async def cancel_jobs(self, *, reason: str, run: str | None = None, kind: str | None = None, job: str | None = None) -> int:
        """Ask for the end of open jobs of a run (or one job). Returns how many were open."""
        from shared.jobs import cancel

        return await cancel(self, reason=reason, run=run, kind=kind, job=job)

    def after_commit(self, call: Callable[[], object]) -> None:
        """Call this, which must not wait, once the transaction is on disk."""
        self._after.append(call)

    def before_commit(self, key: str, call: Callable[[Tx], Awaitable[None]]) -> None:
        """Await this at the end of the transaction, still inside it, once for each key: how a batch is folded.

        What it leads to has the cause that was current when it was last asked for.
        """
        self._before[key] = current.get(), call

    async def _flush(self) -> None:
        while self._before:
            context, call = self._before.pop(next(iter(self._before)))
            mark = current.set(context)
            try:
                await call(self)
            finally:
                current.reset(mark)
        if self._puts:
            statement = self.database.statements.get(("outbox",))
            if statement is None:
                statement = self.database.statements[("outbox",)] = self.database.outbox.insert()
            await self.connection.execute(statement, self._puts)
            if self.database.tell_relay is not None:
                await self.database.tell_relay(self)


_ONE: sa.Select[Any] = sa.select(sa.literal_column("1"))
_NOW = sa.select(sa.cast(sa.extract("epoch", sa.func.clock_timestamp()) * 1000, sa.BigInteger))


class Database:
    """One service's database. Made by `open_database`."""

    def __init__(
        self,
        name: str,
        metadata: sa.MetaData,
        writer: Engine,
        reader: Engine,
        clock: Clock,
    ) -> None:
        self.name = name
        self.metadata = metadata
        self.clock = clock
        self._writer, self._reader = writer, reader
        self.is_postgresql = writer.dialect.name == "postgresql"
        self._lock = asyncio.Lock()
        self.outbox_wake = asyncio.Event()
        self.jobs_wake = asyncio.Event()
        self.jobs_cancelled = 0  # how often open jobs were cancelled by this process
        self.statements: dict[tuple[Any, ...], Any] = {}
        self.on_answers: Callable[[list[OrderAnswered]], object] = lambda answers: None
        self.jobs: Any = None
        self.tell_relay: Callable[[Tx], Awaitable[None]] | None = None
        self.trouble: Unavailable | None = None  # why the last transaction that wrote did not come through

    @property
    def outbox(self) -> sa.Table:
        return self.metadata.tables["outbox"]

    @asynccontextmanager
    async def write(self, *, durable: bool = True) -> AsyncIterator[Tx]:
        """A transaction that writes. Committed at the end of the block, rolled back by an exception. Await only SQL inside.

        What is not `durable` does not wait for the disk on SQLite: it may be gone after the machine crashed, not the process.

        Raises Unavailable when the database does not take it: `database.full`, `database.locked`, `database.read_only`, else
        `database.away`.
        """
        if self.is_postgresql:
            async with self._write(durable) as tx:
                yield tx
        else:
            async with self._lock, self._write(durable) as tx:
                yield tx

    @asynccontextmanager
    async def _write(self, durable: bool) -> AsyncIterator[Tx]:
        try:
            connection = await self._writer.connect()
        except (OSError, sa.exc.DBAPIError) as error:
            self.trouble = troubled(self.name, error) or away(self.name, error)
            raise self.trouble from error
        try:
            async with connection.begin(durable=durable):
                tx = Tx(connection, self)
                yield tx
                await tx._flush()
                point("commit.before")
        except sa.exc.DBAPIError as error:
            self.trouble = troubled(self.name, error)
            if self.trouble is None:
                raise
            raise self.trouble from error
        finally:
            await leave(connection)
        self.trouble = None
        point("commit.after")
        if tx._puts:
            self.outbox_wake.set()
        for call in tx._after:
            call()
        if tx.answers:
            self.on_answers(tx.answers)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Tx]:
        """What only reads.

        One view for the whole block on SQLite; on PostgreSQL each statement sees what is committed when it begins.
        """
        try:
            connection = await self._reader.connect()
        except (OSError, sa.exc.DBAPIError) as error:
            raise away(self.name, error) from error
        try:
            yield Tx(connection, self)
        except sa.exc.DBAPIError as error:
            told = troubled(self.name, error)
            if told is None:
                raise
            raise told from error
        finally:
            await leave(connection)

    async def check(self) -> None:
        """Raise the Unavailable that reading, or since the last writing failed writing, gets now. A transaction that failed for a
        reason which is gone is forgotten by this."""
        async with self.read() as tx:
            await tx.scalar(_ONE)
        lease = self.metadata.tables.get("lease")
        if self.trouble is not None and lease is not None:
            # A page of the file at least: on a full disk a smaller try could still succeed.
            row = {"name": "probe", "holder": "x" * 8192, "token": 0, "until_ms": 0}
            async with self.write() as tx:
                await tx.upsert(lease, row, ["name"])
                await tx.execute(lease.delete().where(lease.c.name == "probe"))

    async def now_ms(self, tx: Tx) -> int:
        """The clock that leases run on: the database's on PostgreSQL, the monotonic one (same boot) on SQLite."""
        if self.is_postgresql:
            return int(await tx.scalar(_NOW))
        return int(self.clock.monotonic() * 1000)

    async def close(self) -> None:
        await self._reader.dispose()
        await self._writer.dispose()


# The driver's own codes: SQLite's primary result codes by name, PostgreSQL's SQLSTATEs.
CODES = {
    "SQLITE_FULL": "database.full",
    "53100": "database.full",
    "SQLITE_BUSY": "database.locked",
    "SQLITE_LOCKED": "database.locked",
    "55P03": "database.locked",
    "40P01": "database.locked",
    "SQLITE_READONLY": "database.read_only",
    "25006": "database.read_only",
}
TOLD = {
    "database.full": ("has no room to write: its disk is full", "Make room on the disk; everything goes on by itself then."),
    "database.locked": ("is locked by somebody else", "End what keeps it locked; everything goes on by itself then."),
    "database.read_only": ("can only be read", "Let it be written again: rights, mount, server; all goes on by itself then."),
}


def troubled(name: str, error: Exception) -> Unavailable | None:
    """The Unavailable for a database that cannot do it now; None when it is not the database that is wrong."""
    orig = getattr(error, "orig", None)
    state = getattr(orig, "sqlstate", None) or getattr(orig, "sqlite_errorname", None) or ""
    if state.startswith("SQLITE_"):
        state = "_".join(state.split("_")[:2])
    if code := CODES.get(state):
        what, advice = TOLD[code]
        return Unavailable(code, f"the database of {name} {what}", advice)
    # PostgreSQL's classes: connection, resources, an operator's intervention, its own disk.
    # What its client says by itself, without a state of the server's, is about the connection too.
    broken = hasattr(orig, "sqlstate") and not state
    gone = broken or (isinstance(error, sa.exc.DBAPIError) and error.connection_invalidated)
    if gone or isinstance(error, sa.exc.OperationalError | sa.exc.InterfaceError) or state[:2] in ("08", "53", "57", "58"):
        return away(name, error)
    return None


async def leave(connection: Any) -> None:
    """Give a connection back; one that cannot be given back is thrown away. What went wrong with it, its statements have told."""
    try:
        await connection.close()
    except (sa.exc.DBAPIError, OSError):
        with contextlib.suppress(Exception):
            await connection.invalidate()
            await connection.close()


def is_away(error: BaseException) -> bool:
    """Whether an error says that our database cannot do anything now."""
    return isinstance(error, Unavailable) and error.code.startswith("database.")


def away(name: str, error: Exception) -> Unavailable:
    """What a database that does not answer is called at the doors."""
    first = str(getattr(error, "orig", None) or error).splitlines()[0] if str(error) else type(error).__name__
    return Unavailable("database.away", f"the database of {name} does not answer: {first}", "Nothing is lost; it is tried again.")


@asynccontextmanager
async def open_engines(
    name: str, metadata: sa.MetaData, *, path: Path, url: str, clock: Clock, synchronous: str = "FULL", wait_ms: int = WAIT_MS
) -> AsyncIterator[Database]:
    """The database at a PostgreSQL URL, or in a SQLite file when there is none.

    `wait_ms`: how long a writer of a file waits for another process that writes it.
    """
    if url:
        writer = postgres.Engine(url)
        database = Database(name, metadata, writer, writer, clock)
    else:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        database = Database(
            name,
            metadata,
            sqlite.Engine(path, writes=True, synchronous=synchronous, wait_ms=wait_ms),
            sqlite.Engine(path, writes=False, synchronous=synchronous),
            clock,
        )
    try:
        yield database
    finally:
        await database.close()
