"""How much memory processes use, from /proc (proc(5), smaps_rollup)."""

from __future__ import annotations

import os
from collections.abc import Iterable


def memory_mb(pids: Iterable[int]) -> tuple[float, float]:
    """(RSS, PSS) of these processes in megabytes (10^6 bytes). PSS counts a page shared by n processes as 1/n."""
    rss = pss = 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/smaps_rollup") as file:
                for line in file:
                    if line.startswith("Rss:"):
                        rss += int(line.split()[1])
                    elif line.startswith("Pss:"):
                        pss += int(line.split()[1])
        except OSError:
            continue
    return round(rss * 1024 / 1e6, 1), round(pss * 1024 / 1e6, 1)


def family(pid: int) -> list[int]:
    """A process and all its descendants."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat") as file:
                    parent = int(file.read().rsplit(")", 1)[1].split()[1])
            except (OSError, IndexError):
                continue
            children.setdefault(parent, []).append(int(name))
    found, todo = [], [pid]
    while todo:
        here = todo.pop()
        found.append(here)
        todo += children.get(here, [])
    return found
