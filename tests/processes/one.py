"""The one-process form as people run it, on real tools: `kiops serve all` as a child, with a data folder and ports of its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from shared.platform import platform_id
from shared.processes import leftovers
from shared.settings import home
from shared.testing.nats import free_port
from shared.testing.parts import DockerEngine

REPOSITORY = Path(__file__).parents[2]

SERVICE = "corner-shop"


def free_ports(count: int) -> int:
    """The first of `count` free ports in a row."""
    for _ in range(50):
        first = free_port()
        with contextlib.ExitStack() as stack:
            import socket

            try:
                for port in range(first, first + count):
                    probe = stack.enter_context(socket.socket())
                    probe.bind(("127.0.0.1", port))
                return first
            except (OSError, OverflowError):
                continue
    raise AssertionError(f"no {count} free ports in a row")


@dataclass
class One:
    """One platform in one process."""

    folder: Path
    engine: DockerEngine
    base: str
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def root(self) -> Path:
        return self.folder / "data"

    @property
    def repository(self) -> Path:
        return self.root / "demo" / "corner.git"

    @property
    def tree(self) -> Path:
        return self.folder / "tree"

    def prepare(self) -> None:
        first = free_ports(3)
        self.environment = {
            **os.environ,
            "KIOPS_HOME": str(home()),
            "OPERATOR_PROXY_EDGE_PORT": str(first),
            "OPERATOR_PROXY_POOL_FIRST_PORT": str(first + 1),
            "OPERATOR_PROXY_POOL_PORTS": "2",
            "OPERATOR_PROXY_LOOK_SECONDS": "2",
            "DOCKER_HOST": f"unix://{self.engine.socket}",
        }
        self.repository.parent.mkdir(parents=True)
        self._git("init", "-q", "--bare", "-b", "main", str(self.repository), at=self.folder)
        self._git("clone", "-q", str(self.repository), str(self.tree), at=self.folder)

    def _git(self, *words: str, at: Path | None = None) -> str:
        identity = {
            f"GIT_{who}_{what}": value
            for who in ("AUTHOR", "COMMITTER")
            for what, value in (("NAME", "Ada"), ("EMAIL", "ada@example.org"))
        }
        done = subprocess.run(
            ["git", "-c", "commit.gpgsign=false", *words],
            cwd=at or self.tree,
            env={**os.environ, **identity},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()

    def commit(self, greeting: str, build_seconds: float, start_seconds: float) -> str:
        """A new commit on main: its image takes so long to build, its container so long until it answers."""
        (self.tree / "index.html").write_text(greeting)
        (self.tree / "Dockerfile").write_text(
            f"FROM {self.base}\nCOPY index.html /www/index.html\nRUN echo building {greeting} && sleep {build_seconds}\n"
            f'CMD ["sh", "-c", "sleep {start_seconds}; exec httpd -f -p 8080 -h /www"]\n'
        )
        self._git("checkout", "-q", "-B", "main")
        self._git("add", "-A")
        self._git("commit", "-q", "-m", greeting)
        self._git("push", "-q", "origin", "main")
        return self._git("rev-parse", "HEAD")

    def start(self) -> None:
        with open(self.folder / "kiops.log", "ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "kiops", "serve", "all", "--data", str(self.root), "--port", str(self.port)],
                cwd=REPOSITORY, env=self.environment, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    async def ready(self, seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            assert self.process and self.process.poll() is None, self.log()
            with contextlib.suppress(httpx.HTTPError, FileNotFoundError):
                async with self.api() as api:
                    answer = await api.get("/status")
                    if answer.status_code == 200 and answer.json()["ready"]:
                        return
            await asyncio.sleep(0.2)
        raise AssertionError(f"not ready after {seconds} s: {self.log()}")

    def log(self) -> str:
        return (self.folder / "kiops.log").read_text()[-4000:]

    def kill(self) -> None:
        assert self.process
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()

    async def stop(self) -> None:
        if self.process and self.process.poll() is None:
            self.process.terminate()
            await asyncio.to_thread(self.process.wait, 20)

    def api(self) -> httpx.AsyncClient:
        token = (self.root / "cli.token").read_text().strip()
        return httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{self.port}/api/v1", headers={"Authorization": f"Bearer {token}"}, timeout=20
        )

    async def register(self) -> None:
        async with self.api() as api:
            answer = await api.post(
                "/services",
                json={
                    "name": SERVICE,
                    "repository_url": str(self.repository),
                    "environment": {"name": "development", "container_port": 8080, "own_port": True, "observe_seconds": 2},
                    "rule": {"branches": ["main"], "environments": ["development"], "supersede": False},
                },
            )
            assert answer.status_code == 201, answer.text

    async def run(self, commit: str) -> dict[str, Any]:
        """Start a build of the commit by hand and return the run."""
        async with self.api() as api:
            answer = await api.post(
                f"/services/{SERVICE}/builds", json={"commit": commit}, headers={"Idempotency-Key": str(uuid.uuid4())}
            )
            assert answer.status_code in (200, 201, 202), answer.text
            return answer.json()

    async def newest(self) -> dict[str, Any]:
        async with self.api() as api:
            answer = await api.get("/runs", params={"service": SERVICE, "limit": 1})
            return answer.json()["items"][0]

    async def show(self, run: str) -> dict[str, Any]:
        async with self.api() as api:
            return (await api.get(f"/runs/{run}")).json()

    async def until(self, what: str, condition: Any, seconds: float = 120) -> Any:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            found = await condition()
            if found:
                return found
            await asyncio.sleep(0.05)
        raise AssertionError(f"{what} did not come to hold within {seconds} s: {self.log()}")

    # -- what is there, seen from outside ------------------------------------------------------------------------------
    def containers(self) -> list[dict[str, Any]]:
        """All containers that bear this platform's label, the edge among them."""
        label = json.dumps({"label": [f"kiops.platform={platform_id(self.root)}"]})
        _, body = self.engine.request("GET", f"/containers/json?all=1&filters={_quoted(label)}")
        return json.loads(body)

    def images(self) -> list[str]:
        """Ids of the images named after the service."""
        label = json.dumps({"reference": [SERVICE]})
        _, body = self.engine.request("GET", f"/images/json?filters={_quoted(label)}")
        return [row["Id"] for row in json.loads(body)]

    def routes(self) -> list[Path]:
        return sorted((self.root / "services" / "operator-proxy" / "edge").rglob("*.yml"))

    def work_folders(self) -> list[Path]:
        return [path for path in (self.root / "services").glob("*/work/*")]

    def children(self) -> list[int]:
        from shared.bus import SERVICES

        return [pid for name in SERVICES for pid in leftovers(str(self.root.resolve()), name)]


def _quoted(text: str) -> str:
    from urllib.parse import quote

    return quote(text)


def process_lines() -> list[str]:
    """The command lines of all processes of this machine."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{name}/cmdline", "rb") as file:
                found.append(file.read().replace(b"\0", b" ").decode("utf-8", "replace").strip())
    return found
