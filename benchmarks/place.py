"""A platform to measure: real nats-server, real services on SQLite, HTTP on loopback; one process, seven, or one service alone.

async with opened() as place:
    await place.start(["all"])
    shop = await place.register("shop")
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from shared.bootstrap import bootstrap
from shared.bus import SERVICES
from shared.testing.nats import NatsServer, free_port

from benchmarks.common import until

REPOSITORY = Path(__file__).parents[1]


@dataclass(frozen=True)
class Shop:
    """A registered service: where its pushes go and what signs them."""

    name: str
    path: str
    secret: str


@dataclass
class Place:
    """One data folder with its nats-server, and the processes that run on it."""

    folder: Path
    nats: NatsServer
    processes: dict[str, tuple[subprocess.Popen[bytes], int]] = field(default_factory=dict)

    @property
    def root(self) -> Path:
        return self.nats.root

    @property
    def stamps(self) -> Path:
        return self.folder / "stamps"

    def port(self, service: str) -> int:
        """The port at which this service answers."""
        return next(port for names, (_, port) in self.processes.items() if service in names.split(","))

    # -- processes -----------------------------------------------------------------------------------------------------
    async def start_one(self, **options: Any) -> None:
        """All seven in one process."""
        await self.start([",".join(SERVICES)], **options)

    async def start_seven(self, **options: Any) -> None:
        await self.start(list(SERVICES), **options)

    async def start(self, groups: Sequence[str], **options: Any) -> None:
        """A process for each group of names (by commas); returns when all are ready."""
        for names in groups:
            self.spawn(names, **options)
        for names in groups:
            await self.ready(names)

    def spawn(self, names: str, **options: Any) -> None:
        """The process of this group, at the port it had before when there was one."""
        port = self.processes[names][1] if names in self.processes else free_port()
        words = [names, str(self.root), self.nats.url, str(port), str(self.stamps), json.dumps(options)]
        with open(self.folder / "output", "ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.member", *words], cwd=REPOSITORY, stdout=log, stderr=log, start_new_session=True
            )
        self.processes[names] = process, port

    async def ready(self, names: str, seconds: float = 60) -> None:
        process, port = self.processes[names]
        async with httpx.AsyncClient() as client:
            for name in names.split(","):

                async def answers(name: str = name) -> bool:
                    if process.poll() is not None:
                        raise RuntimeError(f"{name} ended: {self.output()}")
                    with contextlib.suppress(httpx.HTTPError):
                        return (await client.get(f"http://127.0.0.1:{port}/-/{name}/readyz")).status_code == 200
                    return False

                await until(f"{name} ready", answers, seconds, 0.05)

    def output(self) -> str:
        found = [
            path.read_text()[-2000:] for path in [self.folder / "output", *(self.root / "logs").glob("*.log")] if path.exists()
        ]
        return "\n".join(found)

    async def stop(self) -> None:
        """End all processes; the nats-server and the data stay."""
        for process, _ in self.processes.values():
            process.terminate()
        for process, _ in self.processes.values():
            try:
                await asyncio.to_thread(process.wait, 20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.processes.clear()

    def memory_mb(self) -> float:
        """Proportional memory of the services' processes and what they started, nats-server left out."""
        from shared.memory import family, memory_mb

        pids: set[int] = set()
        for process, _ in self.processes.values():
            pids |= set(family(process.pid))
        return memory_mb(pids)[1]

    # -- the way in ----------------------------------------------------------------------------------------------------
    @asynccontextmanager
    async def api(self) -> AsyncIterator[httpx.AsyncClient]:
        token = (self.root / "cli.token").read_text().strip()
        base = f"http://127.0.0.1:{self.port('gateway')}/api/v1"
        async with httpx.AsyncClient(base_url=base, headers={"Authorization": f"Bearer {token}"}, timeout=60) as client:
            yield client

    async def register(self, name: str, *, deploys: bool = False, supersede: bool = False) -> Shop:
        """A service whose pushes to main are built, and deployed when that is asked for."""
        wanted: dict[str, Any] = {"name": name, "repository_url": f"https://git.invalid/{name}.git"}
        wanted["rule"] = {"branches": ["main"], "environments": ["development"] if deploys else [], "supersede": supersede}
        if deploys:
            wanted["environment"] = {"name": "development", "container_port": 8080, "observe_seconds": 1}
        async with self.api() as api:
            made = await api.post("/services", json=wanted)
            if made.status_code != 201:
                raise RuntimeError(made.text)

            async def endpoint() -> dict[str, Any] | None:
                detail = (await api.get(f"/services/{name}")).json()
                rows = (await api.get(f"/services/{name}/endpoints")).json()["items"]
                known = detail.get("rule") and detail["rule"]["supersede"] == supersede
                return rows[0] if rows and known and bool(detail.get("environments")) == deploys else None

            row = await until(f"an endpoint of {name}", endpoint, 30, 0.05)
            shown = (await api.post(f"/endpoints/{row['id']}/secret")).json()
        return Shop(name, row["path"], shown["secret"])

    # -- what is seen from outside -------------------------------------------------------------------------------------
    def query(self, service: str, statement: str, *values: Any, database: str = "") -> list[tuple[Any, ...]]:
        """Rows of a service's own database, read beside the running service."""
        file = self.root / "services" / service / f"{database or service}.db"
        with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=10)) as connection:
            return connection.execute(statement, values).fetchall()

    def stamped(self, what: str) -> dict[str, float]:
        """name -> seconds since 1970 at which the child of this step began."""
        rows = [line.split() for line in self.stamps.read_text().splitlines()]
        return {row[1]: float(row[2]) for row in rows if row[0] == what}

    async def until_ended(self, count: int, seconds: float = 300) -> list[tuple[str, str, int, int]]:
        """(commit, state, born ms, ended ms) of all runs, once `count` of them are over."""

        async def over() -> bool:
            done = self.query("webhook", "select count(*) from runs where ended_at_ms is not null")[0][0]
            return bool(done >= count)

        await until(f"the end of {count} runs", over, seconds, 0.1)
        return self.query("webhook", "select commit_id, state, born_at_ms, ended_at_ms from runs order by born_at_ms")

    async def until_quiet(self, seconds: float = 120) -> None:
        """No run under way, outboxes empty, no open job."""

        async def quiet() -> bool:
            if self.query("webhook", "select count(*) from runs where ended_at_ms is null")[0][0]:
                return False
            for name in SERVICES:
                for file in (self.root / "services" / name).glob("*.db"):
                    for table in ("outbox where sent = 0", "job where state <> 'ended'"):
                        with contextlib.suppress(sqlite3.OperationalError):
                            if self.query(name, f"select count(*) from {table}", database=file.stem)[0][0]:
                                return False
            return True

        await until("a quiet platform", quiet, seconds, 0.05)


@asynccontextmanager
async def opened() -> AsyncIterator[Place]:
    """A place on fresh folders and a nats-server of its own; all of it is gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="kiops-bench-"))
    place = Place(folder, NatsServer(folder / "data"))
    place.stamps.touch()
    place.nats.start()
    try:
        await bootstrap(place.nats.url, place.nats.keys)
        yield place
    finally:
        await place.stop()
        place.nats.stop()
        shutil.rmtree(folder, ignore_errors=True)


@asynccontextmanager
async def bare_server(folder: Path, secret: str) -> AsyncIterator[int]:
    """The floor of an accept (see bare.py) in a process of its own; yields its port."""
    port = free_port()
    process = subprocess.Popen(  # noqa: ASYNC220  (it is only started here)
        [sys.executable, "-m", "benchmarks.bare", str(port), str(folder / "appended")],
        cwd=REPOSITORY, env={**os.environ, "BENCH_SECRET": secret}, start_new_session=True,
    )  # fmt: skip
    try:

        async def listens() -> bool:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                return True
            return False

        await until("the bare server", listens, 20)
        yield port
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait, 10)
