"""The composition root: settings in, a Service out, clean-up included."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from shared.hosting import Host, Service
from shared.jobs import Worker
from shared.platform import platform_id

from operator_proxy import tables
from operator_proxy.clients.docker import Engine
from operator_proxy.clients.edge import Edge
from operator_proxy.handlers import TARGET_JOB, WATCH_JOB, Handlers
from operator_proxy.keeper import Keeper
from operator_proxy.placing import Placing
from operator_proxy.settings import OperatorProxySettings
from operator_proxy.subscribers import answers, subscribers
from operator_proxy.watch import Watching


@asynccontextmanager
async def wire(
    host: Host,
    settings: OperatorProxySettings | None = None,
    *,
    engine: Engine | None = None,
    edge: Edge | None = None,
) -> AsyncIterator[Service]:
    """The operator-proxy of one runtime. `engine` and `edge` are what it reaches outside, for tests to swap."""
    settings = settings or OperatorProxySettings()
    platform = platform_id(host.root)
    engine = engine or Engine(settings.engine_socket)
    edge = edge or Edge(engine, settings, platform, host.data / "edge")
    async with host.open_database(tables.metadata, package="operator_proxy") as database:
        handlers = Handlers(database, host.clock, settings, engine)
        placing = Placing(handlers, engine, edge, settings, platform)
        watching = Watching(handlers, engine, edge, settings)
        keeper = Keeper(handlers, engine, edge, platform, host.settings.organisation)

        async def looked() -> None:
            if not host.stands_by:
                await keeper.looked()

        if host.platform:
            host.platform.facts["edge"] = keeper.state
        yield Service(
            name="operator-proxy",
            database=database,
            subscribers=subscribers(handlers),
            answers=answers(handlers),
            workers=[
                Worker(TARGET_JOB, placing.run, placing.failed, slots=4, serial_per_key=True),
                Worker(WATCH_JOB, watching.run, watching.failed, slots=64),
            ],
            tasks=[("keeper", keeper.serve)],
            # An engine that is away makes no release possible, and nothing else impossible: ready means that we have looked.
            checks={"runtime": looked},
            remarks=lambda: {} if host.stands_by else keeper.remarks(),
        )
