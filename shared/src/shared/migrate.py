"""Migrations by Alembic without ini files; each package carries its own in `migrations/versions`.

File and revision names are dated words: `2026-11-21-0001_create_builds.py` is revision `2026-11-21-0001`. A database that is at
its head is recognised without importing Alembic, which keeps a second start quick.
"""

from __future__ import annotations

import importlib.resources
import importlib.util
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from shared.database import Database
from shared.errors import Unavailable
from shared.tables import chassis_tables, inbox_tables, job_tables, outbox_tables

LOCK_SECONDS = 5.0
"""How long a migration waits for a table that somebody uses."""
TURN_SECONDS = 60.0
"""How long an instance waits for another that migrates the same database."""


def create_chassis_tables(*parts: str) -> None:
    """For the first migration of a service: outbox, inbox and jobs (or the named ones of "outbox", "inbox", "jobs")."""
    from alembic import op

    metadata = sa.MetaData()
    if not parts:
        chassis_tables(metadata)
    for part in parts:
        {"outbox": outbox_tables, "inbox": inbox_tables, "jobs": job_tables}[part](metadata)
    metadata.create_all(op.get_bind(), checkfirst=False)


def drop_chassis_tables(*parts: str) -> None:
    """The way back of `create_chassis_tables`."""
    from alembic import op

    metadata = sa.MetaData()
    if not parts:
        chassis_tables(metadata)
    for part in parts:
        {"outbox": outbox_tables, "inbox": inbox_tables, "jobs": job_tables}[part](metadata)
    metadata.drop_all(op.get_bind(), checkfirst=False)


def folder(package: str, name: str = "migrations") -> Path:
    """Where a package keeps its migrations."""
    return Path(str(importlib.resources.files(package))) / name


def revisions(versions: Path) -> list[tuple[str, Path]]:
    """Every revision with its file, oldest first."""
    return sorted((file.name.split("_", 1)[0], file) for file in versions.glob("*.py") if file.name[0].isdigit())


def head(versions: Path) -> str | None:
    """The newest revision there is, by file name."""
    found = revisions(versions)
    return found[-1][0] if found else None


def _load(file: Path) -> Any:
    spec = importlib.util.spec_from_file_location(f"migration_{abs(hash(file))}", file)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


async def at(database: Database) -> str | None:
    """The revision a database is at, None when it has none. Raises Unavailable `database.away`."""
    there = "select name from sqlite_master where name = 'alembic_version'"
    if database.is_postgresql:
        there = "select to_regclass('alembic_version')::text"
    async with database.read() as tx:
        if await tx.scalar(sa.text(there)) is None:
            return None
        return await tx.scalar(sa.text("select version_num from alembic_version"))


async def migrate(
    database: Database,
    migrations: Path,
    to: str = "head",
    *,
    lock_seconds: float = LOCK_SECONDS,
    turn_seconds: float = TURN_SECONDS,
) -> None:
    """Bring a database to a revision ("head"; an older one to go back, "" to go back to nothing), in one transaction.

    A database that is at a newer revision than this release knows stays there: after a release only what is not needed any more may
    go, so that the release before still runs. Raises Unavailable `migration.locked` when a lock was not free in time: nothing was
    changed, and it can be run again.
    """
    newest = head(migrations / "versions")
    if newest is None or (to == "head" and (await at(database) or "") >= newest):
        return

    def run(connection: sa.Connection) -> None:
        from alembic.migration import MigrationContext
        from alembic.operations import Operations

        # Alembic's own script folder refuses hyphens in a revision, and walks a graph; ours is a dated row of files.
        connection.execute(sa.text("create table if not exists alembic_version (version_num varchar(32) not null primary key)"))
        current = connection.execute(sa.text("select version_num from alembic_version")).scalar() or ""
        target = max(newest, current) if to == "head" else to
        every = revisions(migrations / "versions")
        with Operations.context(MigrationContext.configure(connection)):
            if target >= current:
                for name, file in every:
                    if current < name <= target:
                        _load(file).upgrade()
            else:
                for name, file in reversed(every):
                    if target < name <= current:
                        _load(file).downgrade()
        connection.execute(sa.text("delete from alembic_version"))
        if target:
            connection.execute(sa.text("insert into alembic_version values (:name)"), {"name": target})

    try:
        async with database.write() as tx:
            if database.is_postgresql:
                # Two replicas may start at once: the second waits, then finds nothing left to do.
                await tx.execute(sa.text(f"set local lock_timeout = {int(turn_seconds * 1000)}"))
                await tx.execute(sa.text("select pg_advisory_xact_lock(hashtext('kiops migrate'))"))
                # Whoever comes after us waits behind our wait for a table: better to give up than to hold up the whole service.
                await tx.execute(sa.text(f"set local lock_timeout = {int(lock_seconds * 1000)}"))
            await tx.connection.run_sync(run)
    except (sa.exc.DBAPIError, Unavailable) as error:
        if not _lock_was_taken(error):
            raise
        raise Unavailable(
            "migration.locked",
            f"the database of {database.name} was not migrated: somebody else holds a lock on it",
            "Nothing was changed. End what uses the database for long (a backup, an open session), and start again.",
        ) from error


def _lock_was_taken(error: BaseException | None) -> bool:
    """Whether PostgreSQL gave up waiting for a lock (55P03), or SQLite's file was busy (5)."""
    while error is not None:
        if getattr(error, "sqlstate", "") == "55P03" or getattr(error, "sqlite_errorcode", 0) == 5:
            return True
        error = getattr(error, "orig", None) or error.__cause__
    return False
