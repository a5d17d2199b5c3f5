"""A service alone, from its own lock, is told to stop (SIGTERM) while it works: it ends in time, and nothing is lost."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from shared.bootstrap import bootstrap
from shared.bus import Bus
from shared.facts.gateway import ServiceRegistered
from shared.facts.webhook import PushReceived
from shared.sealing import KeyPair
from shared.testing.nats import NatsServer, free_port

from kiops import catalogue
from kiops.setup import python
from shared import ids
from tests.architecture.test_alone import ROOT, ready

EXAMPLES = ROOT / "shared" / "src" / "shared" / "facts" / "examples"
DRAIN_SECONDS = 20
"""What compose.yaml gives a container before it is killed."""


class Alone:
    """One service as a process, in an environment that has nothing but its own lock."""

    def __init__(self, name: str, folder: Path, nats: NatsServer) -> None:
        self.name, self.folder, self.nats = name, folder, nats
        self.environment = folder / "environment"
        members = [ROOT / "shared", ROOT / "services" / name]
        python.make(self.environment, ROOT / "requirements" / f"{name}.txt", members=members, compiled=False)
        self.process: subprocess.Popen[bytes] | None = None
        self.port = 0

    def start(self) -> None:
        self.port = free_port()
        env = {
            "PATH": os.environ["PATH"], "HOME": str(self.folder), "KIOPS_HOME": str(self.folder), "KIOPS_DATA": str(self.nats.root),
            "KIOPS_BUS_URL": self.nats.url, "KIOPS_PORT": str(self.port),
        }  # fmt: skip
        with (self.folder / "log").open("ab") as out:
            argv = [self.environment / "bin" / "python", "-m", catalogue.package(self.name)]
            self.process = subprocess.Popen(argv, cwd=self.folder, env=env, stdout=out, stderr=out)
        deadline = time.monotonic() + 60
        told: Any = None
        while time.monotonic() < deadline and self.process.poll() is None:
            told = ready(self.port, self.name)
            if told is not None and not {"database", "bus", "stream", "rights", "alive"} & set(told["failing"]):
                return
            time.sleep(0.05)
        raise AssertionError(f"{self.name} does not start: {told} {self.log()}")

    def stop(self) -> None:
        """SIGTERM; it must end by itself, and well."""
        assert self.process
        self.process.terminate()
        assert self.process.wait(DRAIN_SECONDS) == 0, self.log()

    def log(self) -> str:
        return (self.folder / "log").read_text()[-3000:]

    def end(self) -> None:
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()


async def say(nats: NatsServer, fact: Any) -> None:
    """Puts a fact on the stream as its owner does."""
    bus = Bus(fact.owner, nats.url, nats.keys / f"{fact.owner}.nk")
    await bus.open()
    try:
        headers = {
            "ce-id": ids.uuid7(), "ce-type": fact.type(), "ce-source": f"/kiops/{fact.owner}", "ce-subject": fact.service,
            "ce-time": "2026-01-01T00:00:00.000Z", "ce-specversion": "1.0", "ce-correlationid": getattr(fact, "run", ""),
        }  # fmt: skip
        reply = await bus.request(fact.subject, fact.model_dump_json().encode(), headers=headers)
        assert "error" not in json.loads(reply.data), reply.data
    finally:
        await bus.close()


def example(kind: type, **changes: Any) -> Any:
    return kind.model_validate(json.loads((EXAMPLES / f"{kind.name}.v1.json").read_text()) | changes)


@pytest.fixture
def alone(request: pytest.FixtureRequest, tmp_path: Path, nats: NatsServer) -> Iterator[Alone]:
    asyncio.run(bootstrap(nats.url, nats.keys))
    made = Alone(request.param, tmp_path, nats)
    yield made
    made.end()


@pytest.mark.heavy
@pytest.mark.parametrize("alone", ["builder"], indirect=True)
async def test_a_job_in_work_is_handed_back_at_once(alone: Alone, nats: NatsServer) -> None:
    """A build hangs in a clone that is never answered; the builder stops, and the next instance begins the same build again, long
    before the lease of the first would have ended."""
    clones: asyncio.Queue[float] = asyncio.Queue()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        clones.put_nowait(time.monotonic())
        with contextlib.suppress(OSError):
            while await reader.read(1024):
                pass
        writer.close()

    git = await asyncio.start_server(hang, "127.0.0.1", 0)
    async with git:
        url = f"http://127.0.0.1:{git.sockets[0].getsockname()[1]}/shop.git"
        await asyncio.to_thread(alone.start)
        await say(nats, example(PushReceived, repository_url=url, run=ids.new("run")))
        async with asyncio.timeout(60):
            await clones.get()
        await asyncio.to_thread(alone.stop)
        while not clones.empty():  # what git itself tried again
            clones.get_nowait()
        await asyncio.to_thread(alone.start)
        async with asyncio.timeout(60):
            await clones.get()
        await asyncio.to_thread(alone.stop)


@pytest.mark.heavy
@pytest.mark.parametrize("alone", ["webhook"], indirect=True)
async def test_every_acknowledged_push_is_a_run_after_a_stop(alone: Alone, nats: NatsServer) -> None:
    """Pushes arrive while webhook is told to stop. Whatever it answered 202 has its run; the rest was refused."""
    import sqlite3

    fact = example(ServiceRegistered, credential=None, service=ids.new("svc"))
    await asyncio.to_thread(alone.start)
    await say(nats, fact)
    database = nats.root / "services" / "webhook" / "webhook.db"

    def rows(query: str) -> list[Any]:
        with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
            return connection.execute(query).fetchall()

    async with asyncio.timeout(60):
        while not (found := rows("select id, provider, sealed_secret from endpoints")):
            await asyncio.sleep(0.05)
    endpoint, provider, sealed = found[0]
    secret = KeyPair.load(nats.root / "keys" / "webhook.key").open(sealed)
    acked: set[str] = set()
    refused: list[str] = []
    enough = asyncio.Event()

    async def push(http: httpx.AsyncClient, number: int) -> bool:
        commit = hashlib.sha1(str(number).encode()).hexdigest()
        change = {"id": commit, "message": "change", "author": {"name": "Ada"}, "added": [], "modified": ["a"], "removed": []}
        body = json.dumps({"ref": f"refs/heads/{fact.branch}", "after": commit, "before": "1" * 40, "commits": [change]}).encode()
        headers = {
            "Content-Type": "application/json", "X-Kiops-Event": "push", "X-Kiops-Delivery": str(number),
            "X-Kiops-Signature": "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest(),
        }  # fmt: skip
        try:
            answer = await http.post(
                f"http://127.0.0.1:{alone.port}/api/v1/webhook/{provider}/{endpoint}",
                content=body,
                headers=headers,
            )
        except httpx.HTTPError:
            refused.append(commit)
            return False
        assert answer.status_code in (202, 503), answer.text
        (acked.add if answer.status_code == 202 else refused.append)(commit)
        if len(acked) > 20:
            enough.set()
        return answer.status_code == 202

    async def send(http: httpx.AsyncClient, first: int) -> None:
        number = first
        while await push(http, number):
            number += 8

    async with httpx.AsyncClient(timeout=30, trust_env=False) as http:
        sending = [asyncio.create_task(send(http, first)) for first in range(8)]
        async with asyncio.timeout(60):
            await enough.wait()
        await asyncio.to_thread(alone.stop)
        await asyncio.gather(*sending)
    assert len(refused) >= 8, "every sender met the end"
    await asyncio.to_thread(alone.start)
    kept = [commit for (commit,) in rows("select commit_id from deliveries where run_id is not null")]
    assert len(kept) == len(set(kept)), "none twice"
    assert acked <= set(kept), acked - set(kept)
    await asyncio.to_thread(alone.stop)
