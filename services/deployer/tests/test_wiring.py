"""The deployer starts from its defaults on a real bus, asks its questions there, and answers."""

from __future__ import annotations

import asyncio
import importlib.util
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import deployer
import pytest
import sqlalchemy as sa
from deployer import tables
from deployer.settings import DeployerSettings
from deployer.wiring import wire
from shared.bus import HEARS
from shared.errors import Rejected
from shared.facts.deployer import DeployFailed, DeployReady, EnvironmentChanged
from shared.facts.gate import GateDecided
from shared.facts.gateway import ServiceRegistered
from shared.facts.operator_proxy import ReleaseObserved
from shared.facts.webhook import RunStarted
from shared.hosting import Service
from shared.orders.deployer import SetEnvironment
from shared.orders.operator_proxy import ApplyRelease
from shared.queries.builder import AskImageExists, ImageExists
from shared.queries.deployer import PreviewRollback
from shared.queries.operator_proxy import AskPreflight, Preflight
from shared.subscribers import Answers, Subscribers
from shared.tables import NAMING, chassis_tables
from shared.words import Phase, Trigger, Verdict

ORG = {"organisation": "main", "service": "svc_1"}


def stand_in(name: str, answers: Answers | None = None) -> Any:
    """A service's place on the bus: its rights, its outbox, what it hears, and what it answers when asked."""

    @asynccontextmanager
    async def wired(host: Any) -> Any:
        from shared.database import open_engines

        metadata = sa.MetaData(naming_convention=NAMING)
        chassis_tables(metadata)
        heard: list[Any] = []
        on = Subscribers()

        async def hear(tx: Any, message: Any, envelope: Any) -> None:
            heard.append(message)

        for cls in HEARS[name]:
            on(cls)(hear)
        async with open_engines(name, metadata, path=host.data / "stand-in.db", url="", clock=host.clock) as database:
            async with database.write() as tx:
                await tx.connection.run_sync(metadata.create_all)
            database.heard = heard  # type: ignore[attr-defined]
            yield Service(name=name, database=database, subscribers=on, answers=answers or Answers())

    return wired


class Bus:
    """Hands for the stand-ins of a running platform."""

    def __init__(self, running: Any) -> None:
        self.running = running

    async def say(self, name: str, message: Any) -> None:
        async with self.running.services[name].service.database.write() as tx:
            await tx.put(message)

    async def hear(self, name: str, kind: type, count: int = 1) -> Any:
        heard = self.running.services[name].service.database.heard
        for _ in range(200):
            found = [m for m in heard if isinstance(m, kind)]
            if len(found) >= count:
                return found[count - 1]
            await asyncio.sleep(0.05)
        raise AssertionError(f"{name} heard no {kind.__name__}")


@pytest.mark.slow
async def test_a_release_and_a_rollback_over_a_real_bus(platform: Any) -> None:
    """Environment, run, decision, order, observation, ready; then a rollback whose image builder and runtime do not have."""
    there = {"sha256:1": True}
    builder, runtime = Answers(), Answers()

    @builder(AskImageExists)
    async def exists(query: AskImageExists) -> ImageExists:
        return ImageExists(exists=there.get(query.image_id, False))

    @runtime(AskPreflight)
    async def preflight(query: AskPreflight) -> Preflight:
        return Preflight(reachable=True, image_exists=there.get(query.image_id, False))

    names = {"gateway": None, "webhook": None, "gate": None, "builder": builder, "operator-proxy": runtime}
    wires = {name: stand_in(name, answers) for name, answers in names.items()}
    async with platform({"deployer": wire, **wires}) as running:
        bus = Bus(running)
        await bus.say("gateway", ServiceRegistered(**ORG, name_="shop"))
        await bus.say("gateway", SetEnvironment(**ORG, intent="int_1", environment="dev"))
        assert (await bus.hear("gateway", EnvironmentChanged)).environment == "dev"
        await serve(bus, 1)
        await serve(bus, 2)
        preview = await running.services["gateway"].host.bus.ask(PreviewRollback(**ORG, environment="dev"))
        assert (preview.release_number, preview.image_exists, preview.target_reachable) == (1, True, True)
        there.clear()
        preview = await running.services["gateway"].host.bus.ask(PreviewRollback(**ORG, environment="dev"))
        assert (preview.image_exists, preview.target_reachable) == (False, True)
        await ask_release(bus, 3, preview.release)
        failed = await bus.hear("webhook", DeployFailed)
        assert (failed.code, failed.run, failed.still_serving) == ("deploy.image_gone", "run_3", 2)
        with pytest.raises(Rejected) as refused:
            await running.services["gateway"].host.bus.ask(PreviewRollback(**ORG, environment="none"))
        assert refused.value.code == "deploy.environment_unknown"


async def ask_release(bus: Bus, number: int, release: str) -> None:
    from shared.facts.deployer import DeployRequested

    began = RunStarted(
        **ORG, run=f"run_{number}", number=number, service_name="shop", trigger=Trigger.ROLLBACK, environments=["dev"],
        release=release,
    )  # fmt: skip
    await bus.say("webhook", began)
    asked = await bus.hear("gate", DeployRequested, number)
    await bus.say("gate", decision(asked))


async def serve(bus: Bus, number: int) -> None:
    """A push that is built, allowed, ordered and serves."""
    from shared.facts.builder import BuildSucceeded
    from shared.facts.deployer import DeployRequested
    from shared.facts.webhook import PushReceived

    about = {**ORG, "run": f"run_{number}", "number": number}
    await bus.say("webhook", PushReceived(**about, service_name="shop", trigger=Trigger.WEBHOOK, environments=["dev"]))
    await bus.say("builder", BuildSucceeded(**about, build="bld", image=f"shop:{number}", image_id=f"sha256:{number}"))
    await bus.say("gate", decision(await bus.hear("gate", DeployRequested, number)))
    order = await bus.hear("operator-proxy", ApplyRelease, number)
    assert (order.fence, order.service_name) == (number, "shop")
    seen = ReleaseObserved(**ORG, runtime="local", release=order.release, run=order.run, environment="dev", phase=Phase.HEALTHY)
    await bus.say("operator-proxy", seen)
    assert (await bus.hear("webhook", DeployReady, number)).release == order.release


def decision(asked: Any) -> GateDecided:
    return GateDecided(
        **ORG, decision="dec", run=asked.run, number=asked.number, request=asked.request, environment="dev",
        verdict=Verdict.PASS, sentence="",
    )  # fmt: skip


def test_every_setting_has_its_sentence() -> None:
    shown = DeployerSettings().shown()
    assert "DEPLOYER_NO_ANSWER_SECONDS" in shown
    assert all(sentence.endswith(".") for _, sentence in shown.values())


async def test_the_tables_are_those_of_the_migrations(database: Any) -> None:
    """A fresh database migrated forward has the tables, columns and indexes that the code says; the way back empties it."""
    async with database(tables.metadata, "deployer") as opened:
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

    (file,) = (Path(deployer.__file__).parent / "migrations" / "versions").glob("*.py")
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
