"""A service as composed (`Service`), what it is given (`Host`), how it runs (`Running`), all of one process (`Platform`)."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI
from sqlalchemy.engine import make_url

from shared import instances, logging, migrate, sealing
from shared.bus import EVENTS, Bus
from shared.clock import Clock
from shared.database import Database, open_engines
from shared.errors import KiopsError, Unavailable
from shared.http import Requests
from shared.inbox import Loop
from shared.jobs import Worker
from shared.lease import Lease
from shared.logs import LogWriter
from shared.memory import family, memory_mb
from shared.objects import ObjectStore
from shared.outbox import Relay
from shared.processes import Mark
from shared.resealing import Renewal
from shared.sealing import KeyPair
from shared.settings import PlatformSettings
from shared.subscribers import Answers, Subscribers
from shared.working import Jobs

STUCK_SECONDS = 60
DATABASE_SECONDS = 60


@dataclass(frozen=True)
class Service:
    """What a wire yields. `checks` raise (with a sentence) when the service is not ready. `remarks` says what is amiss though the
    service is ready: sentences by name. `figures` are values of metrics that only this service has. `tasks` run as long as the
    service does, in one instance of it (the one that holds the scheduler's lease); `everywhere` run in each.

    `reseal` seals again what the service's own tables have sealed to a former key of its.

    `loop_database` is where the loop keeps its position, when that is not `database` (the gateway's read model). `on_batch` is told
    what the loop has just handled; `share` puts that into words for the service's other instances, which are told them by `heard`
    (see `shared.notices.packed`). A service that need not be the first to act on a message lets others gather for
    `gather_ms[noun.verb]` (or `gather_ms["*"]`) and handles them in one transaction; meanwhile who is waited for goes on.
    """

    name: str
    database: Database
    subscribers: Subscribers = field(default_factory=Subscribers)
    answers: Answers = field(default_factory=Answers)
    routes: APIRouter | None = None
    workers: Sequence[Worker] = ()
    tasks: Sequence[tuple[str, Callable[[], Coroutine[Any, Any, None]]]] = ()
    everywhere: Sequence[tuple[str, Callable[[], Coroutine[Any, Any, None]]]] = ()
    checks: Mapping[str, Callable[[], Awaitable[None]]] = field(default_factory=dict)
    remarks: Callable[[], Mapping[str, str]] = dict
    figures: Callable[[], Mapping[str, float]] = dict
    reseal: Callable[[], Awaitable[Renewal]] | None = None
    loop_database: Database | None = None
    on_batch: Callable[[list[Any]], object] | None = None
    share: Callable[[Sequence[Any]], list[str]] | None = None
    heard: Callable[[str], object] | None = None
    gather_ms: Mapping[str, int] = field(default_factory=dict)


@dataclass
class Host:
    """What the chassis hands a service: its own folder, keys, connection; the platform's clock and objects."""

    name: str
    root: Path
    data: Path
    bus: Bus
    objects: ObjectStore
    logs: LogWriter
    clock: Clock
    keys: KeyPair
    settings: PlatformSettings
    instance: str
    mark: Mark
    platform: Platform | None = None
    scheduler: Lease | None = None

    @property
    def stands_by(self) -> bool:
        """Whether another instance does this service's periodic work just now."""
        return self.scheduler is not None and self.scheduler.standby

    def mask(self, secret: str) -> None:
        """From now on no log line of this process shows this value."""
        logging.masker.add(secret)

    def public_key(self, service: str) -> str:
        """The key to seal a credential to. Raises Broken `key.unknown`."""
        return sealing.public_key(self.root / "keys" / "public", service)

    @asynccontextmanager
    async def open_database(
        self,
        metadata: Any,
        *,
        package: str,
        name: str | None = None,
        migrations: str = "migrations",
        synchronous: str = "FULL",
    ) -> AsyncIterator[Database]:
        """Open a database of this service and bring it to its newest migration.

        `name` when it is not the service's (the gateway's read model); `synchronous` NORMAL for what can be rebuilt.
        """
        name = name or self.name
        url = self.settings.database_at(name)
        if url and (password := make_url(url).password):
            self.mask(password)
        async with open_engines(
            name, metadata, path=self.data / f"{name}.db", url=url, clock=self.clock, synchronous=synchronous
        ) as database:
            await self._bring_up(database, migrate.folder(package, migrations))
            yield database

    async def _bring_up(self, database: Database, migrations: Path) -> None:
        """To its newest migration. A PostgreSQL that is away for a moment, as after a crash, is waited for."""
        end = self.clock.monotonic() + DATABASE_SECONDS
        while True:
            try:
                await migrate.migrate(database, migrations)
                return
            except Unavailable as error:
                if error.code != "database.away" or not database.is_postgresql or self.clock.monotonic() > end:
                    raise
                logging.get(self.name).warning("waiting for the database", error=str(error))
            await asyncio.sleep(0.5)


Wire = Callable[[Host], AbstractAsyncContextManager[Service]]


@dataclass
class Running:
    """One service that runs."""

    service: Service
    host: Host
    relay: Relay | None = None
    loop: Loop | None = None
    jobs: Jobs | None = None
    presence: instances.Presence | None = None
    tasks: dict[str, asyncio.Task[None]] = field(default_factory=dict)

    def stuck(self) -> str:
        """Why the service is not alive; empty when it is. Waiting for the bus is no reason: a restart would not help."""
        for name, task in self.tasks.items():
            if task.done():
                return f"{name} has ended"
        loop = self.loop
        if loop and loop.bound and self.host.clock.monotonic() - loop.turned_at > STUCK_SECONDS:
            return "the loop does not turn"
        return ""

    async def failing(self) -> dict[str, str]:
        """What is not ready, by name; empty when all is."""
        out: dict[str, str] = {}
        for database in {self.service.database, self.service.loop_database or self.service.database}:
            try:
                await database.check()
            except KiopsError as error:
                out["database"] = error.message
        if not self.host.bus.connected:
            out["bus"] = "no connection to nats-server"
        elif self.loop and not self.loop.bound and not self.loop.lease.standby:
            out["stream"] = self.loop.trouble or "not reading yet"
        elif self.relay and self.relay.trouble:
            out["stream"] = self.relay.trouble
        for kind, subject in self.host.bus.guard.denied:
            out["rights"] = f"the bus refused {kind} to {subject}"
        if stuck := self.stuck():
            out["alive"] = stuck
        for name, check in self.service.checks.items():
            try:
                await check()
            except Exception as error:
                out[name] = str(error)
        return out

    def strange_stream(self) -> tuple[str, str]:
        """(code, words) of why the stream is not read, or nothing is published on it; empty when all is well."""
        if self.loop and not self.loop.bound and not self.loop.lease.standby and self.loop.trouble:
            return self.loop.trouble_code, self.loop.trouble
        return (self.relay.trouble_code, self.relay.trouble) if self.relay else ("", "")

    def roles(self) -> dict[str, bool]:
        """Role -> whether this instance has it; where it has not, another does the work and this one waits to take over."""
        return {lease.name: lease.ours for lease in self.leases()}

    def leases(self) -> list[Lease]:
        """Of the roles that this service has."""
        return [part.lease for part in (self.loop, self.relay) if part] + ([self.host.scheduler] if self.host.scheduler else [])

    async def instances(self) -> list[dict[str, Any]]:
        """The service's instances, as `shared.instances.known` tells them; none while the database does not answer."""
        try:
            return await instances.known(self)
        except KiopsError:
            return []

    async def lag(self) -> int:
        """Messages not yet handled, plus outbox rows not yet sent."""
        waiting = await self.relay.unsent() if self.relay else 0
        return waiting + (await self.unheard() if self.loop else 0)

    async def unheard(self) -> int:
        """Messages of the stream that are not handled yet. Raises Unavailable."""
        info = await self.host.bus.api_call(f"CONSUMER.INFO.{EVENTS}.{self.host.name}", timeout_seconds=2)
        return int(info["num_pending"] + info["num_ack_pending"])


@dataclass
class Platform:
    """The services of this process, and the HTTP application that serves them."""

    settings: PlatformSettings
    app: FastAPI
    services: dict[str, Running] = field(default_factory=dict)
    extra_pids: list[int] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    requests: Requests = field(default_factory=Requests)

    async def failing(self) -> dict[str, dict[str, str]]:
        """Service -> what is not ready; a service that is ready is not in it."""
        found = {}
        for name, running in self.services.items():
            if failing := await running.failing():
                found[name] = failing
        return found

    async def settled(self) -> bool:
        """All ready, outboxes empty, everything heard."""
        if await self.failing():
            return False
        try:
            return not any([await running.lag() for running in self.services.values()])
        except KiopsError:
            return False

    def memory_mb(self) -> tuple[float, float]:
        """(RSS, PSS) of this process, its children and the bus in megabytes; the edge and the engine are not of them."""
        pids = set(family(os.getpid()))
        for pid in self.extra_pids:
            pids |= set(family(pid))
        return memory_mb(pids)
