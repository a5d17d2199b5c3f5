"""Accounts of the members' area."""

import hashlib
import hmac
import os


class Accounts:
    def __init__(self):
        self.kept: dict[str, tuple[bytes, bytes]] = {}

    def hashed(self, password: str, salt: bytes) -> bytes:
        return hashlib.sha256(salt + password.encode()).digest()

    def add(self, name: str, password: str) -> None:
        salt = os.urandom(16)
        self.kept[name] = (salt, self.hashed(password, salt))

    def is_right(self, name: str, password: str) -> bool:
        salt, expected = self.kept[name]
        return hmac.compare_digest(expected, self.hashed(password, salt))
