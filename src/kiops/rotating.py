"""`kiops keys`: keys for the bus are replaced while everything runs, and nothing is lost.

nats-server accepts the old and the new key of a service for a while: the new seed takes the old one's place in the service's file,
the service sees that and signs in anew, and only when nats-server shows no connection with the old key any more is that one taken
out. Ended at any moment, what the key folder says is whole, and the next call goes on from there.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import time
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from shared.errors import Rejected, Unavailable
from shared.keeper import Server
from shared.permissions import BOOTSTRAP, KEEPER, make_keys
from shared.sealing import KeyPair, publish_key

from kiops import catalogue
from shared import seeds

NAMES = (*catalogue.NAMES, BOOTSTRAP, KEEPER)
LOOK_SECONDS = 0.1
RETIRE_AFTER_SECONDS = 60.0
"""A gateway that read a public key before it was replaced has stored what it sealed to it by then."""


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

    Who was begun before and still has a former key is brought to its end instead. `force`, after a leak: each gets another key in
    any case, and the former ones are taken out after `seconds` whether or not the service was seen with its new one. Raises
    Unavailable, Broken, Rejected.
    """
    with _alone(server.keys):
        make_keys(server.keys)
        begun = [] if force else [name for name in names if _former(server, name)]
        for name in names:
            if name not in begun:
                seeds.prepare(server.keys, name)
        await _tell(server)
        for name in names:
            if name not in begun:
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


# -- keys that secrets are sealed to -------------------------------------------------------------------------------------
def pair(root: Path, name: str) -> KeyPair:
    """A service's keys for sealing; made where they are missing."""
    return KeyPair.load(root / "keys" / f"{name}.key")


def replace_sealing(root: Path, names: Sequence[str]) -> dict[str, str]:
    """Gives each of these services another key to seal to; those before go on opening. Returns service -> id of the new key."""
    with _alone(root / "keys"):
        return {name: _replace(root, name) for name in names}


def _replace(root: Path, name: str) -> str:
    keys = pair(root, name)
    keys.replace()
    publish(root, name)
    return keys.id


def publish(root: Path, name: str) -> None:
    """The gateway seals to the newest key from now on."""
    file = root / "keys" / "public" / f"{name}.pub"
    owner = file.stat() if file.exists() else None
    publish_key(file.parent, name, pair(root, name))
    if owner is not None and os.getuid() == 0:
        os.chown(file, owner.st_uid, owner.st_gid)
        file.chmod(owner.st_mode & 0o777)


def to_retire(root: Path, names: Sequence[str]) -> dict[str, float]:
    """Service -> seconds since its newest former key was replaced, of those that have one."""
    found = {}
    for name in names:
        if former := pair(root, name).former:
            found[name] = time.time() - max(path.stat().st_mtime for path in former.values())
    return found


def retire_sealing(root: Path, name: str) -> list[str]:
    """Take a service's former keys away, for good. Returns their ids."""
    with _alone(root / "keys"):
        return pair(root, name).retire()


# -- what is there -------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Listed:
    """A key by its public half. `purpose` is bus or sealing, `state` in use, next, former, or opens only."""

    name: str
    purpose: str
    key: str
    state: str
    since_ms: int


def listed(root: Path) -> list[Listed]:
    """What lies in the key folders. Raises Unavailable `keys.none`."""
    folder = root / "bus" / "keys"
    there = [name for name in NAMES if seeds.seed_file(folder, name).exists()]
    if not there:
        raise Unavailable("keys.none", f"there are no keys below {root}", "They are made when KIOPS starts there first.")
    found = [Listed(name, "bus", key.public, key.state, key.since_ms) for name in there for key in seeds.accepted(folder, name)]
    for name in catalogue.NAMES:
        file = root / "keys" / f"{name}.key"
        if file.exists():
            keys = pair(root, name)
            found.append(Listed(name, "sealing", keys.id, "in use", _since_ms(file)))
            found += [Listed(name, "sealing", key, "opens only", _since_ms(path)) for key, path in keys.former.items()]
    return found


def _since_ms(path: Path) -> int:
    return path.stat().st_mtime_ns // 1_000_000
