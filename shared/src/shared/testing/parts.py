"""Real parts for tests: a fixture per program, shared by the session, named with its version at the end of the run.

A part that is missing fails the test in CI, where everything has to take part. On a person's machine the test is
skipped, and the list at the end says which part was missing and why.
"""

from __future__ import annotations

import glob
import http.client
import io
import json
import os
import re
import shutil
import socket
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import pytest

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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Heavy tests come late: their parts are built while the others run.

    Browser tests come last: Playwright's session keeps an event loop running in this thread, in which no other test
    could run one of its own.
    """

    def place(item: pytest.Item) -> int:
        if "chromium" in getattr(item, "fixturenames", ()):
            return 2
        return 1 if item.get_closest_marker("heavy") else 0

    items.sort(key=place)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Leaves the list for `./kiops test`, which prints it after pytest's own last line."""
    if path := os.environ.get(REPORT):
        Path(path).write_text(json.dumps({"present": PARTS.present, "missing": PARTS.missing}))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Prints the list itself where pytest was started by hand."""
    if not os.environ.get(REPORT) and (PARTS.present or PARTS.missing):
        for line in PARTS.lines():
            terminalreporter.write_line(line)


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


@dataclass(frozen=True)
class Postgres:
    """A running server on loopback. `url` has {database} where a database's name stands."""

    url: str
    port: int
    folder: Path
    run: tuple[str, ...]
    programs: Path

    def make(self, database: str) -> str:
        """Makes an empty database and returns its address."""
        self.execute(f'CREATE DATABASE "{database}"')
        return self.url.format(database=database)

    def drop(self, database: str) -> None:
        """Removes a database, whoever is connected."""
        self.execute(f'DROP DATABASE IF EXISTS "{database}" WITH (FORCE)')

    def execute(self, statement: str) -> None:
        argv = ["-X", "-q", "-v", "ON_ERROR_STOP=1", "-h", str(self.folder), "-p", str(self.port), "-U", "kiops"]
        done = subprocess.run(
            [*self.run, str(self.programs / "psql"), *argv, "-d", "postgres", "-c", statement],
            capture_output=True, text=True, check=False, cwd="/",
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"{statement}: {done.stderr.strip()}")


@pytest.fixture(scope="session")
def postgres(parts: Parts) -> Iterator[Postgres]:
    """Debian's PostgreSQL: a cluster of its own in a temporary folder, on a free port, as a user that is not root."""
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin"), key=lambda p: int(p.split("/")[-2]))
    if not found:
        parts.absent("PostgreSQL", "not installed; `./kiops test` installs it")
    programs = Path(found[-1])
    folder = Path(tempfile.mkdtemp(prefix="kiops-postgres-", dir="/tmp"))
    run: tuple[str, ...] = ()
    if os.geteuid() == 0:
        import pwd

        user = next(u for u in ("postgres", "nobody") if any(entry.pw_name == u for entry in pwd.getpwall()))
        entry = pwd.getpwnam(user)
        os.chown(folder, entry.pw_uid, entry.pw_gid)
        run = ("setpriv", f"--reuid={entry.pw_uid}", f"--regid={entry.pw_gid}", "--clear-groups", "--")
        if not os.stat("/dev/null").st_mode & 0o002:  # seen on some machines: initdb's own shell needs it
            run = ("unshare", "--mount", "sh", "-c", 'mknod -m 666 "$0"/null c 1 3 2>/dev/null; '
                   'mount --bind "$0"/null /dev/null; exec "$@"', str(folder), *run)  # fmt: skip
    port = _free_port()
    try:
        data = folder / "data"
        made = subprocess.run(
            [*run, str(programs / "initdb"), "-D", str(data), "-U", "kiops", "-A", "trust", "-E", "UTF8", "--no-sync",
             "--locale=C.UTF-8"],
            capture_output=True, text=True, check=False, cwd="/",
        )  # fmt: skip
        if made.returncode:
            parts.absent("PostgreSQL", f"initdb failed: {made.stderr.strip()[-400:]}")
        log = (folder / "log").open("wb")
        server = subprocess.Popen(
            [*run, str(programs / "postgres"), "-D", str(data), "-p", str(port), "-k", str(folder),
             "-c", "listen_addresses=127.0.0.1", "-c", "max_connections=200"],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", start_new_session=True,
        )  # fmt: skip
        try:
            ask = [
                *run,
                str(programs / "psql"),
                "-X",
                "-q",
                "-h",
                str(folder),
                "-p",
                str(port),
                "-U",
                "kiops",
                "-d",
                "postgres",
                "-c",
                "",
            ]
            _until_answering(ask, server, folder / "log", parts)
            version = subprocess.run([programs / "postgres", "--version"], capture_output=True, text=True, check=True)
            parts.took_part("PostgreSQL", version.stdout.split()[2])
            url = f"postgresql+asyncpg://kiops@127.0.0.1:{port}/{{database}}"
            yield Postgres(url, port, folder, run, programs)
        finally:
            server.terminate()  # SIGTERM waits for clients to leave; the second signal does not
            try:
                server.wait(3)
            except subprocess.TimeoutExpired:
                server.send_signal(2)
                server.wait(20)
            log.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _until_answering(ask: Sequence[str], server: subprocess.Popen[bytes], log: Path, parts: Parts) -> None:
    """A server that listens may still be starting up and refuse: it is there when it answers a question."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and server.poll() is None:
        if subprocess.run(ask, capture_output=True, check=False, cwd="/").returncode == 0:
            return
        time.sleep(0.1)
    parts.absent("PostgreSQL", f"the server does not start: {log.read_text(errors='replace')[-400:]}")
