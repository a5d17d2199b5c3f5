"""CSRF tokens: an HMAC of the session (before sign-in: of a random cookie) under a key of ours, sent back by the form."""

from __future__ import annotations

import hashlib
import hmac
import secrets

from shared.clock import Clock
from shared.database import Database

from gateway.store import people

OPEN_MS = 24 * 3_600_000
"""A form may have been open for so long when it is sent."""
LOOK_MS = 60_000
"""Another instance may have replaced the key: we look so often."""


def token(key: bytes, bound_to: str) -> str:
    """The token of a session id or visit cookie, 64 hexadecimal digits."""
    return hmac.new(key, b"csrf:" + bound_to.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()


def right(key: bytes, bound_to: str, given: str) -> bool:
    """Whether the given token is that of the session. Constant time; any text may be given."""
    expected = token(key, bound_to).encode()
    return hmac.compare_digest(expected, given.encode("utf-8", "surrogatepass"))


class FormKeys:
    """The keys of forms' tokens, which all instances share: the newest makes tokens, those it replaced are taken for a day."""

    def __init__(self, database: Database, clock: Clock, organisation: str) -> None:
        self._database, self._clock, self._organisation = database, clock, organisation
        self._keys: list[bytes] = []
        self._looked_ms = 0

    async def look(self) -> None:
        """Read them, newest first; the first is made when there is none."""
        now = self._looked_ms = self._clock.now_ms()
        async with self._database.read() as tx:
            found = await people.form_keys(tx, now - OPEN_MS)
        if not found:
            async with self._database.write() as tx:
                await people.first_form_key(tx, self._organisation, secrets.token_hex(32), now)
                found = await people.form_keys(tx, now - OPEN_MS)
        self._keys = [bytes.fromhex(each) for each in found]

    async def look_now_and_then(self) -> None:
        if abs(self._clock.now_ms() - self._looked_ms) > LOOK_MS:
            await self.look()

    def token(self, bound_to: str) -> str:
        return token(self._keys[0], bound_to)

    async def right(self, bound_to: str, given: str) -> bool:
        """Whether the given token is one of ours for this, made by any instance."""
        await self.look_now_and_then()
        if not self._any(bound_to, given):
            await self.look()
        return self._any(bound_to, given)

    def _any(self, bound_to: str, given: str) -> bool:
        return any([right(key, bound_to, given) for key in self._keys])

    async def replace(self, *, at_once: bool) -> None:
        """Another key makes tokens from now on. `at_once`: forms that are open now are refused, and have to be loaded again."""
        now = self._clock.now_ms()
        async with self._database.write() as tx:
            await people.replace_form_key(tx, self._organisation, secrets.token_hex(32), now, keep=not at_once)
        await self.look()
