"""The builder's props: real repositories, and the builder running beside a webhook that only records."""

from __future__ import annotations

import asyncio
import base64
import http.server
import json
import os
import secrets
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from builder.settings import BuilderSettings
from builder.wiring import wire
from shared.bus import HEARS
from shared.database import Tx, open_engines
from shared.facts._base import Message
from shared.facts.webhook import PushReceived
from shared.hosting import Host, Platform, Service
from shared.platform import platform_id
from shared.subscribers import Envelope, Subscribers
from shared.tables import NAMING, chassis_tables
from shared.testing.nats import NatsServer
from shared.words import Trigger

PEOPLE = {f"GIT_{who}_{what}": value for who in ("AUTHOR", "COMMITTER") for what, value in (("NAME", "Ada"), ("EMAIL", "a@b.c"))}
ENV = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1", **PEOPLE}
BUSYBOX = ["/bin/busybox", "sh", "-c"]


class Repository:
    """A bare repository, and a work tree whose commits are pushed to it with force."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.bare, self.tree = folder / "shop.git", folder / "tree"
        self.git("init", "-q", "--bare", "-b", "main", str(self.bare), cwd=folder)
        self.git("init", "-q", "-b", "main", str(self.tree), cwd=folder)

    @staticmethod
    def git(*words: str, cwd: Path) -> str:
        done = subprocess.run(["git", *words], cwd=cwd, env=ENV, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    def commit(self, message: str, **files: str | Path) -> str:
        """Write files (`__` in a name is a slash; a Path is copied), commit, push; returns the commit's id."""
        for name, content in files.items():
            path = self.tree / name.replace("__", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, Path):
                path.write_bytes(content.read_bytes())
                path.chmod(0o755)
            else:
                path.write_text(content)
        self.git("add", "-A", "-f", cwd=self.tree)
        self.git("commit", "-q", "--allow-empty", "-m", message, cwd=self.tree)
        self.git("push", "-q", "--force", str(self.bare), "HEAD:main", cwd=self.tree)
        return self.git("rev-parse", "HEAD", cwd=self.tree)


@pytest.fixture
def repository(tmp_path: Path, git: Path) -> Repository:
    return Repository(tmp_path / "data" / "demo")


def step(script: str) -> str:
    """A RUN line for an image that has busybox and nothing else."""
    return f"RUN {json.dumps([*BUSYBOX, script])}\n"


@pytest.fixture
def run_line() -> Callable[[str], str]:
    return step


class Sleeper:
    """A RUN line that sleeps, and whose process can be found in /proc."""

    def __init__(self) -> None:
        self.word = str(secrets.randbelow(10**9) + 10**9)
        self.line = f'RUN ["/bin/busybox", "sleep", "{self.word}"]\n'

    def processes(self) -> list[int]:
        found = []
        for name in os.listdir("/proc"):
            with suppress(OSError):
                if name.isdigit() and self.word.encode() in Path(f"/proc/{name}/cmdline").read_bytes():
                    found.append(int(name))
        return found

    async def running(self) -> None:
        assert await wait_until(lambda: bool(self.processes()), seconds=15), "the step never ran"

    async def gone(self) -> float:
        """Seconds until nothing of it is left in /proc; more than two are a failure."""
        began = time.monotonic()
        assert await wait_until(lambda: not self.processes(), seconds=2), "the step's process is still there after 2 s"
        return time.monotonic() - began


@pytest.fixture
def sleeper() -> Sleeper:
    return Sleeper()


class Server(http.server.ThreadingHTTPServer):
    """Serves a bare repository over the dumb protocol, to those who know the password."""

    daemon_threads = True

    def __init__(self, folder: Path, password: str) -> None:
        super().__init__(("127.0.0.1", 0), self._handler(folder))
        self.password, self.folder, self.status = password, folder, 0

    @staticmethod
    def _handler(folder: Path) -> type[http.server.SimpleHTTPRequestHandler]:
        class Handler(http.server.SimpleHTTPRequestHandler):
            def __init__(self, *given: object) -> None:
                super().__init__(*given, directory=str(folder))  # type: ignore[arg-type]

            def do_GET(self) -> None:
                server: Server = self.server  # type: ignore[assignment]
                expected = "Basic " + base64.b64encode(f"git:{server.password}".encode()).decode()
                if server.status:
                    self.send_error(server.status)
                elif self.headers.get("Authorization") != expected:
                    self.send_response(401)
                    self.send_header("WWW-Authenticate", 'Basic realm="git"')
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                else:
                    super().do_GET()

            def log_message(self, *given: object) -> None:
                pass

        return Handler


@pytest.fixture
def git_server(tmp_path: Path) -> Iterator[Server]:
    folder = tmp_path / "data" / "demo"
    folder.mkdir(parents=True, exist_ok=True)
    server = Server(folder, secrets.token_hex(12))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


