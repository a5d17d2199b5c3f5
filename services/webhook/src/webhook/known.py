"""Endpoints in memory, so that a delivery need not read what hardly ever changes.

Only where this process is the one that writes the database (SQLite): whoever changes an endpoint, its service or its rule forgets
all of them at the commit. On PostgreSQL another replica may be the one that writes, so there every delivery reads.
"""

from __future__ import annotations

from collections import OrderedDict

from shared.database import Database, Tx

from webhook import store

KEPT = 2000


class Known:
    """The endpoints that were read since the last change."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._kept: OrderedDict[str, store.Endpoint] = OrderedDict()
        self._changes = 0

    async def endpoint(self, endpoint_id: str) -> store.Endpoint | None:
        """The endpoint with its service and rule; None when there is none."""
        found = self._kept.get(endpoint_id)
        if found is not None:
            return found
        seen = self._changes
        async with self._database.read() as tx:
            found = await store.endpoint(tx, endpoint_id)
        # What was read before a change must not be kept after it.
        if found is not None and seen == self._changes and not self._database.is_postgresql:
            self._kept[endpoint_id] = found
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return found

    def forget(self, tx: Tx) -> None:
        """This transaction changes an endpoint, a service or a rule: nothing that is known holds after it."""
        tx.after_commit(self._forget)

    def _forget(self) -> None:
        self._changes += 1
        self._kept.clear()
