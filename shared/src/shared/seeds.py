"""Keys for the bus as files: one seed per identity (mode 0600), and beside it what is accepted while it is replaced.

`webhook.nk` is the seed in use, `webhook.nk.next` one that takes its place, `webhook.former` public keys that nats-server still
accepts. nats-server's configuration is made of all three, so that whoever writes it, at any moment, accepts whom it must.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from shared.errors import Broken

Mark = tuple[int, int, int]
"""(inode, time of change in ns, size): another one means that the file was written again."""


@dataclass(frozen=True)
class Key:
    """A public key that nats-server accepts. `state` is in use, next or former; `since_ms` when it came to be that, epoch ms."""

    identity: str
    public: str
    state: str
    since_ms: int


def seed_file(folder: Path, identity: str) -> Path:
    return folder / f"{identity}.nk"


def mark(path: Path) -> Mark | None:
    """What tells one state of a file from the next; None when it is not there."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def read(path: Path) -> str:
    """The seed. Raises Broken `bus.key_readable` when others can read the file, `bus.key_unusable` when it holds none."""
    try:
        if path.stat().st_mode & 0o077:
            raise Broken("bus.key_readable", f"the key file {path.name} can be read by others", f"chmod 600 {path}")
        seed = path.read_text().strip()
        public(seed)
    except (OSError, ValueError) as error:
        # Not the error's own words: they could show what the file holds.
        raise Broken(
            "bus.key_unusable",
            f"the key file {path.name} cannot be used ({type(error).__name__})",
            "Put the seed back, or make a new one with `kiops keys rotate`.",
        ) from None
    return seed


def public(seed: str) -> str:
    """The public key of a seed. Raises ValueError."""
    import nkeys

    try:
        pair = nkeys.from_seed(bytearray(seed.encode()))
    except Exception as error:
        raise ValueError("no seed of an NKey") from error
    try:
        return str(pair.public_key.decode())
    finally:
        pair.wipe()


def write(path: Path, data: bytes, *, like: Path | None = None, again: bool = True) -> None:
    """A file of mode 0600, whole or not at all, with the owner of `like` where we may give it away.

    Not `again`: one that is there stays, also when two write it at once.
    """
    draft = path.with_name(f"{path.name}.{os.getpid()}.new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    if like is not None and os.getuid() == 0 and like.exists():
        there = like.stat()
        os.chown(draft, there.st_uid, there.st_gid)
    if again:
        os.replace(draft, path)
    else:
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
        draft.unlink()
    _settle(path.parent)


def _settle(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Whoever changes keys or writes nats-server's configuration from them does it alone, for a moment."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with open(folder / "lock", "a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def make(folder: Path, identity: str) -> None:
    """The seed of an identity where it is missing."""
    path = seed_file(folder, identity)
    if not path.exists():
        import nkeys

        write(path, nkeys.encode_seed(os.urandom(32), nkeys.PREFIX_BYTE_USER) + b"\n", again=False)


def accepted(folder: Path, identity: str) -> list[Key]:
    """The keys with which this identity may sign in, the one in use first."""
    path = seed_file(folder, identity)
    found = [Key(identity, public(path.read_text().strip()), "in use", _changed_ms(path))]
    coming = _next(path)
    with contextlib.suppress(OSError, ValueError):
        found.append(Key(identity, public(coming.read_text().strip()), "next", _changed_ms(coming)))
    found += [Key(identity, key, "former", since) for key, since in _former(folder, identity).items()]
    return list({key.public: key for key in reversed(found)}.values())[::-1]


def _changed_ms(path: Path) -> int:
    return path.stat().st_mtime_ns // 1_000_000


def _next(path: Path) -> Path:
    return path.with_name(path.name + ".next")


def _former(folder: Path, identity: str) -> Mapping[str, int]:
    try:
        return dict(json.loads((folder / f"{identity}.former").read_text()))
    except FileNotFoundError:
        return {}


# -- one key takes the place of another ----------------------------------------------------------------------------------
def prepare(folder: Path, identity: str) -> None:
    """A seed that is to take the place of the one in use, if none waits for that already."""
    path = seed_file(folder, identity)
    coming = _next(path)
    try:
        read(coming)
    except Broken:
        import nkeys

        write(coming, nkeys.encode_seed(os.urandom(32), nkeys.PREFIX_BYTE_USER) + b"\n", like=path)


def replace(folder: Path, identity: str, now_ms: int) -> None:
    """The prepared seed is the one in use from now on; the public key of the other is noted as a former one."""
    path = seed_file(folder, identity)
    former = {public(path.read_text().strip()): now_ms} | dict(_former(folder, identity))
    write(folder / f"{identity}.former", json.dumps(former).encode())
    os.replace(_next(path), path)
    _settle(folder)


def forget_former(folder: Path, identity: str) -> None:
    """Former keys are no longer accepted, once nats-server has read its configuration again."""
    (folder / f"{identity}.former").unlink(missing_ok=True)
    _settle(folder)
