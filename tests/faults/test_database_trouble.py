"""A database that is locked or can only be read: told by name, readiness says so, and it goes on by itself."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from shared.clock import Clock
from shared.database import Database, open_engines
from shared.errors import Unavailable
from shared.tables import NAMING, chassis_tables

from tests.faults.disks import fill, free, small_disk

__all__ = ["small_disk"]


def tables() -> sa.MetaData:
    metadata = sa.MetaData(naming_convention=NAMING)
    chassis_tables(metadata)
    return metadata


async def _write(database: Database, name: str) -> None:
    async with database.write() as tx:
        await tx.insert_new(database.metadata.tables["inbox"], {"id": name, "organisation_id": "main", "position": 1})


async def _names(database: Database) -> set[str]:
    async with database.read() as tx:
        return {row.id for row in await tx.all(sa.select(database.metadata.tables["inbox"]))}


async def _fails(database: Database, code: str) -> None:
    """Writing fails with this code, and so does the check that readiness asks."""
    with pytest.raises(Unavailable) as told:
        await _write(database, "refused")
    assert told.value.code == code and told.value.advice, told.value
    with pytest.raises(Unavailable) as again:
        await database.check()
    assert again.value.code == code


async def _goes_on(database: Database) -> None:
    await database.check()
    await _write(database, "after")
    assert await _names(database) == {"before", "after"}


async def test_sqlite_that_another_process_keeps_locked(tmp_path: Path) -> None:
    metadata, path = tables(), tmp_path / "toy.db"
    async with open_engines("toy", metadata, path=path, url="", clock=Clock(), wait_ms=200) as database:
        async with database.write() as tx:
            await tx.connection.run_sync(metadata.create_all)
        await _write(database, "before")
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("begin immediate")
        await _fails(database, "database.locked")
        assert await _names(database) == {"before"}, "who reads is not kept out"
        other.execute("rollback")
        other.close()
        await _goes_on(database)


async def test_sqlite_on_a_full_disk(tmp_path: Path, small_disk: Callable[[Path, int], Path]) -> None:
    metadata, disk = tables(), small_disk(tmp_path / "disk", 2)
    async with open_engines("toy", metadata, path=disk / "toy.db", url="", clock=Clock()) as database:
        async with database.write() as tx:
            await tx.connection.run_sync(metadata.create_all)
        await _write(database, "before")
        fill(disk)
        await _fails(database, "database.full")
        free(disk)
        await _goes_on(database)


async def test_sqlite_that_can_only_be_read(tmp_path: Path) -> None:
    metadata, path = tables(), tmp_path / "toy.db"
    async with open_engines("toy", metadata, path=path, url="", clock=Clock()) as database:
        async with database.write() as tx:
            await tx.connection.run_sync(metadata.create_all)
        await _write(database, "before")

        async def only_read(on: bool) -> None:
            # As a file system that was mounted anew for reading only: SQLite finds out when it writes.
            connection = await database._writer.connect()
            driver = (await connection.get_raw_connection()).driver_connection
            driver.execute(f"pragma query_only={int(on)}").close()
            await connection.close()

        await only_read(True)
        await _fails(database, "database.read_only")
        await only_read(False)
        await _goes_on(database)


async def test_postgresql_with_a_lock_and_for_reading_only(postgres: Any) -> None:
    metadata, name = tables(), "trouble"
    postgres.make(name)
    try:
        url = postgres.url.format(database=name)
        async with open_engines("toy", metadata, path=Path("none"), url=url, clock=Clock()) as database:
            async with database.write() as tx:
                await tx.connection.run_sync(metadata.create_all)
            await _write(database, "before")
            locked, done = asyncio.Event(), asyncio.Event()

            async def lock() -> None:
                async with database.write() as tx:
                    await tx.execute(sa.text("lock table inbox, lease in exclusive mode"))
                    locked.set()
                    await done.wait()

            holder = asyncio.create_task(lock())
            await locked.wait()
            await _fails(database, "database.locked")
            done.set()
            await holder
            await database.check()

            async with database.write() as tx:
                await tx.execute(sa.text(f'alter database "{name}" set default_transaction_read_only = on'))
            await database._writer.dispose()
            await _fails(database, "database.read_only")
            connection = await database._writer.connect()
            await connection.execute(sa.text("set transaction read write"))
            await connection.execute(sa.text(f'alter database "{name}" reset default_transaction_read_only'))
            await connection.commit()
            await connection.close()
            await database._writer.dispose()
            await _goes_on(database)
    finally:
        postgres.drop(name)
