"""`kiops keys`: keys for the bus are replaced while everything runs, and nothing is lost.

nats-server accepts the old and the new key of a service for a while: the new seed takes the old one's place in the service's file,
the service sees that and signs in anew, and only when nats-server shows no connection with the old key any more is that one taken
out. Ended at any moment, what the key folder says is whole, and the next call goes on from there.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import time
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from shared.errors import Rejected, Unavailable
from shared.keeper import Server
from shared.permissions import BOOTSTRAP, KEEPER, make_keys

from kiops import catalogue
from shared import seeds

NAMES = (*catalogue.NAMES, BOOTSTRAP, KEEPER)
LOOK_SECONDS = 0.1


@dataclass
class Rotated:
    """What became of one identity's key. `waiting`: the former key is still accepted, because of `why`."""

    name: str
    key: str
    former: list[str]
    waiting: bool = False
    why: str = ""


def find_server(root: Path, config: Path | None, url: str) -> Server:
    """The nats-server of this data folder. `url` and `config` are those of one that is not ours.

    Raises Unavailable `keys.no_bus`.
    """
    folder = root / "bus"
    if not url and _is_held(folder / "lock"):
        try:
            url = f"nats://127.0.0.1:{int(json.loads((folder / 'server.json').read_text())['port'])}"
        except (OSError, ValueError, KeyError):
            raise Unavailable("keys.no_bus", "nats-server is starting", "Try it again in a second.") from None
    return Server(folder / "keys", config or folder / "nats.conf", url)


def _is_held(lock: Path) -> bool:
    if not lock.exists():
        return False
    with lock.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


@contextmanager
def _alone(folder: Path) -> Any:
    """One rotation at a time. Raises Rejected `keys.busy`."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    file: IO[str]
    with open(folder / "rotating.lock", "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Rejected("keys.busy", "keys are being replaced already", "Wait until that has ended.") from None
        yield


async def rotate(server: Server, names: Sequence[str], *, seconds: float, force: bool) -> list[Rotated]:
    """Gives each of these identities another key, and takes the former ones out when nobody is connected with them any more.

    Who was begun before and still has a former key is brought to its end instead. `force`: the former ones are taken out after
    `seconds` whether or not the service was seen with its new one. Raises Unavailable, Broken, Rejected.
    """
    with _alone(server.keys):
        make_keys(server.keys)
        before = {name: former for name in names if (former := _former(server, name))}
        for name in names:
            if name not in before:
                seeds.prepare(server.keys, name)
        await _tell(server)
        for name in names:
            if name not in before:
                with seeds.held(server.keys):
                    seeds.replace(server.keys, name, int(time.time() * 1000))
        done = [Rotated(name, _in_use(server, name), _former(server, name)) for name in names]
        if server.url:
            await _await_moves(server, done, seconds)
        for each in done:
            if force or not each.waiting:
                seeds.forget_former(server.keys, each.name)
                each.waiting = False
        await _tell(server)
        return done


async def _tell(server: Server) -> None:
    """nats-server accepts what the key folder says now; one that does not run reads it when it starts."""
    if not server.url:
        return
    async with server.keeper() as keeper:
        server.write()
        await keeper.reload()


async def _await_moves(server: Server, moving: Sequence[Rotated], seconds: float) -> None:
    """Until each service is connected with its new key alone; who is not after the time is `waiting`."""
    end = time.monotonic() + seconds
    async with server.keeper() as keeper:
        while True:
            connected = await keeper.connected()
            # Our own connection is the last one with the keeper's key, old or new.
            for each in moving:
                old = {name for key in each.former for name in connected.get(key, ())} - {f"kiops-{KEEPER}"}
                there = each.key in connected or each.name in (BOOTSTRAP, KEEPER)
                each.waiting = bool(old) or not there
                each.why = f"{', '.join(sorted(old))} still has the former key" if old else "" if there else "it is not connected"
            if not any(each.waiting for each in moving) or time.monotonic() > end:
                return
            await asyncio.sleep(LOOK_SECONDS)


def _in_use(server: Server, name: str) -> str:
    return seeds.accepted(server.keys, name)[0].public


def _former(server: Server, name: str) -> list[str]:
    return [key.public for key in seeds.accepted(server.keys, name) if key.state == "former"]


@dataclass
class Listed:
    """The keys that are there: for the bus (accepted ones) and for sealing; public halves alone."""

    bus: list[seeds.Key] = field(default_factory=list)


def listed(root: Path) -> Listed:
    """What lies in the key folders. Raises Unavailable `keys.none`."""
    folder = root / "bus" / "keys"
    there = [name for name in NAMES if seeds.seed_file(folder, name).exists()]
    if not there:
        raise Unavailable("keys.none", f"there are no keys below {root}", "They are made when KIOPS starts there first.")
    return Listed(bus=[key for name in there for key in seeds.accepted(folder, name)])
