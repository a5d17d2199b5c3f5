"""What a loop could not handle: parked messages, tried again in the order of their key, and dead letters, kept for a person."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from shared import logging
from shared.database import Database, Tx

if TYPE_CHECKING:
    from structlog.stdlib import BoundLogger

    from shared.inbox import Incoming

LOOK_ANYWAY_SECONDS = 5.0
"""So often PostgreSQL is asked what is parked, whatever we remember: another instance may have put a dead letter back."""
LONGEST_DELAY_MS = 72_000
AT_ONCE = 100


class Aside:
    """The two tables of one loop's database.

    `may_hold`: whether something may be parked. To ask the database twice a second costs more than to remember that nothing is.
    """

    def __init__(self, database: Database, log: BoundLogger) -> None:
        self.database, self._log = database, log
        self.may_hold = True
        self._looked_at = -LOOK_ANYWAY_SECONDS

    def look_again(self) -> None:
        """Something may be parked that we did not park: another instance read before us, or the database was exchanged."""
        self.may_hold = True

    # -- in the transaction that handles a message ---------------------------------------------------------------------
    async def park(self, tx: Tx, incoming: Incoming, key: str, *, attempts: int, code: str, error: str) -> None:
        """Try it again later; what comes after it with its key waits behind it."""
        self.look_again()
        tx.after_commit(self.look_again)  # who looked meanwhile saw nothing yet
        due_ms = self.database.clock.now_ms() + int(_delay(attempts) * 1000)
        await self._keep(tx, "parked", incoming, key, attempts, due_ms, code, error)

    async def park_behind(self, tx: Tx, incoming: Incoming, key: str) -> bool:
        """Park it when an earlier message of its key is parked; whether one is."""
        if not key or not self.may_hold:
            return False
        parked = tx.database.metadata.tables["parked"]
        earlier = sa.select(sa.func.count()).where(parked.c.key == key, parked.c.position < incoming.envelope.sequence)
        if not await tx.scalar(earlier):
            return False
        await self.park(tx, incoming, key, attempts=0, code="behind", error="waits behind an earlier one of its key")
        return True

    async def bury(self, tx: Tx, incoming: Incoming, key: str, *, attempts: int, code: str, error: str) -> None:
        """It is a dead letter: kept, shown, replayable."""
        await self._keep(tx, "dead_letter", incoming, key, attempts, self.database.clock.now_ms(), code, error)

    async def _keep(
        self, tx: Tx, table: str, incoming: Incoming, key: str, attempts: int, due_ms: int, code: str, error: str
    ) -> None:
        envelope = incoming.envelope
        row = {
            "id": envelope.id,
            "organisation_id": envelope.subject.split(".")[4],
            "key": key,
            "position": envelope.sequence,
            "subject": envelope.subject,
            "headers": incoming.headers,
            "body": incoming.body,
            "stored_at_ms": envelope.stored_at_ms,
            "attempts": attempts,
            "due_at_ms": due_ms,
            "code": code,
            "error": logging.masker.mask(error)[:2000],
        }
        await tx.upsert(tx.database.metadata.tables[table], row, ["id"])

    async def take(self, tx: Tx, row: sa.Row[Any]) -> bool:
        """Take a parked message out; False when another instance did."""
        parked = tx.database.metadata.tables["parked"]
        return (await tx.execute(parked.delete().where(parked.c.id == row.id))).rowcount == 1

    # -- beside the loop -----------------------------------------------------------------------------------------------
    async def due(self) -> Sequence[sa.Row[Any]]:
        """Parked messages whose time has come, the oldest of each key; empty without a question when there can be none."""
        clock = self.database.clock
        if self.database.is_postgresql and clock.monotonic() - self._looked_at > LOOK_ANYWAY_SECONDS:
            self.may_hold = True
        if not self.may_hold:
            return []
        parked = self.database.metadata.tables["parked"]
        earlier = parked.alias("earlier")
        now_ms, self._looked_at = clock.now_ms(), clock.monotonic()
        self.may_hold = False  # unless a message is parked while we look
        async with self.database.read() as tx:
            held = bool(await tx.scalar(sa.select(sa.func.count()).select_from(parked)))
            self.may_hold = self.may_hold or held
            return await tx.all(
                sa.select(parked)
                .where(
                    # What is due later than any delay was set aside before the clock was set back.
                    sa.or_(parked.c.due_at_ms <= now_ms, parked.c.due_at_ms > now_ms + LONGEST_DELAY_MS),
                    sa.or_(
                        parked.c.key == "",
                        ~sa.exists().where(earlier.c.key == parked.c.key, earlier.c.position < parked.c.position),
                    ),
                )
                .order_by(parked.c.position)
                .limit(AT_ONCE)
            )

    async def replay(self, letter: str) -> bool:
        """Put a dead letter back among the parked, due now. False when there is none of this id."""
        tables = self.database.metadata.tables
        async with self.database.write() as tx:
            row = await tx.one(sa.select(tables["dead_letter"]).where(tables["dead_letter"].c.id == letter))
            if row is None:
                return False
            await tx.execute(tables["dead_letter"].delete().where(tables["dead_letter"].c.id == letter))
            await tx.upsert(tables["parked"], {**row._mapping, "attempts": 0, "due_at_ms": 0}, ["id"])
            tx.after_commit(self.look_again)
        return True

    async def dismiss(self, letter: str) -> bool:
        """Let a dead letter be: its row goes. False when there is none of this id."""
        table = self.database.metadata.tables["dead_letter"]
        async with self.database.write() as tx:
            gone = await tx.execute(table.delete().where(table.c.id == letter))
        if gone.rowcount:
            self._log.warning("a dead letter was dismissed", letter=letter)
        return gone.rowcount == 1

    async def counts(self) -> dict[str, int]:
        """How many messages are parked and how many are dead letters: {"parked", "dead_letter"}."""
        tables = self.database.metadata.tables
        async with self.database.read() as tx:
            return {
                name: await tx.scalar(sa.select(sa.func.count()).select_from(tables[name])) or 0
                for name in ("parked", "dead_letter")
            }


def _delay(attempts: int) -> float:
    """Seconds until the next try: 0.5, 1, 2 ... 60, with jitter so that many do not come back at once."""
    return min(60.0, 0.5 * 2.0 ** max(attempts - 1, 0)) * random.uniform(0.8, 1.2) if attempts else 0.0
