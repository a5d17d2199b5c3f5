"""The Docker engine: is one with BuildKit answering, and starting one that outlives us when none is."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from kiops.setup import commands, places
from kiops.setup.screen import NeedsHelp

SYSTEM_SOCKET = "/var/run/docker.sock"
PID_FILE = "/var/run/docker.pid"


@dataclass(frozen=True)
class Engine:
    """An engine that answered: its socket's path, version, and whether it can build with BuildKit."""

    socket: str
    version: str
    api: tuple[int, int]
    podman: bool

    @property
    def buildkit(self) -> bool:
        return self.api >= (1, 39) and not self.podman

    @property
    def limits_builds(self) -> bool:
        return int(self.version.split(".")[0]) >= 29

    def __str__(self) -> str:
        if not self.buildkit:
            return f"{self.version} without BuildKit"
        limits = "" if self.limits_builds else " (cannot limit memory of builds: needs 29)"
        return f"{self.version} with BuildKit{limits}"


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("engine", timeout=5)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def candidates() -> list[str]:
    """Sockets to try, the person's own choice first."""
    chosen = os.environ.get("DOCKER_HOST", "")
    if chosen.startswith("unix://"):
        return [chosen.removeprefix("unix://")]
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    return [SYSTEM_SOCKET, *([f"{runtime}/docker.sock"] if runtime else [])]


def probe(path: str) -> Engine | None:
    """Asks one socket for its version; None when nobody answers. PermissionError passes through."""
    connection = _Connection(path)
    try:
        connection.request("GET", "/version")
        answer = connection.getresponse()
        said = json.loads(answer.read())
    except PermissionError:
        raise
    except (OSError, ValueError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    major, minor = (int(part) for part in said.get("ApiVersion", "1.0").split(".")[:2])
    podman = any("podman" in part.get("Name", "").lower() for part in said.get("Components") or [])
    return Engine(path, said.get("Version", "0"), (major, minor), podman)


def find() -> Engine | None:
    """The first engine with BuildKit that answers, else the first that answers at all."""
    answering: Engine | None = None
    for path in candidates():
        try:
            engine = probe(path)
        except PermissionError:
            continue
        if engine and engine.buildkit:
            return engine
        answering = answering or engine
    return answering


def forbidden() -> bool:
    """Whether an engine is there that this person may not talk to."""
    if find() is not None or not _alive():
        return False
    return any(os.path.exists(path) and not os.access(path, os.W_OK) for path in candidates())


def _alive() -> bool:
    try:
        pid = int(Path(PID_FILE).read_text())
    except (OSError, ValueError):
        return False
    return os.path.exists(f"/proc/{pid}")


def start(*, seconds: float = 60) -> Engine:
    """Starts dockerd in a session of its own, so that it outlives us; returns when it answers."""
    program = commands.find("dockerd")
    if program is None:
        raise NeedsHelp("there is no Docker engine", advice="sudo apt-get install docker.io", code="setup.no_engine")
    log = places.logs() / "dockerd.log"
    group = str(os.getgid()) if os.geteuid() else "root"
    path = f"{os.environ.get('PATH', '')}:{commands.SYSTEM_PATH}"
    argv = [*commands.as_root(), "env", f"PATH={path}", program, "--mtu", str(way_out_mtu()), "--group", group]
    began_at = log.stat().st_size if log.exists() else 0
    if not _alive():
        # Forked away at once: it is nobody's child, so it outlives us and its memory is not counted as ours.
        with log.open("ab") as out:
            subprocess.run(["setsid", "--fork", *argv], stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd="/", check=True)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if engine := probe(SYSTEM_SOCKET):
                return engine
        except PermissionError:
            raise _forbidden() from None
        if b"failed to start" in _from(log, began_at):
            break
        time.sleep(0.1)
    tail = log.read_text(errors="replace").splitlines()[-5:] if log.exists() else []
    raise NeedsHelp(
        "the Docker engine does not start",
        advice="\n".join([*tail, f"all of it is in {places.short(log)}"]),
        code="setup.engine_failed",
    )


def _from(log: Path, offset: int) -> bytes:
    """What was written to the log since."""
    try:
        with log.open("rb") as file:
            file.seek(offset)
            return file.read()
    except OSError:
        return b""


def _forbidden() -> NeedsHelp:
    return NeedsHelp(
        "the Docker engine runs, but you may not use it",
        advice="`sudo usermod -aG docker $USER`, then sign in again (or run `sg docker -c './kiops up'`)",
        code="setup.engine_forbidden",
    )


def ensure(*, may_start: bool) -> Engine:
    """An engine that answers, started when it may be; NeedsHelp with what to do otherwise."""
    if forbidden():
        raise _forbidden()
    engine = find()
    if engine is not None and engine.buildkit:
        return engine
    if not may_start:
        raise NeedsHelp(
            "no Docker engine with BuildKit answers",
            advice="start one (`systemctl start docker`, or as root `dockerd &`), then again",
            code="setup.no_engine",
        )
    return start()


def stop(*, seconds: float = 30) -> None:
    """Ends the engine that `start` began, and waits until it is gone."""
    try:
        pid = int(Path(PID_FILE).read_text())
    except (OSError, ValueError):
        return
    if os.geteuid() == 0:
        os.kill(pid, signal.SIGTERM)
    else:
        subprocess.run([*commands.as_root(), "kill", "-TERM", str(pid)], check=False)
    deadline = time.monotonic() + seconds
    while os.path.exists(f"/proc/{pid}") and time.monotonic() < deadline:
        time.sleep(0.1)


def way_out_mtu() -> int:
    """The MTU of the interface with the default route: what a bridge inside must not exceed. 1500 if unknown."""
    try:
        for line in Path("/proc/net/route").read_text().splitlines()[1:]:
            name, destination = line.split()[:2]
            if destination == "00000000":
                return min(1500, int(Path(f"/sys/class/net/{name}/mtu").read_text()))
    except (OSError, ValueError):
        pass
    return 1500


def ask(path: str):
    """GET of the engine that answers, decoded; None when there is none or it says no."""
    found = find()
    if found is None:
        return None
    connection = _Connection(found.socket)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
        return json.loads(body) if answer.status == 200 else None
    except (OSError, ValueError, http.client.HTTPException):
        return None
    finally:
        connection.close()
