"""What every service answers about its own messages: how it stands, dead letters, a stream that was made anew."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from shared import logging, resealing
from shared.database import Database
from shared.errors import Rejected, Unavailable
from shared.queries.every import (
    AcceptStream,
    AskReached,
    AskStanding,
    DeadLetter,
    DeadLetters,
    ListDeadLetters,
    Reached,
    RenewSealing,
    SealingRenewed,
    Settled,
    SettleDeadLetter,
    Standing,
    StreamAccepted,
)
from shared.stream import accept_stream
from shared.subscribers import Answers

if TYPE_CHECKING:
    from shared.hosting import Running
    from shared.inbox import Loop

MOST = 200
LONGEST_BODY = 64 * 1024


def answers(running: Running) -> Answers:
    """The service's own answers and those that every service has."""
    to = Answers(dict(running.service.answers.table))

    def loop() -> Loop:
        if running.loop is None:
            raise Unavailable("service.starting", f"{running.service.name} is starting", "Try again in a second.")
        return running.loop

    @to(AskStanding)
    async def standing(query: AskStanding) -> Standing:
        here = loop()
        counts = await here.aside.counts()
        code, text = running.strange_stream()
        return Standing(
            dead_letters=counts["dead_letter"],
            parked=counts["parked"],
            position=here.position,
            stream=text,
            stream_code=code,
        )

    @to(AskReached)
    async def reached(query: AskReached) -> Reached:
        service = running.service
        table = (service.loop_database or service.database).metadata.tables.get("stream_position")
        if table is None:
            return Reached()
        async with (service.loop_database or service.database).read() as tx:
            row = await tx.one(sa.select(table).where(table.c.durable == service.name))
        return Reached(stream_created=row.stream_created, position=row.position) if row else Reached()

    @to(RenewSealing)
    async def renewed(query: RenewSealing) -> SealingRenewed:
        return await resealing.renew(running)

    @to(ListDeadLetters)
    async def listed(query: ListDeadLetters) -> DeadLetters:
        return await dead_letters(loop().database, query.letter, min(query.limit, MOST))

    @to(SettleDeadLetter)
    async def settled(query: SettleDeadLetter) -> Settled:
        aside = loop().aside
        if query.verb not in ("replay", "dismiss"):
            raise Rejected("dead-letter.verb", f"nothing can be done by {query.verb[:40]!r}", "replay or dismiss")
        done = await (aside.replay if query.verb == "replay" else aside.dismiss)(query.letter)
        return Settled(done=done)

    @to(AcceptStream)
    async def accepted(query: AcceptStream) -> StreamAccepted:
        reads, owns = loop().database, running.service.database
        try:
            again = await accept_stream(loop().service, reads, loop().bus)
        except Rejected:
            if not query.cut:
                raise
            again = await say_again(reads) if "outbox" in reads.metadata.tables else 0
        if owns is not reads:
            again += await say_again(owns)
        logging.get(running.service.name).warning("the stream was accepted as it is", published_again=again)
        return StreamAccepted(again=again)

    return to


async def dead_letters(database: Database, letter: str, limit: int) -> DeadLetters:
    """The oldest of them, or one with all it has."""
    table = database.metadata.tables["dead_letter"]
    async with database.read() as tx:
        total = await tx.scalar(sa.select(sa.func.count()).select_from(table)) or 0
        found = sa.select(table).order_by(table.c.position).limit(limit)
        rows = await tx.all(found.where(table.c.id == letter) if letter else found)
    return DeadLetters(rows=[_letter(row, whole=bool(letter)) for row in rows], total=total)


def _letter(row: sa.Row[Any], *, whole: bool) -> DeadLetter:
    more = {"headers": row.headers, "body": logging.masker.mask(row.body[:LONGEST_BODY])} if whole else {}
    return DeadLetter(
        id=row.id,
        type=".".join(row.subject.split(".")[2:4]),
        subject=row.subject,
        position=row.position,
        run=row.headers.get("ce-correlationid", ""),
        key=row.key,
        attempts=row.attempts,
        code=row.code,
        error=logging.masker.mask(row.error),
        stored_at_ms=row.stored_at_ms,
        given_up_at_ms=row.due_at_ms,
        **more,
    )


async def say_again(database: Database) -> int:
    """Have the relay publish once more what it still has: who has heard it passes over it. Returns how many."""
    outbox = database.outbox
    async with database.write() as tx:
        done = await tx.execute(outbox.update().where(outbox.c.sent.is_(True)).values(sent=False))
        tx.after_commit(database.outbox_wake.set)
    return done.rowcount
