"""Props of the operator-proxy's tests and of benchmarks/switch.py: images made here, a service without a bus, a client that
counts every answer."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from operator_proxy.clients.docker import Engine
from operator_proxy.settings import OperatorProxySettings
from operator_proxy.wiring import wire
from shared.clock import Clock
from shared.facts.operator_proxy import ReleaseObserved
from shared.hosting import Host, Service
from shared.orders.operator_proxy import ApplyRelease
from shared.platform import platform_id
from shared.processes import Mark
from shared.settings import PlatformSettings
from shared.testing.nats import free_port
from shared.working import Jobs

from shared import ids

APP = Path(__file__).with_name("sample_app.py")


# -- images ------------------------------------------------------------------------------------------------------------
def _interpreter_files() -> list[Path]:
    """This Python, the modules that the app needs, and their libraries: nothing can be pulled, and this is 12 MB."""
    python = os.path.realpath(sys.executable)
    ask = (
        "import asyncio, encodings.latin_1, encodings.idna, signal, sys\n"
        "for m in list(sys.modules.values()):\n"
        "    for name in ('__file__', '__cached__'):\n"
        "        f = getattr(m, name, None)\n"
        "        if f: print(f)\n"
    )
    done = subprocess.run([python, "-I", "-S", "-c", ask], capture_output=True, text=True, check=True)
    files = {Path(line) for line in done.stdout.splitlines() if Path(line).is_file()}
    files |= {Path(python), Path(sysconfig.get_path("stdlib")) / "os.py"}
    programs = [python, *(str(file) for file in files if file.suffix == ".so")]
    linked = subprocess.run(["ldd", *programs], capture_output=True, text=True, check=False).stdout
    libraries = {Path(found) for found in re.findall(r"(?:=> |^\s)(/\S+)", linked, re.MULTILINE)}
    return sorted(files | libraries)


def _archive() -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT, dereference=True) as archive:
        for file in _interpreter_files():
            archive.add(file, str(file).lstrip("/"))
        archive.add(APP, "app.py")
    return packed.getvalue()


async def make_images(engine: Engine, versions: list[str], label: str) -> dict[str, str]:
    """One image per version; version -> image id. They differ by an environment variable, and so in their ids."""
    archive = _archive()
    command = json.dumps([os.path.realpath(sys.executable), "-I", "-S", "/app.py"])
    made = {}
    for version in versions:
        changes = [f"ENTRYPOINT {command}", f"ENV VERSION={version}", f"LABEL {label}=true"]

        async def whole() -> AsyncIterator[bytes]:
            yield archive

        made[version] = await engine.import_image(whole(), f"{label}-{os.getpid()}", version.replace("/", "-"), changes)
    return made


# -- the service, without a bus ----------------------------------------------------------------------------------------
@dataclass
class World:
    """An operator-proxy that runs in this process on a folder of its own. Orders come in by the subscribers' door, what it
    announces is read from its outbox."""

    service: Service
    settings: OperatorProxySettings
    engine: Engine
    platform: str
    root: Path
    numbers: dict[str, int] = field(default_factory=dict)

    @property
    def labels(self) -> str:
        return f"kiops.platform={self.platform}"

    async def send(self, message: Any) -> None:
        _, handler, _ = self.service.subscribers.table[message.type()]
        async with self.service.database.write() as tx:
            await handler(tx, message, None)

    def order(self, image_id: str, *, number: int, service: str = "svc_shop", **changes: Any) -> ApplyRelease:
        values: dict[str, Any] = {
            "organisation": "main",
            "service": service,
            "runtime": "local",
            "release": ids.new("rel"),
            "release_number": number,
            "run": ids.new("run"),
            "environment": "development",
            "service_name": service.removeprefix("svc_"),
            "image": "sample",
            "image_id": image_id,
            "container_port": 8080,
            "fence": number,
            "deadline_seconds": 20,
            "drain_seconds": 10,
            "observe_seconds": 2,
        }
        return ApplyRelease(**(values | changes))

    async def observed(self, release: str) -> list[ReleaseObserved]:
        table = self.service.database.outbox
        async with self.service.database.read() as tx:
            rows = await tx.all(sa.select(table).where(table.c.subject.like("%release.observed%")).order_by(table.c.position))
        found = [ReleaseObserved.model_validate_json(row.body) for row in rows]
        return [fact for fact in found if fact.release == release]

    async def until(self, release: str, *phases: str, seconds: float = 90) -> ReleaseObserved:
        """The first of these phases that is announced of a release. "failed" always ends the wait."""
        began = time.monotonic()
        while time.monotonic() - began < seconds:
            for fact in await self.observed(release):
                if fact.phase in phases:
                    return fact
                if fact.phase == "failed":
                    raise AssertionError(f"{fact.code}: {fact.reason} {fact.advice}")
            await asyncio.sleep(0.02)
        raise AssertionError(f"none of {phases}, but {[fact.phase.value for fact in await self.observed(release)]}")

    async def place(self, image_id: str, *, number: int, until: str = "healthy", **changes: Any) -> ReleaseObserved:
        """Order a release and wait for it."""
        order = self.order(image_id, number=number, **changes)
        await self.send(order)
        return await self.until(order.release, until)

    async def containers(self) -> list[dict[str, Any]]:
        """Containers of releases."""
        return await self.engine.containers(self.labels, "kiops.role=release")

    def route_files(self) -> list[str]:
        return sorted(
            file.name for file in (self.root / "services/operator-proxy/edge/routes").glob("*") if file.name != "edge.yml"
        )


def host_for(root: Path) -> Host:
    """A host without a bus."""
    data = root / "services" / "operator-proxy"
    data.mkdir(parents=True, exist_ok=True)
    settings = PlatformSettings(home=root, data=root)
    nothing: Any = None
    mark = Mark(str(root), "operator-proxy", ids.uuid7())
    return Host("operator-proxy", root, data, nothing, nothing, nothing, Clock(), nothing, settings, ids.uuid7(), mark)


def settings_for(**changes: Any) -> OperatorProxySettings:
    """Free ports, a short pool, short waits."""
    ports = _free_row(4)
    values = {
        "edge_port": ports[0],
        "pool_first_port": ports[1],
        "pool_ports": 3,
        "observe_interval_seconds": 0.3,
        "stop_seconds": 2,
        "look_seconds": 1,
    }
    return OperatorProxySettings(**(values | changes))


def _free_row(count: int) -> list[int]:
    """Free ports that follow one another."""
    import socket

    while True:
        first = free_port()
        with contextlib.ExitStack() as stack:
            try:
                for port in range(first, first + count):
                    stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            except (OSError, OverflowError):
                continue
        return list(range(first, first + count))


@asynccontextmanager
async def world(root: Path, settings: OperatorProxySettings, **swapped: Any) -> AsyncIterator[World]:
    """Run the service's workers and tasks until the block ends."""
    host = host_for(root)
    async with wire(host, settings, **swapped) as service:
        jobs = Jobs(service.database, list(service.workers), host.data / "work", host.mark, instance=host.instance)
        running = [asyncio.create_task(jobs.serve()), *(asyncio.create_task(task()) for _, task in service.tasks)]
        try:
            yield World(service, settings, Engine(settings.engine_socket), platform_id(root), root)
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)


