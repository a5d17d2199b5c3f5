"""Debian's PostgreSQL: a cluster of its own in a temporary folder, on a free port, as a user that is not root."""

from __future__ import annotations

import asyncio
import contextlib
import glob
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shared.memory import family


class PostgresMissing(Exception):
    """There is none on this machine, or it does not start; the text says why."""


def programs() -> Path:
    """The folder of the newest PostgreSQL's programs. Raises PostgresMissing."""
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin"), key=lambda path: int(path.split("/")[-2]))
    if not found:
        raise PostgresMissing("not installed; `./kiops test` installs it")
    return Path(found[-1])


@dataclass
class Postgres:
    """A running server on loopback. `url` has {database} where a database's name stands."""

    programs: Path
    folder: Path
    port: int
    run: tuple[str, ...] = ()
    server: subprocess.Popen[bytes] | None = None
    # Without fsync a commit still outlives the kill of any process, only not that of the machine, which no test kills. Whole pages
    # have to be in the log, though: a kill in the middle of a write leaves one half of a page (8 KiB, written in pages of 4 KiB).
    options: tuple[str, ...] = ("listen_addresses=127.0.0.1", "max_connections=200", "fsync=off")
    autovacuum: bool = False
    templates: dict[str, str] = field(default_factory=dict)
    _asking: _Asking | None = None

    @classmethod
    def create(cls, *, autovacuum: bool = False) -> Postgres:
        """Makes the cluster and starts it. Raises PostgresMissing. `remove()` takes all of it away.

        `autovacuum`: for work that lasts longer than a test, and would leave tables full of dead rows.
        """
        found = programs()
        _sweep()
        folder = Path(tempfile.mkdtemp(prefix="kiops-postgres-", dir="/tmp"))
        (folder / "owner").write_text(str(os.getpid()))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        cluster = cls(found, folder, port, _as_another(folder), autovacuum=autovacuum)
        try:
            made = subprocess.run(
                [*cluster.run, str(found / "initdb"), "-D", str(folder / "data"), "-U", "kiops", "-A", "trust", "-E", "UTF8",
                 "--no-sync", "--locale=C.UTF-8"],
                capture_output=True, text=True, check=False, cwd="/",
            )  # fmt: skip
            if made.returncode:
                raise PostgresMissing(f"initdb failed: {made.stderr.strip()[-400:]}")
            cluster.start()
        except BaseException:
            cluster.remove()
            raise
        return cluster

    @property
    def url(self) -> str:
        return f"postgresql+asyncpg://kiops@127.0.0.1:{self.port}/{{database}}"

    def start(self, seconds: float = 60) -> None:
        """Starts the server and waits until it answers. Raises PostgresMissing when it does not."""
        argv = [*self.run, str(self.programs / "postgres"), "-D", str(self.folder / "data"), "-p", str(self.port)]
        options = (*self.options, f"autovacuum={'on' if self.autovacuum else 'off'}")
        argv += ["-k", str(self.folder), *(word for option in options for word in ("-c", option))]
        end = time.monotonic() + seconds
        log = self.folder / "log"
        while True:
            with log.open("ab") as out:
                self.server = subprocess.Popen(
                    argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd="/", start_new_session=True
                )
            # A server that listens may still be starting up and refuse: it is there when it answers a question.
            while self.server.poll() is None and time.monotonic() < end:
                if self._ask("").returncode == 0:
                    return
                time.sleep(0.05)
            # After a kill its shared memory may be in use still, for as long as a process of the old server lives.
            if time.monotonic() > end or b"still in use" not in log.read_bytes()[-400:]:
                raise PostgresMissing(f"the server does not start: {log.read_text(errors='replace')[-400:]}")

    def kill(self) -> None:
        """As a crash: SIGKILL to all of its processes at once."""
        if self.server is None or self.server.poll() is not None:
            return
        for pid in family(self.server.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.server.wait()

    def stop(self) -> None:
        if self.server is None or self.server.poll() is not None:
            return
        self.server.terminate()  # SIGTERM waits for clients to leave; the second signal does not
        try:
            self.server.wait(3)
        except subprocess.TimeoutExpired:
            self.server.send_signal(signal.SIGINT)
            self.server.wait(20)

    def remove(self) -> None:
        """Stops the server and removes its folder."""
        try:
            if self._asking:
                self._asking.close()
            self.stop()
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    def make(self, database: str, template: str = "") -> str:
        """Makes an empty database, or a copy of a template, and returns its address."""
        self._quickly(f'CREATE DATABASE "{database}"' + (f' TEMPLATE "{template}"' if template else ""))
        return self.url.format(database=database)

    def drop(self, database: str) -> None:
        """Removes a database, whoever is connected."""
        self._quickly(f'DROP DATABASE IF EXISTS "{database}" WITH (FORCE)')

    def migrated(self, package: str, migrations: str = "migrations") -> str:
        """The name of a database at the newest migration of a package, to make copies of. Made once."""
        name = f"template_{package}_{migrations}"
        if name not in self.templates:
            url = self.make(name)
            self._run(_migrate(url, package, migrations))
            self.templates[name] = url
        return name

    def _quickly(self, statement: str) -> None:
        # A connection that is kept: a psql for each would take longer than the statement.
        self._run(self._tell(statement))

    def _run(self, work: Coroutine[Any, Any, Any]) -> None:
        if self._asking is None:
            self._asking = _Asking()
        self._asking.run(work)

    async def _tell(self, statement: str) -> None:
        import asyncpg

        asking = self._asking
        assert asking
        if asking.connection is None or asking.connection.is_closed():
            asking.connection = await asyncpg.connect(host="127.0.0.1", port=self.port, user="kiops", database="postgres")
        await asking.connection.execute(statement)

    def execute(self, statement: str, database: str = "postgres") -> str:
        """Runs a statement and returns its rows, a line each, columns divided by `|`. Raises RuntimeError."""
        done = self._ask(statement, database)
        if done.returncode:
            raise RuntimeError(f"{statement}: {done.stderr.strip()}")
        return done.stdout

    def version(self) -> str:
        told = subprocess.run([self.programs / "postgres", "--version"], capture_output=True, text=True, check=True)
        return told.stdout.split()[2]

    def _ask(self, statement: str, database: str = "postgres") -> subprocess.CompletedProcess[str]:
        argv = ["-X", "-q", "-t", "-A", "-v", "ON_ERROR_STOP=1", "-h", str(self.folder), "-p", str(self.port), "-U", "kiops"]
        return subprocess.run(
            [*self.run, str(self.programs / "psql"), *argv, "-d", database, "-c", statement],
            capture_output=True, text=True, check=False, cwd="/",
        )  # fmt: skip


def _sweep() -> None:
    """Removes the folders of clusters whose test process was killed."""
    for folder in Path("/tmp").glob("kiops-postgres-*"):
        with contextlib.suppress(OSError, ValueError):
            owner = int((folder / "owner").read_text())
            if not os.path.exists(f"/proc/{owner}"):
                shutil.rmtree(folder, ignore_errors=True)


class _Asking:
    """A thread with an event loop and a connection to the server, for fixtures that are asked by tests with loops of their own."""

    def __init__(self) -> None:
        self.connection: Any = None
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, name="postgres", daemon=True)
        self.thread.start()

    def run(self, work: Coroutine[Any, Any, Any]) -> None:
        asyncio.run_coroutine_threadsafe(work, self.loop).result(60)

    def close(self) -> None:
        if self.connection is not None:
            self.connection.terminate()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


