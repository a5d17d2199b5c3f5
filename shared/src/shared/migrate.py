"""Migrations by Alembic without ini files; each package carries its own in `migrations/versions`.

File and revision names are dated words: `2026-11-21-0001_create_builds.py` is revision `2026-11-21-0001`. A database that is at
its head is recognised without importing Alembic, which keeps a second start quick.
"""

from __future__ import annotations

import asyncio
import importlib.resources
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from shared.database import Database
from shared.tables import chassis_tables, inbox_tables, job_tables, outbox_tables


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


def head(versions: Path) -> str | None:
    """The newest revision there is, by file name."""
    names = sorted(file.name.split("_", 1)[0] for file in versions.glob("*.py") if file.name[0].isdigit())
    return names[-1] if names else None


async def at(database: Database) -> str | None:
    """The revision a database is at, None when it has none."""
    try:
        async with database.read() as tx:
            return await tx.scalar(sa.text("select version_num from alembic_version"))
    except Exception:
        return None


async def migrate(database: Database, migrations: Path, to: str = "head") -> None:
    """Bring a database to a revision ("head", or an older one to go back)."""
    newest = head(migrations / "versions")
    if newest is None or (to == "head" and await at(database) == newest):
        return

    def run(connection: sa.Connection) -> None:
        from alembic.migration import MigrationContext
        from alembic.operations import Operations
        from alembic.script import ScriptDirectory

        script = ScriptDirectory(str(migrations), version_locations=[str(migrations / "versions")])
        current = MigrationContext.configure(connection).get_current_revision()
        target = newest if to == "head" else to
        backwards = current is not None and target is not None and target < current

        def steps(revision: Any, context: Any) -> Any:
            if backwards:
                return script._downgrade_revs(target, revision)
            return script._upgrade_revs(target, revision)

        context = MigrationContext.configure(connection, opts={"fn": steps, "transaction_per_migration": False})
        with Operations.context(context), context.begin_transaction():
            context.run_migrations()

    async with database.write() as tx:
        if database.is_postgresql:
            # Two replicas may start at once: the second waits, then finds nothing left to do.
            await tx.execute(sa.text("select pg_advisory_xact_lock(hashtext('kiops migrate'))"))
        await tx.connection.run_sync(run)
    await asyncio.sleep(0)
