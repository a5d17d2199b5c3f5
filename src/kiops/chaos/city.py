"""The processes of one platform that may be killed, and what can be seen of it from outside."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import httpx
from shared.bootstrap import bootstrap
from shared.bus import SERVICES
from shared.errors import Broken
from shared.processes import leftovers
from shared.testing.nats import NatsServer, free_port
from shared.testing.postgres import Postgres

from kiops.chaos.member import Membership
from kiops.chaos.stamps import Stamps

ENDED = {"success", "failed", "blocked", "cancelled", "superseded"}
DATABASES = (*SERVICES, "read_model")
LEASES = {"lease_seconds": 4.0, "heartbeat_seconds": 1.0, "role_lease_seconds": 2.0}
"""Shorter than in earnest: on PostgreSQL what a killed instance held is taken again when its lease is over."""


@dataclass
class City:
    """One platform below `folder`: seven processes, their nats-server and, when it is given, their PostgreSQL (where the
    names of their databases begin with `prefix`)."""

    folder: Path
    postgres: Postgres | None = None
    prefix: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    program: tuple[str, ...] = ("-m", "kiops.chaos.member")
    ports: dict[str, int] = field(default_factory=lambda: {name: free_port() for name in SERVICES})
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    kills: Counter[str] = field(default_factory=Counter)
    kills_at_work: int = 0
    falls: int = 0

    def __post_init__(self) -> None:
        self.root = self.folder / "data"
        self.nats = NatsServer(self.root)
        self.stamps = Stamps(self.folder / "stamps")
        # One client for all: making one costs more than a hundred requests.
        self.client = httpx.AsyncClient(timeout=20, limits=httpx.Limits(max_connections=None))

    # -- life ----------------------------------------------------------------------------------------------------------
    async def open(self, services: Sequence[str] = SERVICES) -> City:
        """Start everything and wait until it is ready. Raises Broken `chaos.not_ready`."""
        settings = LEASES | self.settings
        if self.postgres:
            for name in DATABASES:
                self.postgres.make(self.prefix + name.replace("-", "_"))
            settings["database_url"] = self.postgres.url.format(database=self.prefix + "{database}")
        self.nats.start()
        member = Membership(str(self.root), self.nats.url, str(self.stamps.file), self.ports, self.seconds, settings)
        self.member_file.write_text(json.dumps(asdict(member)))
        await bootstrap(self.nats.url, self.nats.keys)
        for name in services:
            self.start(name)
        for name in services:
            await self.ready(name, 120)
        return self

    @property
    def member_file(self) -> Path:
        return self.folder / "member.json"

    def start(self, name: str) -> None:
        self._start(name, name, self.member_file)

    def start_replica(self, name: str) -> str:
        """Start a second instance of a service, with an address of its own. Returns what it is called here."""
        called = f"{name}-2"
        member = json.loads(self.member_file.read_text())
        member["ports"][name] = self.ports[called] = free_port()
        file = self.folder / f"{called}.json"
        file.write_text(json.dumps(member))
        self._start(called, name, file)
        return called

    def _start(self, called: str, name: str, file: Path) -> None:
        with open(self.root / f"{called}.out", "ab") as log:
            self.processes[called] = subprocess.Popen(
                ["/usr/bin/setpriv", "--pdeathsig", "KILL", "--", sys.executable, *self.program, name, str(file)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    async def ready(self, called: str, seconds: float) -> None:
        """Wait until the service says so. Raises Broken `chaos.not_ready` with its last words."""
        end = time.monotonic() + seconds
        told = ""
        while time.monotonic() < end:
            with contextlib.suppress(httpx.HTTPError):
                answer = await self.client.get(f"http://127.0.0.1:{self.ports[called]}/-/{called.removesuffix('-2')}/readyz")
                if answer.status_code == 200:
                    return
                told = answer.text
            self.tend(called)
            await asyncio.sleep(0.2)
        raise Broken("chaos.not_ready", f"{called} is not ready after {seconds:g} s: {told} {self.words(called)}")

    def tend(self, called: str) -> None:
        """What a supervisor does: start it again when it ended by itself because its database went away under its start.

        Raises Broken `chaos.fell` when it ended for another reason.
        """
        if self.processes[called].poll() is None:
            return
        words = self.words(called)
        if "[database.away]" not in words[-600:]:
            raise Broken("chaos.fell", f"{called} ended by itself: {words}")
        self.falls += 1
        self.start(called)

    def words(self, called: str) -> str:
        """The last of what the process said."""
        return (self.root / f"{called}.out").read_text(errors="replace")[-3000:]

    async def kill(self, name: str) -> None:
        """SIGKILL, and start again a moment later."""
        self.kills_at_work += self.stamps.at_work()
        self.kills[name] += 1
        if name == "nats-server":
            self.nats.kill()
            await asyncio.sleep(0.2)
            await asyncio.to_thread(self.nats.start)
        elif name == "PostgreSQL":
            assert self.postgres
            self.postgres.kill()
            await asyncio.sleep(0.2)
            await asyncio.to_thread(self.postgres.start)
        else:
            process = self.processes[name]
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
            process.wait()
            self.start(name)

    @property
    def victims(self) -> list[str]:
        return [*SERVICES, "nats-server", *(["PostgreSQL"] if self.postgres else [])]

    async def close(self) -> None:
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            try:
                await asyncio.to_thread(process.wait, 15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.nats.stop()
        await self.client.aclose()

    # -- the way in ----------------------------------------------------------------------------------------------------
    async def api(self, method: str, path: str, **options: Any) -> httpx.Response:
        """A call of the API as the command line signs in; tried again for a minute while the gateway is away."""
        token = (self.root / "cli.token").read_text().strip()
        end = time.monotonic() + 60
        while True:
            try:
                answer = await self.client.request(
                    method, f"http://127.0.0.1:{self.ports['gateway']}/api/v1{path}",
                    headers={"Authorization": f"Bearer {token}"}, **options,
                )  # fmt: skip
                if answer.status_code < 500 or time.monotonic() > end:
                    return answer
            except httpx.HTTPError:
                if time.monotonic() > end:
                    raise
            await asyncio.sleep(0.2)

    async def register(self, name: str) -> tuple[str, str]:
        """A service whose pushes are never superseded, with an environment. Returns (path, secret) of its endpoint."""
        answer = await self.api(
            "POST", "/services",
            json={
                "name": name,
                "repository_url": f"https://git.invalid/{name}.git",
                "environment": {"name": "development", "container_port": 8080, "observe_seconds": 1},
                "rule": {"branches": ["main"], "environments": ["development"], "supersede": False},
            },
        )  # fmt: skip
        if answer.status_code not in (201, 409):
            raise Broken("chaos.register", answer.text)
        end = time.monotonic() + 60
        while time.monotonic() < end:
            rows = (await self.api("GET", f"/services/{name}/endpoints")).json().get("items")
            found = (await self.api("GET", f"/services/{name}")).json() if rows else {}
            if rows and found.get("rule") and found["rule"]["environments"] and found.get("environments"):
                shown = await self.api("POST", f"/endpoints/{rows[0]['id']}/secret")
                if shown.status_code == 200:
                    return rows[0]["path"], shown.json()["secret"]
            await asyncio.sleep(0.2)
        raise Broken("chaos.register", f"{name} has no endpoint after 60 s")

    # -- what is seen from outside ---------------------------------------------------------------------------------------
    async def runs(self, **wanted: Any) -> list[dict[str, Any]]:
        """All runs, as the API lists them: newest first."""
        found: list[dict[str, Any]] = []
        cursor = ""
        while True:
            answer = await self.api("GET", "/runs", params={**wanted, "limit": 200, "cursor": cursor})
            if answer.status_code != 200:
                raise Broken("chaos.runs", answer.text)
            body = answer.json()
            found += body["items"]
            cursor = body.get("next") or ""
            if not cursor:
                return found

    def counts(self, queries: dict[str, str]) -> dict[str, dict[str, int]]:
        """What these queries count in each service's own database, beside the running service; what is 0 is left out."""
        found = {}
        for name in DATABASES:
            rows = self._counts(name, queries)
            if rows := {what: number for what, number in rows.items() if number}:
                found[name] = rows
        return found

    def _counts(self, name: str, queries: dict[str, str]) -> dict[str, int]:
        if self.postgres:
            database = self.prefix + name.replace("-", "_")
            there = set(self.postgres.execute("select tablename from pg_tables", database).split())
            asked = {what: query for what, query in queries.items() if query.split(" from ")[1].split()[0] in there}
            if not asked:
                return {}
            told = self.postgres.execute("; ".join(asked.values()), database).split()
            return dict(zip(asked, map(int, told), strict=True))
        owner = "gateway" if name == "read_model" else name
        file = self.root / "services" / owner / f"{name}.db"
        rows: dict[str, int] = {}
        with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=10)) as connection:
            for what, query in queries.items():
                table = query.split(" from ")[1].split()[0]
                if connection.execute("select 1 from sqlite_master where name = ?", [table]).fetchone():
                    rows[what] = connection.execute(query).fetchone()[0]
        return rows

    def children_left(self) -> list[int]:
        return [pid for name in SERVICES for pid in leftovers(str(self.root.resolve()), name)]

    def folders_left(self) -> list[Path]:
        return list(self.root.glob("services/*/work/*"))
