"""How many connections a container on this machine has open, read from the kernel's table of its network namespace.

Traefik has no figure for the open requests of one service. Its idle connections to a container are closed after a second
(`domain.routes.arguments`), so what is still open during a drain is a request that runs.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

_ESTABLISHED = "01"


def open_connections(table: str, ports: Collection[int]) -> int:
    """Established connections to these local ports in the text of a /proc/<pid>/net/tcp."""
    count = 0
    for line in table.splitlines()[1:]:
        fields = line.split()
        if len(fields) > 3 and fields[3] == _ESTABLISHED and int(fields[1].rsplit(":", 1)[1], 16) in ports:
            count += 1
    return count


def of_container(container: str, pid: int, ports: Collection[int], proc: Path = Path("/proc")) -> int | None:
    """Established connections to ports of a container. None when they cannot be seen: the engine is on another machine (its
    process number is not the container's here), or the container has ended."""
    process = proc / str(pid)
    try:
        if pid <= 0 or container not in (process / "cgroup").read_text():
            return None
        tables = [(process / "net" / name) for name in ("tcp", "tcp6")]
        return sum(open_connections(table.read_text(), ports) for table in tables if table.exists())
    except OSError:
        return None