# -- the client --------------------------------------------------------------------------------------------------------
@dataclass
class Answered:
    """One request: when it was sent and answered (seconds), by whom; `error` when it was not."""

    sent: float
    ended: float
    body: str
    error: str = ""
    slow: bool = False


class Client:
    """Asks the edge at a fixed rate, never again for the same thing. Every second request is on a connection that is kept; the
    others open one and close it. At most `most` requests are open."""

    def __init__(self, port: int, host: str, *, most: int = 200) -> None:
        self.port, self.host = port, host
        self.answered: list[Answered] = []
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self._open: set[asyncio.Task[None]] = set()
        self._most = most
        self.skipped = 0

    async def run(self, rate: float, stop: Callable[[], bool]) -> None:
        began, count = time.monotonic(), 0
        while not stop():
            count += 1
            self.ask("/", keep=count % 2 == 0)
            await asyncio.sleep(max(0.0, began + count / rate - time.monotonic()))

    def ask(self, path: str, *, keep: bool) -> None:
        if len(self._open) >= self._most:
            self.skipped += 1
            return
        task = asyncio.create_task(self._ask(path, keep))
        self._open.add(task)
        task.add_done_callback(self._open.discard)

    async def rest(self) -> None:
        """Wait for every answer, then close what is open."""
        while self._open:
            await asyncio.gather(*self._open)
        for _, writer in self._idle:
            writer.close()

    async def _ask(self, path: str, keep: bool) -> None:
        sent = time.monotonic()
        try:
            async with asyncio.timeout(20):
                kept = self._idle.pop() if keep and self._idle else None
                reader, writer = kept or await asyncio.open_connection("127.0.0.1", self.port)
                head = f"GET {path} HTTP/1.1\r\nHost: {self.host}\r\nConnection: {'keep-alive' if keep else 'close'}\r\n\r\n"
                writer.write(head.encode())
                answer = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
                status = int(answer.split(" ")[1])
                length = int(re.search(r"content-length: (\d+)", answer)[1])  # type: ignore[index]
                body = (await reader.readexactly(length)).decode().strip()
                if keep and "connection: close" not in answer:
                    self._idle.append((reader, writer))
                else:
                    writer.close()
            error = "" if status == 200 else f"status {status}"
        except Exception as failure:
            body, error = "", f"{type(failure).__name__} {failure}"
        self.answered.append(Answered(sent, time.monotonic(), body, error, path.startswith("/slow")))

    def bodies(self) -> Counter[str]:
        return Counter(answer.body for answer in self.answered if not answer.error)

    def errors(self) -> Counter[str]:
        return Counter(answer.error for answer in self.answered if answer.error)


@dataclass
class Switched:
    """What a client saw of one switch."""

    fact: ReleaseObserved
    requests: int
    straddling: int
    image_id: str


async def switch_under_load(
    world: World, client: Client, image_id: str, before: str, number: int, *, least: int = 2000, **changes: Any
) -> Switched:
    """Order a release while the client asks, until it has `least` answers more; 20 answers of 3 s begin before the switch and end
    after it."""
    order = world.order(image_id, number=number, **changes)
    already = len(client.answered)
    await world.send(order)
    await world.until(order.release, "probing", "switched")
    for count in range(20):
        client.ask("/slow", keep=count % 2 == 0)
    fact = await world.until(order.release, "healthy")
    while len(client.answered) - already < least:
        await asyncio.sleep(0.05)
    new = [answer for answer in client.answered[already:] if not answer.slow and answer.body not in ("", before)]
    first_new = min(answer.ended for answer in new)
    slow = [answer for answer in client.answered[already:] if answer.slow]
    straddling = sum(answer.sent < first_new < answer.ended and answer.body == before for answer in slow)
    running = await world.engine.inspect(fact.container)
    return Switched(fact, len(client.answered) - already, straddling, running["Image"] if running else "")
