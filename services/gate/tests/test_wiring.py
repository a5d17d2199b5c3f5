"""The gate starts from its defaults on a real bus, decides, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import importlib.util
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import gate
import sqlalchemy as sa
from gate.settings import GateSettings
from gate.wiring import choose_engine, wire
from shared.bus import HEARS
from shared.facts.deployer import DeployRequested
from shared.facts.gate import GateDecided
from shared.hosting import Service
from shared.subscribers import Subscribers
from shared.tables import NAMING, chassis_tables


@asynccontextmanager
async def asker(host: Any) -> Any:
    """Stands where the deployer stands: its rights, its outbox, and what it hears."""
    from shared.database import open_engines

    metadata = sa.MetaData(naming_convention=NAMING)
    chassis_tables(metadata)
    heard: list[Any] = []
    on = Subscribers()
    for cls in HEARS["deployer"]:

        async def hear(tx: Any, message: Any, envelope: Any) -> None:
            heard.append((message, envelope))

        on(cls)(hear)
    async with open_engines("deployer", metadata, path=host.data / "asker.db", url="", clock=host.clock) as database:
        async with database.write() as tx:
            await tx.connection.run_sync(metadata.create_all)
        service = Service(name="deployer", database=database, subscribers=on)
        service.database.heard = heard  # type: ignore[attr-defined]
        yield service


async def until_settled(running: Any) -> None:
    for _ in range(200):
        if await running.settled():
            return
        await asyncio.sleep(0.05)
    raise AssertionError(await running.failing())


async def test_it_answers_over_a_real_bus(platform: Any) -> None:
    """A request through NATS comes back as a decision with the run as correlation; afterwards no worker is left."""
    async with platform({"gate": wire, "deployer": asker}) as running:
        await until_settled(running)
        database = running.services["deployer"].service.database
        ask = DeployRequested(
            organisation="main", service="svc_1", run="run_1", number=1, environment="dev", request="req_1",
            image_id="sha256:1", commit="a" * 40, cause="rollback", back_to="rel_1",
        )  # fmt: skip
        async with database.write() as tx:
            await tx.put(ask, correlation="run_1")
        for _ in range(200):
            decided = [(m, e) for m, e in database.heard if isinstance(m, GateDecided)]
            if decided:
                break
            await asyncio.sleep(0.05)
        (message, envelope) = decided[0]
        assert (message.request, message.verdict, envelope.correlation) == ("req_1", "warn", "run_1")
        deciding = running.services["gate"].service.workers[0].run.__self__
        pid = deciding.engine.raw.pid
        assert Path(f"/proc/{pid}").exists()
        await until_settled(running)
    assert not Path(f"/proc/{pid}").exists()


def test_every_setting_has_its_sentence() -> None:
    shown = GateSettings().shown()
    assert "GATE_WAIT_SECONDS" in shown
    assert all(sentence.endswith(".") for _, sentence in shown.values())


def test_an_opa_server_is_used_where_one_is_named() -> None:
    assert choose_engine(GateSettings(opa_url="http://opa:8181")).name == "OPA server"
    assert choose_engine(GateSettings()).name.startswith("regorus ")


async def test_the_tables_are_those_of_the_migrations(database: Any) -> None:
    """A fresh database migrated forward has the tables, columns and indexes that the code says; the way back empties it."""
    from gate import tables

    async with database(tables.metadata, "gate") as opened:
        async with opened.read() as tx:
            found = await tx.connection.run_sync(describe)
        assert found == {
            name: ({c.name for c in table.columns}, {i.name for i in table.indexes})
            for name, table in tables.metadata.tables.items()
        }
        async with opened.write() as tx:
            await tx.connection.run_sync(go_back)
        async with opened.read() as tx:
            assert await tx.connection.run_sync(describe) == {}


def go_back(connection: Any) -> None:
    from alembic.migration import MigrationContext
    from alembic.operations import Operations

    (file,) = (Path(gate.__file__).parent / "migrations" / "versions").glob("*.py")
    spec = importlib.util.spec_from_file_location("first_migration", file)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with Operations.context(MigrationContext.configure(connection)):
        module.downgrade()


def describe(connection: Any) -> dict[str, Any]:
    inspector = sa.inspect(connection)
    return {
        name: (
            {c["name"] for c in inspector.get_columns(name)},
            # A unique constraint's own index is not one that somebody made.
            {
                i["name"]
                for i in inspector.get_indexes(name)
                if not i["name"].startswith("sqlite_") and "duplicates_constraint" not in i
            },
        )
        for name in inspector.get_table_names()
        if name != "alembic_version"
    }
