"""Rows of the release before outlive the newest migration, and its way back; a lock that is held ends a migration by name."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from shared.clock import Clock
from shared.database import Database, open_engines
from shared.errors import Unavailable

from shared import migrate

FOLDERS = sorted((Path(__file__).parents[2] / "services").glob("*/src/*/migrations*"))
LATER = '''
"""A later release keeps a note with whatever it likes."""

import sqlalchemy as sa
from alembic import op

revision = "2999-01-01-0001"
down_revision = "before"


def upgrade() -> None:
    op.add_column("{table}", sa.Column("noted_by", sa.Text, nullable=False, server_default="nobody"))
    op.create_table("note", sa.Column("id", sa.Text, primary_key=True), sa.Column("text", sa.Text))


def downgrade() -> None:
    op.drop_table("note")
    op.drop_column("{table}", "noted_by")
'''


@pytest.fixture
def databases() -> dict[str, None]:
    """One empty database, whose migrations the test runs itself."""
    return {"any": None}


@asynccontextmanager
async def opened(url: str, tmp_path: Path) -> AsyncIterator[Database]:
    where = url.replace("{database}", "any")
    async with open_engines("any", sa.MetaData(), path=tmp_path / "any.db", url=where, clock=Clock()) as database:
        yield database


def a_row(table: sa.Table, number: int) -> dict[str, Any]:
    """Something for every column that has to have something."""
    row: dict[str, Any] = {}
    for column in table.columns:
        kind = column.type
        if isinstance(kind, sa.Boolean):
            row[column.name] = False
        elif isinstance(kind, sa.Integer | sa.Numeric):
            row[column.name] = number
        elif isinstance(kind, sa.JSON):
            row[column.name] = {"number": number}
        elif isinstance(kind, sa.LargeBinary):
            row[column.name] = bytes([number])
        else:
            row[column.name] = f"é {number}"
    return row


async def fill(database: Database) -> dict[str, list[dict[str, Any]]]:
    """Two rows in every table that there is just now; all rows as they are then, by table."""
    metadata = await tables(database)
    async with database.write() as tx:
        for table in metadata.sorted_tables:
            if table.name != "alembic_version":
                for number in (1, 2):
                    await tx.execute(table.insert().values(**a_row(table, number)))
    return await rows(database, metadata)


async def tables(database: Database) -> sa.MetaData:
    metadata = sa.MetaData()
    async with database.read() as tx:
        await tx.connection.run_sync(metadata.reflect)
    return metadata


async def rows(database: Database, metadata: sa.MetaData) -> dict[str, list[dict[str, Any]]]:
    """The columns that `metadata` knows, of every row."""
    async with database.read() as tx:
        return {
            table.name: sorted((dict(row._mapping) for row in await tx.all(sa.select(table))), key=repr)
            for table in metadata.sorted_tables
            if table.name != "alembic_version"
        }


@pytest.mark.slow
@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: f"{path.parent.name}-{path.name}")
async def test_rows_outlive_the_newest_migration_and_its_way_back(folder: Path, database_url: str, tmp_path: Path) -> None:
    """From every revision one forward and one back; after the newest a later one, which every service has to bear."""
    every = [name for name, _ in migrate.revisions(folder / "versions")]
    later = tmp_path / "later"
    (later / "versions").mkdir(parents=True)
    for _, file in migrate.revisions(folder / "versions"):
        (later / "versions" / file.name).write_bytes(file.read_bytes())
    async with opened(database_url, tmp_path) as database:
        assert await migrate.at(database) is None
        await migrate.migrate(database, folder, every[0])
        steps = list(zip([*every], [*every[1:], "2999-01-01-0001"], strict=True))
        before = await fill(database)
        assert all(len(found) == 2 for found in before.values()) and before
        for old, new in steps:
            known = await tables(database)
            if new not in every:
                busiest = next(name for name in known.tables if name not in ("alembic_version", "lease"))
                (later / "versions" / f"{new}_note.py").write_text(LATER.format(table=busiest))
            for _ in range(2):  # forward and back, and once more: the way back leaves nothing in the way
                await migrate.migrate(database, later, new)
                assert await migrate.at(database) == new
                assert await rows(database, known) == before, f"{old} to {new} changed rows"
                await migrate.migrate(database, later, old)
                assert await migrate.at(database) == old
                assert await rows(database, known) == before, f"{new} back to {old} changed rows"
                assert set((await tables(database)).tables) == set(known.tables)
            await migrate.migrate(database, later, new)
            before = await rows(database, await tables(database))
        # The release before starts on the newer database: it leaves it as it is.
        await migrate.migrate(database, folder)
        assert await migrate.at(database) == "2999-01-01-0001"
        await migrate.migrate(database, later, "")
        assert set((await tables(database)).tables) <= {"alembic_version"}


@pytest.mark.slow
async def test_a_migration_that_gets_no_lock_gives_up_by_name_and_can_be_run_again(database_url: str, tmp_path: Path) -> None:
    (folder,) = (folder for folder in FOLDERS if folder.parent.name == "webhook")
    later = tmp_path / "later"
    (later / "versions").mkdir(parents=True)
    for _, file in migrate.revisions(folder / "versions"):
        (later / "versions" / file.name).write_bytes(file.read_bytes())
    (later / "versions" / "2999-01-01-0001_note.py").write_text(LATER.format(table="runs"))
    async with opened(database_url, tmp_path) as database, opened(database_url, tmp_path) as other:
        await migrate.migrate(database, folder)
        newest = await migrate.at(database)
        locked, end = asyncio.Event(), asyncio.Event()

        async def hold() -> None:
            async with other.write() as tx:
                if other.is_postgresql:
                    await tx.execute(sa.text("lock table runs in access share mode"))
                locked.set()
                await end.wait()

        holder = asyncio.create_task(hold())
        await locked.wait()
        with pytest.raises(Unavailable) as refused:
            await migrate.migrate(database, later, lock_seconds=0.2)
        assert refused.value.code == "migration.locked" and "Nothing was changed" in refused.value.advice
        assert await migrate.at(database) == newest
        assert "note" not in (await tables(database)).tables
        end.set()
        await holder
        await migrate.migrate(database, later)
        assert await migrate.at(database) == "2999-01-01-0001"


async def test_a_database_that_does_not_answer_is_not_taken_for_an_empty_one(tmp_path: Path) -> None:
    """Nothing listens there, or the file is none: that is no reason to begin with the first migration."""
    where = "postgresql+asyncpg://kiops@127.0.0.1:1/any"
    async with open_engines("any", sa.MetaData(), path=tmp_path / "x.db", url=where, clock=Clock()) as database:
        with pytest.raises(Unavailable, match="does not answer"):
            await migrate.at(database)
    (tmp_path / "any.db").write_bytes(b"this is no database, and longer than the header of one" * 40)
    async with opened("", tmp_path) as database:
        with pytest.raises(Exception, match="not a database"):
            await migrate.at(database)


async def test_two_instances_that_start_at_once_migrate_once(database_url: str, tmp_path: Path) -> None:
    (folder,) = (folder for folder in FOLDERS if folder.parent.name == "webhook")
    async with opened(database_url, tmp_path) as one, opened(database_url, tmp_path) as two:
        await asyncio.gather(migrate.migrate(one, folder), migrate.migrate(two, folder))
        assert await migrate.at(one) == await migrate.at(two) == migrate.head(folder / "versions")
