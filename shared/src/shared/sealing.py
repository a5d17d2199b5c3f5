"""Sealed credentials: libsodium sealed boxes. Who seals can never read; only the service with the key can, in memory."""

from __future__ import annotations

import base64
import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from shared import ids, logging
from shared.errors import Broken

if TYPE_CHECKING:
    from nacl.public import PrivateKey


class KeyPair:
    """A service's own key, a file of mode 0600 that is made once."""

    def __init__(self, private: PrivateKey) -> None:
        self._private = private

    @classmethod
    def load(cls, path: Path) -> KeyPair:
        """Read the key file, made when it is missing. Raises Broken `key.readable` when others can read it."""
        from nacl.public import PrivateKey

        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not path.exists():
            # Whole or not at all: two instances may start at once, and the key of the first is that of both.
            draft = path.with_name(f"{path.name}.{ids.uuid7()}")
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(base64.b64encode(bytes(PrivateKey.generate())))
            with contextlib.suppress(FileExistsError):
                os.link(draft, path)
            draft.unlink()
        if path.stat().st_mode & 0o077:
            raise Broken("key.readable", f"the key file {path.name} can be read by others", f"chmod 600 {path}")
        text = path.read_text()
        logging.masker.add(text.strip())
        return cls(PrivateKey(base64.b64decode(text)))

    @property
    def public(self) -> str:
        """The public key in base64."""
        return base64.b64encode(bytes(self._private.public_key)).decode()

    def open(self, sealed: str) -> str:
        """The value. Raises Broken `credential.not_ours` when it was sealed to another key."""
        from nacl.exceptions import CryptoError
        from nacl.public import SealedBox

        try:
            value = SealedBox(self._private).decrypt(base64.b64decode(sealed)).decode()
        except (CryptoError, ValueError) as error:
            raise Broken("credential.not_ours", "a credential was not sealed to this service's key", "Enter it again.") from error
        # A secret of its own is never written from here on; of a credential its parts are taken care of where it is read.
        logging.masker.add(value)
        return value


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
