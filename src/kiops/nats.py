"""The nats-server beside us: a child on a random loopback port that lives as long as somebody of us needs it.

Whoever holds the lock in data/bus runs the child; other processes on the same data folder (`kiops serve builder`)
use it, and one of them takes over, on the same port, when the holder is gone. The child dies with its holder.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import shutil
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO

from shared.errors import Broken, Unavailable
from shared.permissions import make_keys, server_config

from shared import logging, seeds, tasks

START_SECONDS = 15
LOOK_SECONDS = 1.0
"""How often the child's log is looked through for a write that failed."""
WRITE_FAILED = b"ritical write error"
"""nats-server's words, in its log alone, when it could not write a stream's file. From then on that stream stores nothing, room or
not, until nats-server is started again."""
ROOM_BYTES = 1 << 20
TAKE_OVER_SECONDS = 0.5


def program() -> str:
    """nats-server of our environment, or one's own in KIOPS_NATS_SERVER."""
    own = os.environ.get("KIOPS_NATS_SERVER")
    found = own or shutil.which("nats-server", path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}")
    if not found or not os.access(found, os.X_OK):
        raise Broken("start.no_nats", f"there is no nats-server at {own or sys.prefix}", "Run ./kiops up, which installs it.")
    return found


class Server:
    """One data folder's nats-server. `url` is where it listens; `pid` is the child's when we are its holder."""

    def __init__(self, root: Path, *, sync_interval: str = "always") -> None:
        self.folder = root / "bus"
        self.port = 0
        self.pid = 0
        self.version = ""
        self._sync_interval = sync_interval
        self._child: asyncio.subprocess.Process | None = None
        self._lock: IO[str] | None = None
        self._ending = False
        self._log = logging.get("nats-server")

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    @property
    def keys(self) -> Path:
        return self.folder / "keys"

    async def open(self) -> None:
        """Starts the child, or finds the one that another process holds. Raises Unavailable, Broken."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        deadline = time.monotonic() + START_SECONDS
        while not self._take():
            if (port := self._remembered()) and (version := await _greets(port)):
                self.port, self.version = port, version
                return
            if time.monotonic() > deadline:
                raise Unavailable("bus.away", "another process holds the bus, but its nats-server does not answer")
            await asyncio.sleep(0.05)
        await self._start()

    async def watch(self) -> None:
        """Starts a died child again, sooner first, later every 5 s; takes over when another holder is gone."""
        pause = 0.05
        while not self._ending:
            if self._child is not None:
                began = time.monotonic()
                mending = asyncio.create_task(self._mend_store(self._child))
                try:
                    code = await self._child.wait()
                finally:
                    mending.cancel()
                if self._ending:
                    return
                self.pid = 0
                self._log.error("nats-server ended and is started again", exit_code=code)
                pause = 0.05 if time.monotonic() - began > 30 else min(pause * 2, 5)
            elif not self._take():
                await asyncio.sleep(TAKE_OVER_SECONDS)
                continue
            try:
                await self._start()
            except (Unavailable, OSError) as problem:
                self._log.error("nats-server does not start", error=str(problem))
                self._child, pause = None, min(pause * 2, 5)
            await asyncio.sleep(pause)

    async def _mend_store(self, child: asyncio.subprocess.Process) -> None:
        """Ends a child that cannot store any more, once there is room again; it is started anew then."""
        failed, log = False, self.folder / "nats.log"
        read = log.stat().st_size if log.exists() else 0
        while not self._ending:
            await asyncio.sleep(LOOK_SECONDS)
            said, read = _read_on(log, read)
            if WRITE_FAILED in said and not failed:
                failed = True
                self._log.error("nats-server could not write; it is started again when its disk has room")
            if failed and _has_room(self.folder / "store"):
                child.terminate()
                return

    async def close(self) -> None:
        """Ends the child, if we hold it: it writes what it has and leaves."""
        self._ending = True
        if self._child is not None and self._child.returncode is None:
            self._child.terminate()
            try:
                async with asyncio.timeout(5):
                    await self._child.wait()
            except TimeoutError:
                self._child.kill()
                await self._child.wait()
        if self._lock is not None:
            self._lock.close()

    def _take(self) -> bool:
        if self._lock is None:
            file = (self.folder / "lock").open("a+")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.close()
                return False
            self._lock = file
        return True

    def _remembered(self) -> int:
        try:
            return int(json.loads((self.folder / "server.json").read_text())["port"])
        except (OSError, ValueError, KeyError):
            return 0

    async def _start(self) -> None:
        self.port = self._choose_port(self.port or self._remembered())
        config = self.folder / "nats.conf"
        with seeds.held(self.keys):
            text = server_config(make_keys(self.keys), self.folder / "store", self.port, sync_interval=self._sync_interval)
            text += f'log_file: "{self.folder / "nats.log"}"\nlogfile_size_limit: 10MB\nlogfile_max_num: 3\n'
            _write(config, text)
        setpriv = ["/usr/bin/setpriv", "--pdeathsig", "KILL", "--"] if os.path.exists("/usr/bin/setpriv") else []
        child = await asyncio.create_subprocess_exec(
            *setpriv, program(), "--config", str(config),
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True, env={"GOMEMLIMIT": "64MiB", "PATH": os.environ.get("PATH", "")},
        )  # fmt: skip
        deadline = time.monotonic() + START_SECONDS
        while not (version := await _greets(self.port)):
            if child.returncode is not None or time.monotonic() > deadline:
                with contextlib.suppress(ProcessLookupError):
                    child.kill()
                raise Unavailable("bus.away", f"nats-server does not start; {self.folder / 'nats.log'} says why")
            await asyncio.sleep(0.01)
        self._child, self.pid, self.version = child, child.pid, version
        _write(self.folder / "server.json", json.dumps({"port": self.port, "pid": child.pid, "holder": os.getpid()}))

    @staticmethod
    def _choose_port(wanted: int) -> int:
        """The port of last time when it is free, so that who is connected finds it again; else a random one."""
        for port in (wanted, 0):
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("127.0.0.1", port))
                except OSError:
                    continue
                return probe.getsockname()[1]
        raise Unavailable("bus.no_port", "there is no free port on 127.0.0.1")


def _read_on(log: Path, read: int) -> tuple[bytes, int]:
    """(what was written since, how far it is read now). A line may have been read in half: its beginning comes again."""
    try:
        with open(log, "rb") as file:
            if os.fstat(file.fileno()).st_size < read:
                read = 0  # another file since
            file.seek(max(0, read - len(WRITE_FAILED)))
            return file.read(), file.tell()
    except OSError:
        return b"", read


def _has_room(folder: Path) -> bool:
    """Whether a megabyte can be written there."""
    probe = folder / "room"
    try:
        with open(probe, "wb") as file:
            file.write(bytes(ROOM_BYTES))
        return True
    except OSError:
        return False
    finally:
        probe.unlink(missing_ok=True)


@asynccontextmanager
async def server(root: Path) -> AsyncIterator[Server]:
    """A nats-server for this data folder as long as the block runs."""
    ours = Server(root)
    await ours.open()
    watching = asyncio.create_task(ours.watch(), name="nats-server")
    try:
        yield ours
    finally:
        for error in await tasks.end(watching):
            ours._log.error("nats-server was no longer watched", error=f"{type(error).__name__}: {error}")
        await ours.close()


def _write(path: Path, text: str) -> None:
    """Whole or not at all, readable by us alone."""
    draft = path.with_suffix(".new")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    os.replace(draft, path)


async def _greets(port: int) -> str:
    """The version of the nats-server that greets on this port; empty when none does."""
    try:
        async with asyncio.timeout(1):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                word, _, told = (await reader.readline()).partition(b" ")
                return str(json.loads(told)["version"]) if word == b"INFO" else ""
            finally:
                writer.close()
    except (OSError, TimeoutError, ValueError, KeyError):
        return ""
