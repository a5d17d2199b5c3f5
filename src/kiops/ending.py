"""`kiops down`: ends the platform of a data folder, and removes the sample when asked."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from kiops import catalogue, folder
from kiops.setup.screen import Screen
from kiops.terminal import Exit, fail

PATIENCE_SECONDS = 20


def stop(root: Path) -> None:
    """Asks the running `kiops up` (or `kiops serve`) to end, and waits until it has."""
    screen = Screen()
    running = folder.every_served(root, catalogue.NAMES)
    pids = {int(state["pid"]) for states in running.values() for state in states}
    if not pids and folder.is_taken(root):
        pids = {_holder(root)} - {0}
    if not pids:
        screen.say("KIOPS does not run here.")
        return
    screen.begin("stopped")
    for pid in pids:
        try:
            os.kill(pid, signal.SIGTERM)
        except PermissionError:
            fail(f"pid {pid} is another person's", advice="stop it as that person", code="down.not_ours", exit_code=Exit.NO)
        except ProcessLookupError:
            pass
    deadline = time.monotonic() + PATIENCE_SECONDS
    while left := [pid for pid in pids if folder.lives(pid)]:
        if time.monotonic() > deadline:
            fail(
                f"pid {left[0]} has not ended after {PATIENCE_SECONDS} s", advice=f"kill -9 {left[0]}; nothing is lost by it",
                code="down.slow", exit_code=Exit.DEFECT,
            )  # fmt: skip
        time.sleep(0.05)
    screen.done("stopped", "what KIOPS deployed keeps running")


def _holder(root: Path) -> int:
    """Who holds the folder's lock, from /proc/locks."""
    inode = str((root / "up.lock").stat().st_ino)
    for line in Path("/proc/locks").read_text().splitlines():
        columns = line.split()
        if len(columns) > 5 and columns[5].endswith(f":{inode}") and columns[4].isdigit():
            return int(columns[4])
    return 0


def remove_demo(root: Path) -> None:
    """Removes the sample's containers, images and data; the platform may run or not."""
    from kiops.demo import remove

    for line in remove(root):
        Screen().say(f"  {line}")
