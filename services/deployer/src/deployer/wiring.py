"""The composition root: settings in, Service out, clean-up included."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from shared.hosting import Host, Service

from deployer import tables
from deployer.handlers import Catalogue, Checks, Environments, Handlers, Previews, Requests, Rollouts
from deployer.handlers.checks import Questions
from deployer.jobs import checker, end_silence
from deployer.settings import DeployerSettings
from deployer.subscribers import answers, subscribers


@asynccontextmanager
async def wire(
    host: Host, settings: DeployerSettings | None = None, *, questions: Questions | None = None
) -> AsyncIterator[Service]:
    """Open what the service owns. `questions` may be another way to ask builder and operator-proxy."""
    settings = settings or DeployerSettings()
    async with host.open_database(tables.metadata, package="deployer") as database:
        asks = questions or Questions(host.bus, settings.query_seconds)
        requests = Requests(host.clock, settings)
        rollouts = Rollouts(database, host.clock, settings, requests)
        handlers = Handlers(
            catalogue=Catalogue(requests),
            environments=Environments(),
            requests=requests,
            rollouts=rollouts,
            checks=Checks(database, asks, requests),
            previews=Previews(database, asks),
        )
        yield Service(
            name="deployer",
            database=database,
            gather_ms={"push.received": 50},
            subscribers=subscribers(handlers),
            answers=answers(handlers),
            workers=[checker(handlers.checks)],
            tasks=[("silence", lambda: end_silence(rollouts, settings.reaper_seconds))],
        )
