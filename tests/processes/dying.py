"""A member that dies: a service of the platform which is killed with -9 at given points, one after another, and lives on.

`python tests/processes/dying.py NAME FILE`, where the file is a `Membership`. Beside it `cells/NAME` has a point per line, and
`deaths` gets a line `NAME POINT` before each. This process imports everything once and forks the instances: what is killed is a
process of its own all the same, and its successor is there in a moment.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from pathlib import Path

import faststream.nats  # noqa: F401  (here, so that no instance imports it anew)
import uvicorn  # noqa: F401
from shared.faults import POINTS, install

from kiops.chaos import member

LIVES_FOR = {"builder": ("job.finished", 3), "scanner": ("job.finished", 3), "operator-proxy": ("job.finished", 3)}
"""An instance dies at its point only after it has passed this one so often: what the one before it left is done by then, so that no
job meets five deaths and is given up."""


def dying(name: str, cell: str, deaths: Path) -> None:
    """Install the death of this instance."""
    passed, often = LIVES_FOR.get(name, ("loop.acked", 1))
    seen = 0

    def hook(point: str) -> None:
        nonlocal seen
        seen += point == passed
        if seen >= often and point == cell:
            with open(deaths, "a") as file:
                file.write(f"{name} {cell}\n")
            os.kill(os.getpid(), signal.SIGKILL)

    install(hook)


def main(name: str, file: Path) -> int:
    folder = file.parent
    cells = (folder / "cells" / name).read_text().split()
    assert not set(cells) - set(POINTS), "there is no such point"
    member.wire_of(name, Path(member.Membership(**json.loads(file.read_text())).stamps))
    instance = 0
    signal.signal(signal.SIGTERM, lambda *_: os.kill(instance, signal.SIGTERM))
    while True:
        instance = os.fork()
        if instance == 0:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: no instance outlives us
            if cells:
                dying(name, cells[0], folder / "deaths")
            member.main(name, file)
            os._exit(0)
        _, status = os.waitpid(instance, 0)
        if not (os.WIFSIGNALED(status) and cells):
            return os.waitstatus_to_exitcode(status)
        cells.pop(0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
