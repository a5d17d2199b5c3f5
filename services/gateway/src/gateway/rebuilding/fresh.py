"""The fresh tables: opened beside those that serve, without indexes and without waiting for the disk until they are whole."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from shared.clock import Clock
from shared.database import Database, open_engines

from gateway.tables import read_model
from shared import migrate

NAME = "read_model"
KEPT = "ix_inbox_position"
"""The one index that is asked for while facts are read: old ids go by position."""


@dataclass(frozen=True)
class Place:
    """Where fresh tables are made: a SQLite file, or a schema of the database at a PostgreSQL URL."""

    file: str = ""
    url: str = ""
    schema: str = ""


@asynccontextmanager
async def opened(place: Place, clock: Clock) -> AsyncIterator[Database]:
    """The database of the fresh tables, at their newest migration. On SQLite nothing of it is safe before `settle()`."""
    file = Path(place.file or "none")
    async with open_engines(NAME, read_model.metadata, path=file, url=place.url, clock=clock, synchronous="OFF") as database:
        if place.schema:
            _in_schema(database, place.schema)
            async with database.write() as tx:
                await tx.execute(sa.text(f'create schema if not exists "{place.schema}"'))
        await migrate.migrate(database, migrate.folder("gateway", "migrations_read_model"))
        yield database


def _in_schema(database: Database, schema: str) -> None:
    """Every connection of this database looks in this schema only."""

    @sa.event.listens_for(database._writer.sync_engine, "connect")
    def look(connection: Any, record: Any) -> None:
        cursor = connection.cursor()
        cursor.execute(f'set search_path to "{schema}"')
        cursor.close()
        connection.commit()


async def hasten(database: Database) -> list[str]:
    """Take the indexes away, and on SQLite let memory stand for journal and disk. Returns what makes the indexes again."""
    if not database.is_postgresql:
        await database._reader.dispose()  # only who is alone with a file may change its journal
        async with database.write() as tx:
            driver = (await tx.connection.get_raw_connection()).driver_connection
        for pragma in ("journal_mode=MEMORY", "cache_size=-96000", "temp_store=MEMORY"):
            driver.execute(f"pragma {pragma}").close()
    async with database.write() as tx:
        if database.is_postgresql:
            await tx.execute(sa.text("set local synchronous_commit to off"))
            rows = await tx.all(
                sa.text(
                    "select indexname, indexdef from pg_indexes where schemaname = current_schema()"
                    " and indexname not in (select conname from pg_constraint)"
                )
            )
        else:
            rows = await tx.all(sa.text("select name, sql from sqlite_master where type = 'index' and sql is not null"))
        for name, _ in rows:
            if name != KEPT:
                await tx.execute(sa.text(f'drop index "{name}"'))
    return [text for name, text in rows if name != KEPT]


async def settle(database: Database, indexes: list[str]) -> None:
    """Make the indexes, and tell the planner what is in the tables."""
    async with database.write() as tx:
        for text in indexes:
            await tx.execute(sa.text(text.replace(":", "\\:")))
        await tx.execute(sa.text("analyze"))


async def make_safe(database: Database, file: str) -> None:
    """From here on a crash of the machine loses nothing of it: SQLite's file is on disk and keeps a journal again."""
    if not file:
        return
    async with database.write() as tx:
        driver = (await tx.connection.get_raw_connection()).driver_connection
    driver.execute("pragma journal_mode=WAL").close()
    driver.execute("pragma wal_checkpoint(TRUNCATE)").close()
    for path in (file, str(Path(file).parent)):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
