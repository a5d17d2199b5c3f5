"""The composition root: settings in, Service out, clean-up included."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from shared.git import Hints, Options
from shared.hosting import Host, Service
from shared.queries.gateway import LeaseCredential

from webhook import tables
from webhook.clients.git import Git
from webhook.group import GroupCommit
from webhook.handlers import Catalogue, Deliveries, Handlers, Resealing, Runs, Sources
from webhook.handlers.sources import ReadsRefs
from webhook.jobs import tasks
from webhook.known import Known
from webhook.routes import routes
from webhook.sealed import Secrets
from webhook.settings import WebhookSettings
from webhook.subscribers import answers, subscribers


@asynccontextmanager
async def wire(host: Host, settings: WebhookSettings | None = None, *, git: ReadsRefs | None = None) -> AsyncIterator[Service]:
    """Open what the service owns. `git` may be another reader of repositories."""
    settings = settings or WebhookSettings()
    async with host.open_database(tables.metadata, package="webhook") as database:
        keys = Secrets(host.keys)

        async def lease(organisation: str, service: str, credential: str) -> str:
            query = LeaseCredential(organisation=organisation, service=service, credential=credential, asker=host.name)
            return str((await host.bus.ask(query)).sealed)

        runs, known = Runs(database, host.clock, settings), Known(database)
        handlers = Handlers(
            catalogue=Catalogue(host.clock, keys, runs, known),
            deliveries=Deliveries(database, host.clock, keys, runs, known, GroupCommit(database), settings),
            runs=runs,
            sources=Sources(
                database,
                git
                or Git(
                    Options(
                        roots=[host.root / "demo", *settings.source_roots],
                        timeout_seconds=settings.git_timeout_seconds,
                        hints=Hints("WEBHOOK_SOURCE_ROOTS", "WEBHOOK_GIT_TIMEOUT_SECONDS"),
                    )
                ),
                keys,
                lease,
            ),
        )
        yield Service(
            name="webhook",
            database=database,
            subscribers=subscribers(handlers),
            answers=answers(handlers),
            routes=routes(handlers, settings),
            tasks=tasks(handlers, settings),
            reseal=Resealing(database, host.keys, known).renew,
        )
