"""Passwords: argon2id in a thread, imported when first used, so that neither the loop nor idle memory pays for it."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import unicodedata


def digest(token: str) -> str:
    """What is stored of a random token: SHA-256, which is enough for 256 random bits."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def _plain(password: str) -> bytes:
    return unicodedata.normalize("NFKC", password).encode("utf-8", "surrogatepass")


def _hash(password: str, memory_kib: int) -> str:
    from argon2 import PasswordHasher

    return PasswordHasher(time_cost=2, memory_cost=memory_kib, parallelism=1).hash(_plain(password))


def _verify(stored: str, password: str) -> bool:
    from argon2 import PasswordHasher
    from argon2.exceptions import InvalidHashError, VerificationError

    try:
        return PasswordHasher().verify(stored, _plain(password))
    except (VerificationError, InvalidHashError):
        return False


class Passwords:
    """Hashes and checks, one at a time: a crowd at the door must not take the memory of a hash each."""

    def __init__(self, memory_kib: int) -> None:
        self._memory = memory_kib
        self._one = asyncio.Semaphore(1)
        self._nobody = ""

    async def hashed(self, password: str) -> str:
        """The argon2id form of a password."""
        async with self._one:
            return await asyncio.to_thread(_hash, password, self._memory)

    async def match(self, stored: str | None, password: str) -> bool:
        """Whether the password is the stored one. Takes as long when there is none, so that nobody learns which names exist."""
        if stored is None and not self._nobody:
            self._nobody = await self.hashed(secrets.token_urlsafe(24))
        async with self._one:
            right = await asyncio.to_thread(_verify, stored or self._nobody, password)
        return right and stored is not None
