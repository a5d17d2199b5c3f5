"""Real parts for tests: a fixture per program, shared by the session, named with its version at the end of the run.

A part that is missing fails the test in CI, where everything has to take part. On a person's machine the test is
skipped, and the list at the end says which part was missing and why.
"""

from __future__ import annotations

import http.client
import io
import json
import os
import re
import shutil
import socket
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import pytest

from shared.testing.postgres import Postgres, PostgresMissing

pytest_plugins = ["shared.testing.choosing"]
REPORT = "KIOPS_TEST_PARTS"
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def in_ci() -> bool:
    """Whether a missing part is a failure."""
    return os.environ.get("CI", "").lower() not in ("", "0", "false", "no")


def cache() -> Path:
    """Folder for parts that take long to make: $KIOPS_TEST_CACHE, else below the user's cache."""
    if own := os.environ.get("KIOPS_TEST_CACHE"):
        folder = Path(own)
    else:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kiops-tests"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def find(program: str) -> str | None:
    """A program's path: the scan engines of KIOPS_HOME first, then PATH, then the system's folders."""
    home = os.environ.get("KIOPS_HOME") or str(Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "kiops")
    return shutil.which(program, path=f"{home}/tools/bin:{os.environ.get('PATH', '')}:{SYSTEM_PATH}")


@dataclass
class Parts:
    """Which real parts took part, with versions, and which did not, with the reason."""

    present: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    def took_part(self, name: str, version: str) -> None:
        """Remembers a part for the list at the end of the run."""
        known = {each.casefold(): each for each in self.present}
        self.present[known.get(name.casefold(), name)] = version
        self.missing.pop(name, None)

    def absent(self, name: str, why: str) -> NoReturn:
        """A part that is not there: a failure in CI, a skip with its reason elsewhere."""
        self.missing[name] = why
        if in_ci():
            pytest.fail(f"the part {name} is missing: {why}", pytrace=False)
        pytest.skip(f"the part {name} is missing: {why}")

    def program(self, name: str, *ask: str, part: str | None = None) -> Path:
        """The path of a program that says its version when asked so; absent when it does not."""
        path = find(name)
        if path is None:
            self.absent(part or name, f"no program {name}; `./kiops test` installs it")
        done = subprocess.run([path, *(ask or ("--version",))], capture_output=True, text=True, timeout=60, check=False)
        found = re.search(r"\d+(\.\d+)+", done.stdout + done.stderr)
        if done.returncode or not found:
            self.absent(part or name, f"{path} does not run: {(done.stderr or done.stdout).strip()[-300:]}")
        self.took_part(part or name, found.group())
        return Path(path)

    def lines(self) -> list[str]:
        """The list a person reads."""
        told = ["real parts that took part:"]
        told += [f"  {name} {version}" for name, version in sorted(self.present.items())] or ["  none"]
        if self.missing:
            told.append("real parts that did not:")
            told += [f"  {name}: {why}" for name, why in sorted(self.missing.items())]
        return told


PARTS = Parts()


@pytest.fixture(scope="session")
def parts() -> Parts:
    """The registry of real parts."""
    return PARTS


