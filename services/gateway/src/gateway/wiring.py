"""The composition root: settings in, Service out, clean-up included."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Container, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from shared.hosting import Host, Service
from shared.inbox import Incoming
from shared.notices import packed

from gateway import jobs
from gateway.access import Access
from gateway.access.csrf import FormKeys
from gateway.access.headers import BodyLimit, SecurityHeaders
from gateway.handlers import Handlers
from gateway.handlers.endpoints import Endpoints
from gateway.handlers.orders import Orders
from gateway.handlers.people import People
from gateway.handlers.read_model import ReadModels
from gateway.handlers.releases import Releases
from gateway.handlers.rules import Environments, Rules
from gateway.handlers.runs import Runs
from gateway.handlers.services import Services
from gateway.handlers.upkeep import Upkeep
from gateway.live import Learnt, Live
from gateway.rebuilding.rebuild import Rebuilding
from gateway.rebuilding.serving import ReadModel
from gateway.routes import routes
from gateway.settings import GatewaySettings
from gateway.site import Site
from gateway.store import position
from gateway.subscribers import answers, subscribers
from gateway.tables import owned


@asynccontextmanager
async def wire(host: Host, settings: GatewaySettings | None = None) -> AsyncIterator[Service]:
    """The gateway on this host. The owned database has the outbox; the loop belongs to the read model."""
    settings = settings or GatewaySettings()
    # The demo's repository is always allowed, here as in the services that read it.
    roots = [host.root / "demo", *settings.allowed_repository_roots]
    settings = settings.model_copy(update={"allowed_repository_roots": roots})
    async with host.open_database(owned.metadata, package="gateway") as database, AsyncExitStack() as stack:
        read = ReadModel(host)
        stack.push_async_callback(read.close)
        await read.open()
        rebuilding = Rebuilding(host, read)
        stack.push_async_callback(rebuilding.close)
        organisation = host.settings.organisation
        forms = FormKeys(database, host.clock, organisation)
        await forms.look()
        access = Access(database, settings, host.clock, forms, organisation)
        async with read.read() as tx:
            live = Live(settings.event_streams, await position.reached(tx))
        orders = Orders(database, live, settings, host.clock)
        handlers = Handlers(
            orders=orders,
            services=Services(database, host.bus, orders, host.public_key, settings, host.clock),
            rules=Rules(database, orders),
            environments=Environments(database, orders),
            runs=Runs(database, read, host.bus, orders, settings),
            releases=Releases(database, read, host.bus, orders, settings),
            endpoints=Endpoints(database, read, host.bus, settings, host.clock),
            people=People(database, access, settings, host.clock),
            upkeep=Upkeep(database, host.bus, settings, host.clock),
            read_model=ReadModels(database, rebuilding, host.clock),
        )
        await handlers.people.first_admin(organisation)
        await handlers.people.cli_token(organisation, host.root / "cli.token")
        site = Site(host, settings, host.clock, database, read, access, live, handlers)
        read.after_switch = lambda: _look_again(host)
        if host.platform is not None:
            host.platform.app.add_middleware(BodyLimit, most_bytes=settings.max_body_bytes)
            host.platform.app.add_middleware(SecurityHeaders)
        hears = subscribers()
        yield Service(
            name="gateway",
            database=database,
            loop_database=read,
            on_batch=lambda batch: tell(live, learnt(batch, hears.table)),
            share=lambda batch: packed(json.dumps(row) for row in learnt(batch, hears.table)),
            heard=lambda text: tell(live, map(json.loads, text.splitlines())),
            gather_ms={"*": 40},
            subscribers=hears,
            answers=answers(handlers),
            routes=routes(site),
            figures=lambda: {"live_readers": live.readers},
            tasks=[
                ("sweep", lambda: jobs.sweep(database, settings, host.clock)),
            ],
            everywhere=[
                ("stream", lambda: jobs.watch_stream(live, lambda: host.bus.connected)),
                ("standing", lambda: jobs.watch_standing(handlers.upkeep, organisation)),
            ],
        )


def _look_again(host: Host) -> None:
    """The fresh tables have parked messages of their own."""
    running = host.platform.services.get("gateway") if host.platform is not None else None
    if running is not None and running.loop is not None:
        running.loop.aside.look_again()


def learnt(batch: Sequence[Incoming], facts: Container[str]) -> Iterator[list[Any]]:
    """What pages and waiting requests, here and in the other instances, are told of each message.

    `facts`: the subjects (their first four words) that are projected. The others, orders among them, only move the position: an
    order that stands on the stream is not yet what came of it.
    """
    for incoming in batch:
        envelope = incoming.envelope
        tokens = envelope.subject.split(".")
        try:
            body = json.loads(incoming.body)
        except ValueError:  # it is a dead letter now
            continue
        service, run = str(body.get("service", "")), str(body.get("run", ""))
        ids = [envelope.id, envelope.causation] if ".".join(tokens[:4]) in facts else []
        yield [tokens[4], ".".join(tokens[2:4]), service, run, envelope.sequence, *ids]


def tell(live: Live, rows: Iterable[list[Any]]) -> None:
    """After each batch of the loop: tell open pages and waiting requests what the read model knows now."""
    for organisation, kind, service, run, sequence, *ids in rows:
        live.tell(Learnt(organisation=organisation, kind=kind, service=service, run=run, sequence=sequence), *ids)
