"""One, some or all services from the same roots: start, drain, stop.

A service's `wiring.wire(host)` is an async context manager that yields a `Service` value. `running()` gives each its own folder,
keys and connection to the bus, enters the wires, starts relays, loops and workers, mounts the HTTP, and undoes it in reverse.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI

from shared import ids, instances, logging, sealing, tasks, tracing, upkeep
from shared.bus import HEARS, SERVICES, Bus
from shared.clock import Clock
from shared.database import Database, Tx
from shared.errors import Broken, KiopsError, Unavailable
from shared.hosting import Host, Platform, Running, Wire
from shared.http import RequestContext, health_routes, install_problems
from shared.inbox import Loop
from shared.lease import Lease, serve_alone
from shared.logs import LogWriter
from shared.neighbours import check_neighbours
from shared.notices import LEARNT, OUTBOX, Notices, notify
from shared.objects import ObjectStore
from shared.outbox import Relay
from shared.processes import Mark, sweep
from shared.queries.gateway import OrderAnswered
from shared.sealing import KeyPair
from shared.settings import PlatformSettings
from shared.stream import check_stream
from shared.working import Jobs


@contextlib.contextmanager
def locked(folder: Path, what: str) -> Any:
    """Own this folder as long as the block runs. Raises Broken `start.locked` with the owner's process id."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with open(folder / "lock", "a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            owner = file.read().strip() or "another process"
            raise Broken("start.locked", f"{what} is running already as process {owner}", "Stop that one first.") from None
        file.seek(0)
        file.truncate()
        file.write(str(os.getpid()))
        file.flush()
        yield


@asynccontextmanager
async def running(
    wires: Mapping[str, Wire],
    settings: PlatformSettings,
    *,
    bus_url: str,
    keys: Path | None = None,
    clock: Clock | None = None,
    wait_for_bus_seconds: float = 15,
) -> AsyncIterator[Platform]:
    """Run these services (name -> wire) until the block ends. `keys` holds the NKey seeds, by default `<root>/bus/keys`.

    Everything is undone in reverse: HTTP is the caller's, then workers give their jobs back, loops end, the bus drains.
    """
    root = settings.root.resolve()
    clock = clock or Clock()
    app = FastAPI(title="KIOPS", version="0.1.0", openapi_url=None, docs_url=None, redoc_url=None)
    install_problems(app)
    platform = Platform(settings, app)
    async with AsyncExitStack() as stack:
        # So long may a commit that came back from the disk wait for the thread of the event loop; it was 5 ms.
        stack.callback(sys.setswitchinterval, sys.getswitchinterval())
        sys.setswitchinterval(0.0005)
        if settings.trace_url or settings.trace_file:
            headers = settings.trace_headers.get_secret_value()
            tracing.start(settings.trace_url, headers=headers, file=settings.trace_file, share=settings.trace_share)
            stack.push_async_callback(tracing.stop)
        hosts: dict[str, Host] = {}
        for name in wires:
            hosts[name] = await _host(stack, name, root, settings, bus_url, keys or root / "bus" / "keys", clock, platform)
        for name, wire in wires.items():
            service = await stack.enter_async_context(wire(hosts[name]))
            platform.services[name] = Running(service, hosts[name])
        opening = [asyncio.create_task(_open_bus(each)) for each in platform.services.values()]
        done, waiting = await asyncio.wait(opening, timeout=wait_for_bus_seconds)
        for task in done:
            task.result()
        for task, each in zip(opening, platform.services.values(), strict=True):
            stack.push_async_callback(each.host.bus.close)
            if task in waiting:
                stack.push_async_callback(tasks.end, task)
        for each in platform.services.values():
            _start(each)
            stack.push_async_callback(_stop_service, each)
        # The gateway is mounted at / and so must come last.
        for name, each in sorted(platform.services.items(), key=lambda entry: entry[0] == "gateway"):
            health_routes(app, name, each)
            if each.service.routes is not None:
                prefix = {"webhook": "/api/v1/webhook", "gateway": ""}.get(name, f"/-/{name}")
                app.include_router(each.service.routes, prefix=prefix)
        app.add_middleware(RequestContext, observe=platform.requests)
        yield platform


async def _host(
    stack: AsyncExitStack,
    name: str,
    root: Path,
    settings: PlatformSettings,
    bus_url: str,
    keys: Path,
    clock: Clock,
    platform: Platform,
) -> Host:
    if name not in SERVICES:
        raise Broken("start.unknown_service", f"{name} is none of {', '.join(SERVICES)}")
    data = root / "services" / name
    instance = ids.uuid7()
    on_sqlite = not settings.database_url.get_secret_value()
    if on_sqlite:
        stack.enter_context(locked(data, name))
        if found := await asyncio.to_thread(sweep, str(root), name, instance):
            logging.get(name).warning("processes of an earlier instance were ended", pids=found)
    data.mkdir(parents=True, exist_ok=True, mode=0o700)
    bus = Bus(name, bus_url, keys / f"{name}.nk", api=settings.bus_api_prefix)
    pair = KeyPair.load(root / "keys" / f"{name}.key")
    sealing.publish_key(root / "keys" / "public", name, pair)
    objects = ObjectStore(root / "objects", name)
    return Host(
        name=name,
        root=root,
        data=data,
        bus=bus,
        objects=objects,
        logs=LogWriter(name, bus, objects, clock),
        clock=clock,
        keys=pair,
        settings=settings,
        instance=instance,
        mark=Mark(str(root), name, instance),
        platform=platform,
    )