class Road:
    """The builder at work: push to it, see the facts it announces."""

    def __init__(self, platform: Platform, heard: list[tuple[Message, Envelope]], repository: Repository) -> None:
        self.platform, self.heard, self.repository = platform, heard, repository
        self.webhook, self.builder = platform.services["webhook"], platform.services["builder"]

    async def push(self, commit: str, number: int = 1, **changes: Any) -> str:
        """A push worth a run; returns the run's id."""
        message = PushReceived(
            **{
                "organisation": "main",
                "service": "svc_shop",
                "service_name": "kiops-test-shop",
                "run": f"run_{number}",
                "number": number,
                "trigger": Trigger.WEBHOOK,
                "executor": "Ada",
                "cause": "push of 3 commits to main",
                "ref": "refs/heads/main",
                "commit": commit,
                "plan": ["source", "build"],
                "repository_url": str(self.repository.bare),
                **changes,
            }
        )
        await self.tell(message)
        return message.run

    async def tell(self, message: Message) -> None:
        async with self.webhook.service.database.write() as tx:
            await tx.put(message, correlation=getattr(message, "run", ""))

    def names(self, run: str) -> list[str]:
        return [fact.name for fact, _ in self.heard if getattr(fact, "run", "") == run]

    async def until(self, run: str, *names: str, seconds: float = 60) -> Any:
        """Wait for a fact about the run; returns it."""
        end = asyncio.get_running_loop().time() + seconds
        while asyncio.get_running_loop().time() < end:
            for fact, _ in self.heard:
                if getattr(fact, "run", "") == run and fact.name in names:
                    return fact
            await asyncio.sleep(0.005)
        raise AssertionError(f"none of {names} for {run}; heard {self.names(run)}")

    async def over(self, run: str, seconds: float = 60) -> Any:
        """Wait until the run's build is over."""
        return await self.until(run, "build.succeeded", "build.failed", "build.cancelled", seconds=seconds)

    async def log(self, fact: Any) -> list[str]:
        """The kept log's lines."""
        body = await self.builder.host.objects.get(fact.log)
        lines = [json.loads(line)[3] for line in body.decode().splitlines()]
        assert len(lines) == fact.log_lines
        return lines


Travel = Callable[..., AbstractAsyncContextManager[Road]]


@pytest.fixture
def road(platform: Any, repository: Repository, docker_engine: Any, nats: NatsServer) -> Travel:
    """`async with road() as r`: the builder with a real bus, git and engine. Images it makes are removed."""

    @asynccontextmanager
    async def travel(**given: Any) -> AsyncIterator[Road]:
        heard: list[tuple[Message, Envelope]] = []
        settings = BuilderSettings(**{"engine_socket": Path(docker_engine.socket), **given.pop("settings", {})})

        def builder(host: Host) -> AbstractAsyncContextManager[Service]:
            return wire(host, settings, **given)

        async with platform({"webhook": recorder(heard), "builder": builder}) as running:
            yield Road(running, heard, repository)
        remove_images(docker_engine, platform_id(nats.root))

    return travel


def remove_images(engine: Any, platform: str) -> None:
    """Remove what this platform built; another test may be building on the same engine."""
    _, body = engine.request("GET", "/images/json")
    for image in json.loads(body):
        if (image.get("Labels") or {}).get("kiops.platform") == platform:
            engine.remove_image(image["Id"])


def recorder(heard: list[tuple[Message, Envelope]]) -> Callable[[Host], AbstractAsyncContextManager[Service]]:
    """A webhook that announces what it is told to, and remembers what it hears."""
    metadata = sa.MetaData(naming_convention=NAMING)
    chassis_tables(metadata)

    @asynccontextmanager
    async def wired(host: Host) -> AsyncIterator[Service]:
        async with open_engines(host.name, metadata, path=host.data / "webhook.db", url="", clock=host.clock) as database:
            async with database.write() as tx:
                await tx.connection.run_sync(metadata.create_all)
            on = Subscribers()

            async def remember(tx: Tx, message: Message, envelope: Envelope) -> None:
                heard.append((message, envelope))

            for message in HEARS["webhook"]:
                on(message)(remember)
            yield Service("webhook", database, subscribers=on)

    return wired


async def wait_until(condition: Callable[[], Awaitable[bool]] | Callable[[], bool], seconds: float = 20) -> bool:
    """Whether a condition comes to hold in time."""
    end = asyncio.get_running_loop().time() + seconds
    while asyncio.get_running_loop().time() < end:
        held = condition()
        if await held if asyncio.iscoroutine(held) else held:
            return True
        await asyncio.sleep(0.01)
    return False


@pytest.fixture
def eventually() -> Callable[..., Awaitable[bool]]:
    return wait_until
