"""compose.yaml as people run it: its images, `docker compose`, what is asked through its edge, and everything removed after."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import io
import json
import os
import re
import subprocess
import tarfile
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
from shared.testing.nats import free_port
from shared.testing.parts import DockerEngine

from tests.compose import images
from tests.processes.one import free_ports

REPOSITORY = images.REPOSITORY
DATA = "/var/lib/kiops"
SERVICE = "compose-shop"


@dataclass
class Town:
    """One project of `docker compose` with ports, images and volumes of its own."""

    folder: Path
    engine: DockerEngine
    program: Path
    busybox: Path
    traefik: Path
    base: str
    project: str = f"kiopstest{os.getpid()}"
    port: int = field(default_factory=free_port)
    made: list[str] = field(default_factory=list)
    token: str = ""
    platform: str = ""

    def __post_init__(self) -> None:
        first = free_ports(3)
        self.python = f"kiops-test/python:{os.getpid()}"
        self.version = f"test-{os.getpid()}"
        self.environment = {
            **os.environ,
            "COMPOSE_PROJECT_NAME": self.project,
            "COMPOSE_ANSI": "never",
            "DOCKER_HOST": self.engine.url,
            "DOCKER_BUILDKIT": "1",
            "KIOPS_ENGINE_SOCKET": self.engine.socket,
            "KIOPS_PYTHON_IMAGE": self.python,
            "KIOPS_VERSION": self.version,
            "KIOPS_PORT": str(self.port),
            "KIOPS_SCAN_ENGINES": "",  # they have tests of their own, and half a gigabyte
            "OPERATOR_PROXY_EDGE_PORT": str(first),
            "OPERATOR_PROXY_POOL_FIRST_PORT": str(first + 1),
            "OPERATOR_PROXY_POOL_PORTS": "2",
        }

    # -- docker compose ------------------------------------------------------------------------------------------------
    def compose(self, *words: str, seconds: float = 600) -> str:
        argv = [str(self.program), "-f", str(REPOSITORY / "compose.yaml"), *words]
        done = subprocess.run(
            argv, cwd=REPOSITORY, env=self.environment, capture_output=True, text=True, timeout=seconds, check=False
        )
        assert done.returncode == 0, f"{' '.join(words)}: {done.stdout[-2000:]} {done.stderr[-4000:]} {self.logs()}"
        return done.stdout

    def logs(self, *services: str) -> str:
        argv = [str(self.program), "-f", str(REPOSITORY / "compose.yaml"), "logs", "--tail", "15", "--no-color", *services]
        done = subprocess.run(argv, cwd=REPOSITORY, env=self.environment, capture_output=True, text=True, timeout=60, check=False)
        return done.stdout[-6000:]

    def make_images(self) -> None:
        """What no registry gives here, under the names of the file; a real one that is there already is used."""
        named = re.findall(r"^    image: (?!kiops/)(\S+)$", (REPOSITORY / "compose.yaml").read_text(), re.MULTILINE)
        assert len(named) == 3, named
        for name in named:
            if images.there(self.engine, name) and not images.ours(self.engine, name):
                continue
            self.engine.remove_image(name)  # of a run that was killed
            self.made.append(name)
            if name.startswith("nats:"):
                images.nats(self.engine, name, self.busybox)
            elif name.startswith("postgres:"):
                images.postgres(self.engine, name, self.busybox)
            else:
                images.traefik(self.engine, name, self.busybox, self.traefik)
        self.made.append(self.python)
        images.python_base(self.engine, self.python, self.busybox)

    def remove(self) -> None:
        """Everything that was made: containers, volumes, networks and images of this project, and what it deployed."""
        argv = [str(self.program), "-f", str(REPOSITORY / "compose.yaml"), "--profile", "command-line"]
        argv += ["down", "--volumes", "--remove-orphans", "--timeout", "3"]
        subprocess.run(argv, cwd=REPOSITORY, env=self.environment, capture_output=True, timeout=180, check=False)
        if self.platform:
            label = quote(json.dumps({"label": [f"kiops.platform={self.platform}"]}))
            for row in self._json(f"/containers/json?all=1&filters={label}"):
                self.engine.request("DELETE", f"/containers/{row['Id']}?force=true&v=true")
            for row in self._json(f"/networks?filters={label}"):
                self.engine.request("DELETE", f"/networks/{row['Id']}")
            for row in self._json(f"/images/json?filters={label}"):
                self.engine.remove_image(row["Id"])
        # The volume of the routes was held by the edge until now.
        self.engine.request("DELETE", f"/volumes/{self.project}_routes?force=true")
        for row in self._json("/images/json"):
            for tag in row.get("RepoTags") or ():
                if tag.startswith("kiops/") and tag.endswith(f":{self.version}"):
                    self.engine.remove_image(tag)
        for name in self.made:
            self.engine.remove_image(name)

    def left(self) -> list[str]:
        """What of this project is still in the engine."""
        found = [name for row in self._json("/containers/json?all=1") for name in row["Names"]]
        found += [row["Name"] for row in self._json("/volumes")["Volumes"] or ()]
        found += [row["Name"] for row in self._json("/networks")]
        found += [tag for row in self._json("/images/json") for tag in row.get("RepoTags") or () if tag.endswith(self.version)]
        return [name for name in found if self.project in name or self.version in name or (self.platform and self.platform in name)]

    def _json(self, path: str) -> Any:
        status, body = self.engine.request("GET", path)
        assert status == 200, body
        return json.loads(body)

    # -- inside -----------------------------------------------------------------------------------------------------------
    def container(self, service: str) -> dict[str, Any]:
        found = json.loads(self.engine.request("GET", f"/containers/{self.project}-{service}-1/json")[1])
        assert "Id" in found, found
        return found

    def read(self, service: str, path: str) -> bytes:
        """A file of a container."""
        status, body = self.engine.request("GET", f"/containers/{self.project}-{service}-1/archive?path={path}")
        assert status == 200, (path, body[:200])
        with tarfile.open(fileobj=io.BytesIO(body)) as archive:
            file = archive.extractfile(archive.getmembers()[0])
            assert file
            return file.read()

    def bring(self, folder: Path, to: str) -> None:
        """A folder of this machine into the data volume, owned by root and readable by all."""

        def owned(entry: tarfile.TarInfo) -> tarfile.TarInfo:
            entry.uid = entry.gid = 0
            entry.mode = 0o755
            return entry

        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            archive.add(folder, arcname=to, filter=owned)
        status, body = self.engine.request("PUT", f"/containers/{self.project}-builder-1/archive?path={DATA}", packed.getvalue())
        assert status == 200, body

    # -- outside ----------------------------------------------------------------------------------------------------------
    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def api(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            base_url=f"{self.url}/api/v1", headers={"Authorization": f"Bearer {self.token}"}, timeout=30, trust_env=False
        )

    async def until(self, what: str, condition: Callable[[], Awaitable[Any]], seconds: float = 180) -> Any:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with contextlib.suppress(httpx.HTTPError):
                if found := await condition():
                    return found
            await asyncio.sleep(0.2)
        raise AssertionError(f"{what} did not come to hold within {seconds} s: {self.logs()}")

    async def ready(self) -> None:
        async def all_ready() -> bool:
            async with httpx.AsyncClient(timeout=10, trust_env=False) as http:
                answers = [await http.get(f"{self.url}/-/{name}/readyz") for name in images_of_services()]
            return all(answer.status_code == 200 for answer in answers)

        await self.until("every service is ready behind the edge", all_ready)
        self.token = self.read("gateway", f"{DATA}/cli.token").decode().strip()
        self.platform = self.read("gateway", f"{DATA}/platform.id").decode().strip()

    def source(self) -> str:
        """A repository with an application that a busybox serves; its commit."""
        tree, bare = self.folder / "tree", self.folder / "shop.git"
        tree.mkdir(parents=True)
        (tree / "index.html").write_text("hello from the containers")
        (tree / "Dockerfile").write_text(
            f'FROM {self.base}\nCOPY index.html /www/index.html\nCMD ["httpd", "-f", "-p", "8080", "-h", "/www"]\n'
        )
        identity = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "commit.gpgsign=false")
        for words in (("init", "-q", "-b", "main"), ("add", "-A"), ("commit", "-q", "-m", "first")):
            subprocess.run(["git", *identity, *words], cwd=tree, check=True)
        subprocess.run(["git", "clone", "-q", "--bare", str(tree), str(bare)], check=True)
        self.bring(bare, "demo/shop.git")
        done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=tree, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    async def register(self) -> tuple[str, str]:
        """The service, with an environment. Returns (path, secret) of its endpoint."""
        async with self.api() as api:
            body = {
                "name": SERVICE,
                "repository_url": f"{DATA}/demo/shop.git",
                "environment": {"name": "development", "container_port": 8080, "observe_seconds": 1},
                "rule": {"branches": ["main"], "environments": ["development"], "supersede": False},
            }
            answer = await api.post("/services", json=body)
            assert answer.status_code == 201, answer.text

            async def known() -> Any:
                rows = (await api.get(f"/services/{SERVICE}/endpoints")).json()["items"]
                places = (await api.get(f"/services/{SERVICE}/environments")).json()["items"]
                rule = (await api.get(f"/services/{SERVICE}")).json()["rule"]
                return rows and places and rule and rule["environments"] and rows

            rows = await self.until("the service has its endpoint", known, 60)
            shown = await api.post(f"/endpoints/{rows[0]['id']}/secret")
            assert shown.status_code == 200, shown.text
            return rows[0]["path"], shown.json()["secret"]

    async def push(self, path: str, secret: str, commit: str) -> int:
        """A signed push through the edge; the run's number."""
        said = {"id": commit, "message": "first", "author": {"name": "Ada"}, "added": ["a"], "modified": [], "removed": []}
        push = {
            "ref": "refs/heads/main",
            "after": commit,
            "before": "0" * 40,
            "forced": False,
            "pusher": {"name": "Ada"},
            "commits": [said],
        }
        body = json.dumps(push).encode()
        headers = {
            "Content-Type": "application/json",
            "X-Kiops-Event": "push",
            "X-Kiops-Delivery": str(uuid.uuid4()),
            "X-Kiops-Signature": "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest(),
        }
        async with httpx.AsyncClient(timeout=30, trust_env=False) as http:
            answer = await http.post(self.url + path, content=body, headers=headers)
            assert answer.status_code == 202, answer.text
            wrong = await http.post(self.url + path, content=body, headers=headers | {"X-Kiops-Signature": "sha256=" + "0" * 64})
            assert wrong.status_code in (401, 403), wrong.text
        return answer.json()["run"]["number"]

    async def run(self, number: int) -> dict[str, Any]:
        async with self.api() as api:
            rows = (await api.get("/runs", params={"service": SERVICE, "limit": 5})).json()["items"]
        return next((row for row in rows if row["number"] == number), {})

    async def greeting(self) -> str:
        """What people get from the deployed service, through its edge."""
        host = f"{SERVICE}-development.localhost"
        async with httpx.AsyncClient(timeout=10, trust_env=False) as http:
            port = self.environment["OPERATOR_PROXY_EDGE_PORT"]
            return (await http.get(f"http://127.0.0.1:{port}/", headers={"Host": f"{host}:{port}"})).text


def images_of_services() -> tuple[str, ...]:
    from kiops import catalogue

    return catalogue.NAMES
