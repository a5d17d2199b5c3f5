"""Which stream a database's position is of: told when it is another one, taken for what it is when a person says so."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from shared.bus import EVENTS, Bus
from shared.database import Database
from shared.errors import Broken, Rejected

KEEP_IDS = 500_000
"""So many positions of the stream back ids of messages are kept, by which one that comes again is known."""
STREAM_NOT_FOUND = 10059  # nats-server's error code


async def stream_now(bus: Bus) -> tuple[str, int]:
    """(when the stream was made, its last sequence). Raises Broken `bus.stream_missing` when there is none."""
    try:
        stream = await bus.api_call(f"STREAM.INFO.{EVENTS}")
    except Broken as error:
        if error.detail.get("err_code") != STREAM_NOT_FOUND:
            raise
        raise Broken(
            "bus.stream_missing", "nats-server has no stream: its store is empty", "Restore bus/store, or run `kiops migrate`"
        ) from error
    return stream["created"], stream["state"]["last_seq"]


def same_stream(service: str, row: sa.Row[Any], created: str, last: int) -> None:
    """Raise Broken unless the stream is the one that this position (a row of stream_position) is of."""
    if row.stream_created != created:
        raise Broken(
            "bus.stream_changed",
            f"the stream is not the one this database knows: {service} stands at {row.position} of another one",
            "Restore bus/store and the databases of one time; if the old stream is lost, `kiops stream accept`",
        )
    if row.position > last:
        raise Broken(
            "bus.position_beyond",
            f"the stream is shorter than this database knows: {service} stands at {row.position}, it ends at {last}",
            "Restore bus/store and the databases of one time; if the old stream is lost, `kiops stream accept`",
        )


async def check_stream(service: str, database: Database, bus: Bus) -> None:
    """Raise Broken when the stream is not the one that this database's position is of."""
    created, last = await stream_now(bus)
    positions = database.metadata.tables["stream_position"]
    async with database.read() as tx:
        row = await tx.one(sa.select(positions).where(positions.c.durable == service))
    if row is not None:
        same_stream(service, row, created, last)


async def accept_stream(service: str, database: Database, bus: Bus) -> int:
    """Take the stream for what it is now: read it from its beginning (what was heard before is passed over by its id), and
    publish once more what the outbox still has. Returns how many messages that are.

    Raises Rejected `bus.stream_same` when the stream is the one this database knows.
    """
    created, last = await stream_now(bus)
    tables = database.metadata.tables
    positions, parked = tables["stream_position"], tables["parked"]
    again = 0
    async with database.write() as tx:
        row = await tx.one(sa.select(positions).where(positions.c.durable == service))
        if row is None or (row.stream_created == created and row.position <= last):
            raise Rejected("bus.stream_same", f"{service} reads this stream already", "There is nothing to accept.")
        # Of the same stream, cut short, all that was left was heard, but not what was published since by a service that did not
        # know: as far back as ids are kept, it is read again.
        position = min(last, max(0, row.position - KEEP_IDS)) if row.stream_created == created else 0
        await tx.execute(positions.update().where(positions.c.durable == service).values(stream_created=created, position=position))
        # What is parked came before everything that is on this stream.
        await tx.execute(parked.update().values(position=parked.c.position - row.position - 1))
        if "outbox" in tables:
            done = await tx.execute(tables["outbox"].update().where(tables["outbox"].c.sent.is_(True)).values(sent=False))
            again = done.rowcount
        tx.after_commit(database.outbox_wake.set)
    return again
