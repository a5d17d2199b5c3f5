"""Runs other programs quietly: output to a log file, its end shown when one fails."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from kiops.setup import places
from kiops.setup.screen import NeedsHelp

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def find(program: str) -> str | None:
    """The program's path; the system's administrator folders are searched too."""
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:{SYSTEM_PATH}")


def run(argv: Sequence[str | Path], *, log: str, doing: str, code: str, env: Mapping[str, str] | None = None) -> None:
    """Runs to the end, output to log/<log>.log; a failure is a NeedsHelp that shows the last lines."""
    path = places.logs() / f"{log}.log"
    with path.open("ab") as out:
        out.write(f"$ {' '.join(map(str, argv))}\n".encode())
        out.flush()
        done = subprocess.run(
            [str(a) for a in argv], stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=dict(env or os.environ),
            cwd=places.CHECKOUT, check=False,
        )  # fmt: skip
    if done.returncode:
        tail = path.read_text(errors="replace").splitlines()[-6:]
        raise NeedsHelp(
            f"{doing} failed (exit code {done.returncode})",
            advice="\n".join([*tail, f"all of it is in {places.short(path)}"]),
            code=code,
        )


def as_root() -> list[str]:
    """What to put before a command that needs root: nothing, or sudo; NeedsHelp when neither will do."""
    if os.geteuid() == 0:
        return []
    sudo = find("sudo")
    interactive = sys.stdin is not None and sys.stdin.isatty()
    if sudo and not interactive and subprocess.run([sudo, "-n", "true"], capture_output=True, check=False).returncode:
        sudo = None
    if not sudo:
        raise NeedsHelp(
            "this needs root, and sudo does not let us without a password",
            advice="run it as root, or install the packages named above yourself and use `--no-install`",
            code="setup.no_root",
        )
    return [sudo]


def acquire_root() -> None:
    """Lets sudo ask for the password once, while nothing else writes to the terminal."""
    prefix = as_root()
    if prefix:
        subprocess.run([*prefix, "-v"], check=False)