async def _migrate(url: str, package: str, migrations: str) -> None:
    import sqlalchemy as sa

    from shared import migrate
    from shared.clock import Clock
    from shared.database import open_engines

    async with open_engines("template", sa.MetaData(), path=Path("none"), url=url, clock=Clock()) as database:
        await migrate.migrate(database, migrate.folder(package, migrations))


def _as_another(folder: Path) -> tuple[str, ...]:
    """The words before a command of PostgreSQL, which does not run as root; the folder is given to its user.

    The server is told to end when the test process does, also when that is killed.
    """
    dies_with_us = ("setpriv", "--pdeathsig", "INT")
    if os.geteuid() != 0:
        return (*dies_with_us, "--")
    import pwd

    user = next(u for u in ("postgres", "nobody") if any(entry.pw_name == u for entry in pwd.getpwall()))
    entry = pwd.getpwnam(user)
    os.chown(folder, entry.pw_uid, entry.pw_gid)
    run: tuple[str, ...] = (*dies_with_us, f"--reuid={entry.pw_uid}", f"--regid={entry.pw_gid}", "--clear-groups", "--")
    if not os.stat("/dev/null").st_mode & 0o002:  # seen on some machines: initdb's own shell needs it
        run = ("unshare", "--mount", "sh", "-c", 'mknod -m 666 "$0"/null c 1 3 2>/dev/null; '
               'mount --bind "$0"/null /dev/null; exec "$@"', str(folder), *run)  # fmt: skip
    return run