async def _open_bus(each: Running) -> None:
    service, bus = each.service, each.host.bus
    expected, found = set(HEARS[service.name]), service.subscribers.classes()
    if service.loop_database is not None or found or expected:
        _same(service.name, expected, found)
    bus.answers = upkeep.answers(each)
    await bus.open_patiently()


def _same(name: str, expected: set[Any], found: set[Any]) -> None:
    if expected == found:
        return
    missing = ", ".join(sorted(cls.type() for cls in expected - found))
    more = ", ".join(sorted(cls.type() for cls in found - expected))
    raise Broken(
        "start.subscribers",
        f"{name} and shared.bus.HEARS disagree"
        + (f"; no handler for {missing}" if missing else "")
        + (f"; not heard: {more}" if more else ""),
    )


def _start(each: Running) -> None:
    service, host = each.service, each.host
    database, role_lease = service.database, host.settings.role_lease_seconds

    def send(answers: list[OrderAnswered]) -> None:
        async def tell() -> None:
            for answer in answers:
                # Lost when the bus is away: the page says "not yet accepted", and the fact tells the rest.
                with contextlib.suppress(Unavailable, Exception):
                    await host.bus.tell(answer)

        task = asyncio.get_running_loop().create_task(tell())
        _answering.add(task)
        task.add_done_callback(_answering.discard)

    database.on_answers = send
    if "outbox" in database.metadata.tables:
        reader = service.loop_database or database

        async def known() -> bool:
            await check_stream(host.name, reader, host.bus)
            return await check_neighbours(host.name, host.bus, host.settings.organisation)

        hears = bool(service.subscribers.table)
        each.relay = Relay(database, host.bus, Lease(database, "relay", host.instance, role_lease), known if hears else None)
        if database.is_postgresql:
            _listen_for_outbox(each, each.relay.lease)
        each.tasks["relay"] = asyncio.create_task(each.relay.serve(), name=f"{host.name} relay")
    if service.subscribers.table:
        loop_database = service.loop_database or database
        loop_database.on_answers = send
        turn = Lease(loop_database, "reader", host.instance, role_lease)
        each.loop = Loop(host.name, loop_database, host.bus, service.subscribers, turn)
        each.loop.gather_ms = service.gather_ms
        if service.on_batch:
            each.loop.on_batch = service.on_batch
        if service.share and service.heard and loop_database.is_postgresql:
            _share(each, loop_database)
        each.tasks["loop"] = asyncio.create_task(each.loop.serve(), name=f"{host.name} loop")
        each.tasks["parked"] = asyncio.create_task(each.loop.retry_parked(), name=f"{host.name} parked")
    if service.workers:
        each.jobs = Jobs(
            database,
            list(service.workers),
            host.data / "work",
            host.mark,
            lease_seconds=host.settings.lease_seconds,
            heartbeat_seconds=host.settings.heartbeat_seconds,
            instance=host.instance,
        )
        database.jobs = each.jobs
        each.tasks["jobs"] = asyncio.create_task(each.jobs.serve(), name=f"{host.name} jobs")
    if service.tasks:
        host.scheduler = Lease(database, "scheduler", host.instance, role_lease)
        each.tasks["scheduler"] = asyncio.create_task(serve_alone(host.scheduler, service.tasks), name=f"{host.name} scheduler")
    if database.is_postgresql and "lease" in database.metadata.tables:
        each.presence = instances.Presence(each)
        each.tasks["presence"] = asyncio.create_task(each.presence.serve(), name=f"{host.name} presence")
    for name, task in service.everywhere:
        each.tasks[name] = asyncio.create_task(task(), name=f"{host.name} {name}")


def _listen_for_outbox(each: Running, lease: Lease) -> None:
    """What this instance announces while another has the relay's lease: that one is told, else it would look a second later."""
    database, instance = each.service.database, each.host.instance

    async def tell(tx: Tx) -> None:
        if not lease.ours:
            await notify(tx, OUTBOX, instance, "")

    database.tell_relay = tell
    notices = Notices(database, instance, {OUTBOX: lambda text: database.outbox_wake.set()})
    each.tasks["notices"] = asyncio.create_task(notices.serve(), name=f"{each.host.name} notices")


def _share(each: Running, database: Database) -> None:
    """The instances that do not read hear from the one that does what it has just handled."""
    service, instance = each.service, each.host.instance
    assert each.loop and service.share and service.heard
    share = service.share

    async def tell(tx: Tx, batch: Sequence[Any]) -> None:
        await notify(tx, LEARNT, instance, *share(batch))

    each.loop.tell_others = tell
    notices = Notices(database, instance, {LEARNT: service.heard})
    each.tasks["learnt"] = asyncio.create_task(notices.serve(), name=f"{each.host.name} learnt")


_answering: set[asyncio.Task[None]] = set()


async def _stop_service(each: Running) -> None:
    await tasks.end(*each.tasks.values())
    for lease in each.leases():
        with contextlib.suppress(KiopsError):
            await lease.release()
    if each.presence:
        await each.presence.leave()


async def serve_http(app: FastAPI, host: str, port: int, *, ready: asyncio.Event | None = None) -> None:
    """Serve the application until cancelled. Raises Broken `start.port_taken`."""
    from shared import serving

    await serving.serve_http(app, host, port, ready=ready)


def serve(wire: Wire) -> None:
    """Run one service alone, until SIGINT or SIGTERM: what `python -m builder` does."""
    from shared import serving

    serving.serve(wire)
