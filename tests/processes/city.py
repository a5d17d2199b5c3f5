"""Seven processes and a nats-server that a test may kill, a sender of signed pushes, and what can be seen from outside."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
import uuid
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from shared.bootstrap import bootstrap
from shared.bus import SERVICES
from shared.processes import leftovers
from shared.testing.nats import NatsServer, free_port

REPOSITORY = Path(__file__).parents[2]
ENDED = {"success", "failed", "blocked", "cancelled", "superseded"}


@dataclass
class City:
    """The processes of one platform."""

    root: Path
    nats: NatsServer
    stamps: Path
    ports: dict[str, int] = field(default_factory=lambda: {name: free_port() for name in SERVICES})
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    kills: Counter[str] = field(default_factory=Counter)
    kills_at_work: int = 0

    @classmethod
    async def build(cls, folder: Path) -> City:
        root = folder / "data"
        city = cls(root, NatsServer(root), folder / "stamps")
        city.stamps.touch()
        city.nats.start()
        await bootstrap(city.nats.url, city.nats.keys)
        for name in SERVICES:
            city.start(name)
        for name in SERVICES:
            await city.ready(name, 60)
        return city

    def start(self, name: str) -> None:
        log = open(self.root / f"{name}.out", "ab")
        with log:
            self.processes[name] = subprocess.Popen(
                [
                    sys.executable, "-m", "tests.processes.member",
                    name, str(self.root), self.nats.url, str(self.ports[name]), str(self.stamps),
                ],
                cwd=REPOSITORY, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    async def ready(self, name: str, seconds: float) -> None:
        end = time.monotonic() + seconds
        told = ""
        async with httpx.AsyncClient() as client:
            while time.monotonic() < end:
                with contextlib.suppress(httpx.HTTPError):
                    answer = await client.get(f"http://127.0.0.1:{self.ports[name]}/-/{name}/readyz")
                    if answer.status_code == 200:
                        return
                    told = answer.text
                if self.processes[name].poll() is not None:
                    break
                await asyncio.sleep(0.1)
        raise AssertionError(f"{name} is not ready: {told} {(self.root / f'{name}.out').read_text()[-3000:]}")

    def working(self) -> bool:
        """Whether a child is at work just now: it has begun, has not ended, and lives."""
        open_ones: set[str] = set()
        for line in self.stamps.read_text().splitlines():
            what, *rest = line.split()
            (open_ones.add if what == "begin" else open_ones.discard)(" ".join(rest))
        return any(os.path.exists(f"/proc/{row.split()[-1]}") for row in open_ones)

    async def kill(self, name: str) -> None:
        """SIGKILL, and start again a moment later."""
        self.kills_at_work += self.working()
        self.kills[name] += 1
        if name == "nats-server":
            self.nats.kill()
            await asyncio.sleep(0.2)
            self.nats.start()
            return
        process = self.processes[name]
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        self.start(name)

    async def stop(self) -> None:
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            try:
                await asyncio.to_thread(process.wait, 15)
            except subprocess.TimeoutExpired:
                process.kill()
        self.nats.stop()

    def children_left(self) -> list[int]:
        return [pid for name in SERVICES for pid in leftovers(str(self.root.resolve()), name)]

    # -- the way in ----------------------------------------------------------------------------------------------------
    def api(self) -> httpx.AsyncClient:
        token = (self.root / "cli.token").read_text().strip()
        return httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{self.ports['gateway']}/api/v1",
            headers={"Authorization": f"Bearer {token}"}, timeout=20,
        )  # fmt: skip

    async def register(self, name: str) -> tuple[str, str]:
        """A service whose pushes are never superseded, with an environment. Returns (path, secret) of its endpoint."""
        async with self.api() as api:
            answer = await api.post(
                "/services",
                json={
                    "name": name,
                    "repository_url": f"https://git.invalid/{name}.git",
                    "environment": {"name": "development", "container_port": 8080, "observe_seconds": 1},
                    "rule": {"branches": ["main"], "environments": ["development"], "supersede": False},
                },
            )
            assert answer.status_code == 201, answer.text
            end = time.monotonic() + 20
            while time.monotonic() < end:
                rows = (await api.get(f"/services/{name}/endpoints")).json()["items"]
                places = (await api.get(f"/services/{name}/environments")).json()["items"]
                rule = (await api.get(f"/services/{name}")).json()["rule"]
                if rows and places and rule and rule["environments"]:
                    shown = await api.post(f"/endpoints/{rows[0]['id']}/secret")
                    assert shown.status_code == 200, shown.text
                    return rows[0]["path"], shown.json()["secret"]
                await asyncio.sleep(0.1)
        raise AssertionError(f"{name} has no endpoint after 20 s")

    # -- what is seen from outside ---------------------------------------------------------------------------------------
    async def runs(self, service: str) -> list[dict[str, Any]]:
        """All runs of a service, as the API lists them."""
        found: list[dict[str, Any]] = []
        cursor = ""
        async with self.api() as api:
            while True:
                answer = await api.get("/runs", params={"service": service, "limit": 200, "cursor": cursor})
                assert answer.status_code == 200, answer.text
                body = answer.json()
                found += body["items"]
                cursor = body.get("next") or body.get("next_cursor") or ""
                if not cursor:
                    return found

    def counts(self, query: str) -> dict[str, int]:
        """A count from each service's own database, read beside the running service."""
        found = {}
        for name in SERVICES:
            for file in (self.root / "services" / name).glob("*.db"):
                with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=10)) as connection:
                    with contextlib.suppress(sqlite3.OperationalError):
                        found[f"{name}/{file.stem}"] = connection.execute(query).fetchone()[0]
        return found

    def stamped(self) -> dict[tuple[str, str], list[tuple[str, int, int]]]:
        """(what, run) -> [(begin or end, token, line number)], from the children's own file."""
        found: dict[tuple[str, str], list[tuple[str, int, int]]] = defaultdict(list)
        for number, line in enumerate(self.stamps.read_text().splitlines()):
            edge, what, run, token, _ = line.split()
            found[what, run].append((edge, int(token), number))
        return found


@dataclass
class Sender:
    """A Git host: sends a delivery until it is acknowledged, under one id, and counts what was."""

    city: City
    acked: dict[str, tuple[str, int]] = field(default_factory=dict)

    async def push(self, client: httpx.AsyncClient, service: str, path: str, secret: str, number: int) -> None:
        commit = hashlib.sha1(f"{service} {number}".encode()).hexdigest()
        body = json.dumps({
            "ref": "refs/heads/main", "after": commit, "before": "1" * 40, "forced": False, "pusher": {"name": "Ada"},
            "commits": [
                {"id": commit, "message": f"change {number}", "author": {"name": "Ada"}, "added": [], "modified": ["a"],
                 "removed": []}
            ],
        }).encode()  # fmt: skip
        headers = {
            "Content-Type": "application/json",
            "X-Kiops-Event": "push",
            "X-Kiops-Delivery": str(uuid.uuid4()),
            "X-Kiops-Signature": "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest(),
        }
        url = f"http://127.0.0.1:{self.city.ports['webhook']}{path}"
        end = time.monotonic() + 60
        while time.monotonic() < end:
            try:
                answer = await client.post(url, content=body, headers=headers)
            except httpx.HTTPError:
                await asyncio.sleep(0.1)
                continue
            if answer.status_code == 202:
                run = answer.json()["run"]
                assert run, answer.text
                self.acked[commit] = (service, run["number"])
                return
            assert answer.status_code == 503, answer.text
            await asyncio.sleep(0.1)
        raise AssertionError("a push was not acknowledged within 60 s")
