"""Sealed credentials: libsodium sealed boxes. Who seals can never read; only the service with the key can, in memory."""

from __future__ import annotations

import base64
import hashlib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from shared import logging, seeds
from shared.errors import Broken

if TYPE_CHECKING:
    from nacl.public import PrivateKey


FORMER = re.compile(r"\.([0-9a-f]{16})")
"""The end of the name of a file with a key that only opens: the id of that key."""


def key_id(public_key: str) -> str:
    """The short name of a public key (base64): 16 hexadecimal digits. It is stored beside what was sealed to that key."""
    return hashlib.sha256(base64.b64decode(public_key)).hexdigest()[:16]


class KeyPair:
    """A service's own key, a file of mode 0600 that is made once, and those that it had before, in files beside it.

    What is sealed is sealed to the newest; all open. A key that was replaced since is found when it is needed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._marks: dict[Path, seeds.Mark | None] = {}
        self._keys: list[PrivateKey] = []

    @classmethod
    def load(cls, path: Path) -> KeyPair:
        """Read the key file, made when it is missing. Raises Broken `key.readable` when others can read it."""
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not path.exists():
            # Two instances may start at once, and the key of the first is that of both.
            seeds.write(path, _new(), again=False)
        pair = cls(path)
        pair._look()
        return pair

    @property
    def public(self) -> str:
        """The public key in base64."""
        self._look()
        return base64.b64encode(bytes(self._keys[0].public_key)).decode()

    @property
    def id(self) -> str:
        """The id of the newest key, see `key_id`."""
        return key_id(self.public)

    @property
    def former(self) -> dict[str, Path]:
        """The keys that only open: their ids and files."""
        found = {}
        for path in sorted(self._path.parent.glob(f"{self._path.name}.*")):
            if end := FORMER.fullmatch(path.name.removeprefix(self._path.name)):
                found[end[1]] = path
        return found

    def open(self, sealed: str) -> str:
        """The value. Raises Broken `credential.not_ours` when it was sealed to another key."""
        value = self._open(sealed)
        if value is None and self._look():
            value = self._open(sealed)
        if value is None:
            raise Broken("credential.not_ours", "a credential was not sealed to this service's key", "Enter it again.")
        # A secret of its own is never written from here on; of a credential its parts are taken care of where it is read.
        logging.masker.add(value)
        return value

    def _open(self, sealed: str) -> str | None:
        from nacl.exceptions import CryptoError
        from nacl.public import SealedBox

        for key in self._keys:
            try:
                return SealedBox(key).decrypt(base64.b64decode(sealed)).decode()
            except (CryptoError, ValueError):
                continue
        return None

    def _look(self) -> bool:
        """Read the files again if one has changed; whether one had. Raises Broken `key.readable`, `key.unusable`."""
        from nacl.public import PrivateKey

        files = [self._path, *self.former.values()]
        marks = {path: seeds.mark(path) for path in files}
        if marks == self._marks:
            return False
        keys = []
        for path in files:
            try:
                if path.stat().st_mode & 0o077:
                    raise Broken("key.readable", f"the key file {path.name} can be read by others", f"chmod 600 {path}")
                text = path.read_text()
                keys.append(PrivateKey(base64.b64decode(text)))
            except FileNotFoundError:
                if path == self._path:
                    raise Broken("key.unusable", f"the key file {path.name} is gone", "Put it back from the backup.") from None
                continue  # retired just now
            except (ValueError, TypeError):
                raise Broken("key.unusable", f"the key file {path.name} holds no key", "Put it back from the backup.") from None
            logging.masker.add(text.strip())
        self._keys, self._marks = keys, marks
        return True

    # -- replaced ------------------------------------------------------------------------------------------------------
    def replace(self) -> str:
        """Another key is the newest from now on; the one before still opens. Returns the new one's id."""
        before = self.id
        seeds.write(self._path.with_name(f"{self._path.name}.{before}"), self._path.read_bytes(), like=self._path)
        seeds.write(self._path, _new(), like=self._path)
        return self.id

    def retire(self) -> list[str]:
        """Take away the keys that only open. Returns their ids."""
        gone = self.former
        for path in gone.values():
            path.unlink(missing_ok=True)
        self._look()
        return list(gone)


def _new() -> bytes:
    from nacl.public import PrivateKey

    return base64.b64encode(bytes(PrivateKey.generate()))


def seal(value: str, public_key: str) -> str:
    """The value sealed to a public key (base64), as base64."""
    from nacl.public import PublicKey, SealedBox

    return base64.b64encode(SealedBox(PublicKey(base64.b64decode(public_key))).encrypt(value.encode())).decode()


def publish_key(folder: Path, service: str, pair: KeyPair) -> None:
    """Put a service's public key where the gateway finds it."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / f"{service}.pub"
    if not path.exists() or path.read_text() != pair.public:
        temporary = path.with_suffix(".new")
        temporary.write_text(pair.public)
        os.replace(temporary, path)


def public_key(folder: Path, service: str) -> str:
    """A service's public key. Raises Broken `key.unknown`."""
    try:
        return (folder / f"{service}.pub").read_text()
    except FileNotFoundError:
        raise Broken("key.unknown", f"the public key of {service} is not here yet", "Start that service once.") from None