# -- the Docker engine -------------------------------------------------------------------------------------------------


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("engine", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


@dataclass(frozen=True)
class DockerEngine:
    """An engine that answers: its socket's path and its version."""

    socket: str
    version: str

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"

    def request(
        self, method: str, path: str, body: bytes | dict | None = None, *, timeout_seconds: float = 60
    ) -> tuple[int, bytes]:
        """One call of the engine's API; (status, body). A dict is sent as JSON, bytes as a tar archive."""
        connection = _UnixConnection(self.socket, timeout_seconds)
        headers = {}
        if isinstance(body, dict):
            body, headers = json.dumps(body).encode(), {"Content-Type": "application/json"}
        elif body is not None:
            headers = {"Content-Type": "application/x-tar"}
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def import_image(self, tag: str, files: dict[str, bytes | Path], *, changes: tuple[str, ...] = ()) -> str:
        """Makes an image with just these files (all executable) under `tag`; returns its id (sha256:...)."""
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            for name, content in files.items():
                data = content.read_bytes() if isinstance(content, Path) else content
                entry = tarfile.TarInfo(name.lstrip("/"))
                entry.size, entry.mode = len(data), 0o755
                archive.addfile(entry, io.BytesIO(data))
        repository, _, version = tag.rpartition(":")
        query = f"fromSrc=-&repo={repository}&tag={version}" + "".join(f"&changes={_quoted(c)}" for c in changes)
        status, said = self.request("POST", f"/images/create?{query}", packed.getvalue())
        if status != 200 or b"errorDetail" in said:
            raise RuntimeError(f"the engine did not import {tag}: {status} {said[-300:]!r}")
        _, inspected = self.request("GET", f"/images/{tag}/json")
        return json.loads(inspected)["Id"]

    def remove_image(self, tag: str) -> None:
        """Removes the image; it may be gone already."""
        self.request("DELETE", f"/images/{tag}?force=true")


def _quoted(text: str) -> str:
    from urllib.parse import quote

    return quote(text, safe="")


@pytest.fixture(scope="session")
def docker_engine(parts: Parts) -> DockerEngine:
    """A real Docker engine with BuildKit."""
    host = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    engine = DockerEngine(host.removeprefix("unix://"), "")
    try:
        _, body = engine.request("GET", "/version", timeout_seconds=5)
        said = json.loads(body)
    except (OSError, ValueError, http.client.HTTPException) as problem:
        parts.absent("Docker engine", f"{host} does not answer: {problem}")
    if tuple(int(part) for part in said["ApiVersion"].split(".")) < (1, 39):
        parts.absent("Docker engine", f"{said['Version']} has no BuildKit")
    parts.took_part("Docker engine", said["Version"])
    return DockerEngine(engine.socket, said["Version"])


@pytest.fixture(scope="session")
def busybox(parts: Parts) -> Path:
    """A statically linked busybox, which alone makes an image that runs."""
    path = parts.program("busybox", "--help")
    with path.open("rb") as file:
        if b"/lib64/ld-linux" in file.read(4096):
            parts.absent("busybox", f"{path} is not statically linked; install busybox-static")
    return path


@pytest.fixture(scope="session")
def busybox_image(docker_engine: DockerEngine, busybox: Path) -> Iterator[str]:
    """The tag of an image with busybox and sh in /bin, made here: nothing has to be pulled."""
    tag = f"kiops-test/busybox:{os.getpid()}"
    applets = ("sh", "cat", "echo", "sleep", "httpd", "mkdir", "ls", "cp", "env", "kill", "true", "false", "nc", "wget")
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        program = tarfile.TarInfo("bin/busybox")
        program.size, program.mode = busybox.stat().st_size, 0o755
        with busybox.open("rb") as file:
            archive.addfile(program, file)
        for applet in applets:
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname, link.mode = tarfile.SYMTYPE, "busybox", 0o777
            archive.addfile(link)
        for folder in ("tmp", "etc", "www"):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777
            archive.addfile(entry)
    repository, _, version = tag.rpartition(":")
    query = f"fromSrc=-&repo={repository}&tag={version}&changes={_quoted('ENV PATH=/bin')}"
    status, said = docker_engine.request("POST", f"/images/create?{query}", packed.getvalue())
    assert status == 200 and b"errorDetail" not in said, said
    yield tag
    docker_engine.remove_image(tag)


# -- programs ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Chromium:
    """A browser for Playwright's `launch(executable_path=..., args=...)`."""

    path: str
    arguments: tuple[str, ...] = (
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--no-first-run",
    )


@pytest.fixture(scope="session")
def chromium(parts: Parts) -> Chromium:
    """The distribution's Chromium; Playwright's own browsers are not downloaded."""
    return Chromium(str(parts.program("chromium", "--version", "--no-sandbox", part="Chromium")))


@pytest.fixture(scope="session")
def gitleaks(parts: Parts) -> Path:
    """The secrets engine."""
    return parts.program("gitleaks", "version", part="Gitleaks")


@pytest.fixture(scope="session")
def semgrep(parts: Parts) -> Path:
    """The source engine."""
    return parts.program("semgrep", "--version", "--disable-version-check", part="Semgrep")


@pytest.fixture(scope="session")
def trivy(parts: Parts) -> Path:
    """The image engine."""
    return parts.program("trivy", "--version", part="Trivy")


@pytest.fixture(scope="session")
def traefik(parts: Parts) -> Path:
    """The edge's program."""
    return parts.program("traefik", "version", part="Traefik")


@pytest.fixture(scope="session")
def strace(parts: Parts) -> Path:
    """Shows the system calls of a process: the only way to see an fsync from outside."""
    return parts.program("strace", "-V")


@pytest.fixture(scope="session")
def git(parts: Parts) -> Path:
    """Git itself."""
    return parts.program("git")


# -- PostgreSQL --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def postgres(parts: Parts) -> Iterator[Postgres]:
    """A running PostgreSQL of the tests' own."""
    try:
        cluster = Postgres.create()
    except PostgresMissing as problem:
        parts.absent("PostgreSQL", str(problem))
    try:
        parts.took_part("PostgreSQL", cluster.version())
        yield cluster
    finally:
        cluster.remove()
