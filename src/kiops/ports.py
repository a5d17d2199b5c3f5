"""The port KIOPS serves on: taken before anything is started, its owner named when another program has it."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path


class PortTaken(Exception):
    """Another program listens there. `owner` names it: "pid 4112 (python -m http.server)", or is empty."""

    def __init__(self, port: int, owner: str) -> None:
        super().__init__(f"port {port} is taken" + (f" by {owner}" if owner else ""))
        self.port, self.owner = port, owner


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises PortTaken, or OSError for an address that is not ours."""
    # With its protocol named asyncio sets TCP_NODELAY on what it accepts.
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(1024)
    except OSError as problem:
        listener.close()
        if problem.errno == errno.EADDRINUSE:
            raise PortTaken(port, owner(port)) from None
        raise
    listener.setblocking(False)
    return listener


def owner(port: int) -> str:
    """Which program listens on a TCP port of this machine, as far as we may see it."""
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            columns = line.split()
            if columns[3] == "0A" and int(columns[1].rsplit(":", 1)[1], 16) == port:
                inodes.add(f"socket:[{columns[9]}]")
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(os.readlink(link) in inodes for link in (process / "fd").iterdir()):
                words = (process / "cmdline").read_bytes().rstrip(b"\0").split(b"\0")
                return f"pid {process.name} ({b' '.join(words).decode(errors='replace')[:80]})"
        except OSError:
            continue
    return ""
