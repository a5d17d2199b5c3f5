"""Endpoints' secrets sealed again, after this service got another key."""

from __future__ import annotations

from shared.database import Database
from shared.resealing import Renewal, again
from shared.sealing import KeyPair

from webhook import store
from webhook.known import Known

AT_ONCE = 100


class Resealing:
    """What this service keeps sealed to its own key."""

    def __init__(self, database: Database, keys: KeyPair, known: Known) -> None:
        self._database, self._keys, self._known = database, keys, known

    async def renew(self) -> Renewal:
        """Seal again what is sealed to a former key. Deliveries go on: every secret can be opened at every moment."""
        done, after = Renewal(), ""
        while True:
            async with self._database.read() as tx:
                rows = await store.secrets_elsewhere(tx, self._keys.id, after, AT_ONCE)
            if not rows:
                break
            after = rows[-1].id
            async with self._database.write() as tx:
                for row in rows:
                    fresh = again(self._keys, row.sealed_secret)
                    if fresh is None:
                        done.unreadable += 1
                    else:
                        done.renewed += await store.replace_secret(tx, row.id, row.sealed_secret, *fresh)
                self._known.forget(tx)
        async with self._database.read() as tx:
            done.left = max(0, await store.count_secrets_elsewhere(tx, self._keys.id) - done.unreadable)
        return done
