"""The platform's data folder as the command line sees it: who runs on it, at which address, with which token."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from kiops.setup import places


def root(data: Path | None = None) -> Path:
    """The data folder: --data, else $KIOPS_DATA, else `data` below KIOPS_HOME."""
    chosen = data or (Path(os.environ["KIOPS_DATA"]) if os.environ.get("KIOPS_DATA") else None)
    return (chosen or places.home() / "data").expanduser().absolute()


class AlreadyRunning(Exception):
    """Another `kiops up` holds this folder. pid is its process, url its address (both may be unknown: 0, "")."""

    def __init__(self, pid: int, url: str) -> None:
        super().__init__(f"process {pid}")
        self.pid, self.url = pid, url


def take(folder: Path) -> IO[str]:
    """Owns the folder as long as the returned file is open. Raises AlreadyRunning."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.chmod(0o700)
    file = (folder / "up.lock").open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        state = read_state(folder) or {}
        raise AlreadyRunning(int(state.get("pid", 0)), str(state.get("url", ""))) from None
    return file


def is_taken(folder: Path) -> bool:
    """Whether a `kiops up` runs on this folder."""
    try:
        take(folder).close()
    except AlreadyRunning:
        return True
    return False


def write_state(folder: Path, name: str = "up", **state: Any) -> None:
    """Tells other commands where we are (pid, url): in the data folder by `up`, in a service's folder by `serve`."""
    draft = folder / f"{name}.json.new"
    draft.write_text(json.dumps(state))
    draft.chmod(0o600)
    os.replace(draft, folder / f"{name}.json")


def write_served(folder: Path, **state: Any) -> None:
    """What `serve` tells in a service's folder: beside other instances, whose files go when their process has ended."""
    for file in folder.glob("up.*.json"):
        if _read(file) is None:
            file.unlink(missing_ok=True)
    write_state(folder, f"up.{os.getpid()}", **state)


def read_state(folder: Path) -> dict[str, Any] | None:
    """What a process that still lives told about itself in this folder; None when there is none."""
    return _read(folder / "up.json")


def _read(file: Path) -> dict[str, Any] | None:
    try:
        state = json.loads(file.read_text())
        return state if lives(int(state["pid"])) else None
    except (OSError, ValueError, KeyError):
        return None


def lives(pid: int) -> bool:
    """Whether this process is there, and one of ours: ids are used again."""
    try:
        return b"kiops" in Path(f"/proc/{pid}/cmdline").read_bytes()  # empty for one that ended and is not yet waited for
    except OSError:
        return False


def served(folder: Path, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Service -> the {"pid", "url"} of the process that runs it, by `up` or `serve`; only those that run, of several the oldest."""
    return {name: states[0] for name, states in every_served(folder, names).items()}


def every_served(folder: Path, names: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """Service -> what `served` tells, of every instance on this machine."""
    everything = read_state(folder)
    found: dict[str, list[dict[str, Any]]] = {}
    for name in names:
        files = sorted((folder / "services" / name).glob("up.*.json"), key=_age) if everything is None else []
        if states := [everything] if everything else [state for state in map(_read, files) if state]:
            found[name] = states
    return found


def _age(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except OSError:
        return 0.0


def forget_state(folder: Path) -> None:
    """We no longer run."""
    (folder / "up.json").unlink(missing_ok=True)


def token(folder: Path) -> str:
    """The token of this machine's own command line, made by the gateway (mode 0600); empty when there is none."""
    try:
        return (folder / "cli.token").read_text().strip()
    except OSError:
        return ""
