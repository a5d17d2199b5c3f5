"""Endpoint secrets: sealed to this service's own key in the table, opened in memory, kept there."""

from __future__ import annotations

from collections import OrderedDict
from typing import Protocol

from shared.sealing import key_id, seal

KEPT = 2000


class Keys(Protocol):
    """This service's key pair; `shared.sealing.KeyPair` in earnest."""

    @property
    def public(self) -> str: ...

    def open(self, sealed: str) -> str: ...


class Secrets:
    """Seals and opens. What was opened is remembered under its ciphertext, so a changed secret is never served stale."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._opened: OrderedDict[str, bytes] = OrderedDict()

    def seal(self, secret: str) -> tuple[str, str]:
        """The ciphertext, and the id of our key that it is for."""
        public = self._keys.public
        return seal(secret, public), key_id(public)

    def unseal(self, sealed: str) -> str:
        """The value, not remembered. Raises Broken when it was not sealed to this key."""
        return self._keys.open(sealed)

    def open(self, sealed: str) -> bytes:
        """The secret's bytes, remembered. Raises Broken when it was not sealed to this key."""
        found = self._opened.get(sealed)
        if found is None:
            found = self._opened[sealed] = self._keys.open(sealed).encode()
            while len(self._opened) > KEPT:
                self._opened.popitem(last=False)
        return found
