"""The relay: publishes a database's outbox in order and marks a row sent only after the server has it.

A few rows go one after another, each when the one before it is stored; many go as one atomic batch.

At least once with an id each; the server's duplicate window and every receiver's inbox make it once. Rows are chosen by
`sent = false`, never by a remembered number (on PostgreSQL the order of numbers is not the order of commits).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import sqlalchemy as sa

from shared import ids, logging, plain, tracing
from shared.bus import Bus
from shared.context import Context, current
from shared.database import Database
from shared.errors import Broken, KiopsError, Unavailable
from shared.faults import point
from shared.lease import Lease

BATCH = 200
# nats-server makes a store of its own for each atomic batch, with files that it waits for: 4 ms and 2 ms of processor, as much
# as six messages that wait for each other.
ATOMIC_FROM = 7
DUPLICATE_IN_BATCH = 10201  # nats-server: an id of the batch is stored already, so the whole batch was refused
STRANGE = ("bus.stream_changed", "bus.position_beyond", "bus.stream_missing")
"""Codes of a stream that is not the known one."""
ASK_AGAIN_SECONDS = 5.0
KEEP_SENT_MS = 24 * 3600 * 1000


class Relay:
    """One database's relay. `serve()` runs until it is cancelled."""

    def __init__(self, database: Database, bus: Bus, lease: Lease, known: Callable[[], Awaitable[bool]] | None = None) -> None:
        self.database, self.bus, self.lease, self.known = database, bus, lease, known
        self._known_on = -1
        self._asked_on, self._ask_again_at = -1, 0.0
        self.trouble = self.trouble_code = ""
        self.log = logging.get(database.name)
        self.published = 0
        self._spans: dict[str, tracing.Span] = {}
        outbox = database.outbox
        self._waiting = sa.select(outbox).where(outbox.c.sent.is_(False)).order_by(outbox.c.position).limit(BATCH)

    async def serve(self) -> None:
        swept = 0.0
        while True:
            self.database.outbox_wake.clear()
            wait = 1.0
            try:
                async with self.lease.held():
                    await self._check_stream()
                    while rows := await self._unsent():
                        await self._publish(rows)
                        if len(rows) < BATCH and not self.database.outbox_wake.is_set():
                            break  # nothing was committed since it was read
                        self.database.outbox_wake.clear()
                    if self.database.clock.monotonic() - swept > 3600:
                        swept = self.database.clock.monotonic()
                        await self._forget_sent()
            except Unavailable as error:
                self.log.warning("the outbox waits", error=str(error))
                wait = 0.2
            except KiopsError as error:
                self.log.error("the outbox is held up", error=str(error), code=error.code)
                if error.code in STRANGE:
                    self.trouble_code, self.trouble = error.code, f"{error.message}. {error.advice}"
            except Exception:
                # Whatever it was: the rows are there, and a relay that has ended would publish nothing for ever.
                self.log.exception("the relay broke and begins again")
            # Not wait_for: on Python 3.11 it swallows a cancel that comes with the wake-up, and a stop would wait for ever.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self.database.outbox_wake.wait()

    async def _check_stream(self) -> None:
        """Once for each connection: nothing is published on a stream that is not ours, or it would be lost with it.

        While another service that could know better does not answer, it is asked again now and then.
        """
        if self.known is None or self._known_on == self.bus.connections:
            return
        connection, now = self.bus.connections, self.database.clock.monotonic()
        if self._asked_on == connection and now < self._ask_again_at:
            return
        if await self.known():
            self._known_on = connection
        self._asked_on, self._ask_again_at = connection, now + ASK_AGAIN_SECONDS
        self.trouble = self.trouble_code = ""

    async def unsent(self) -> int:
        """How many rows wait."""
        outbox = self.database.outbox
        async with self.database.read() as tx:
            return await tx.scalar(sa.select(sa.func.count()).where(outbox.c.sent.is_(False))) or 0

    async def waiting(self) -> tuple[int, float]:
        """How many rows wait, and the age of the oldest in seconds."""
        outbox = self.database.outbox
        query = sa.select(sa.func.count(), sa.func.min(outbox.c.created_at_ms)).where(outbox.c.sent.is_(False))
        async with self.database.read() as tx:
            row = await tx.one(query)
        number, oldest = row if row is not None else (0, None)
        return number, max(0.0, (self.database.clock.now_ms() - oldest) / 1000) if oldest is not None else 0.0

    async def _unsent(self) -> Sequence[sa.Row[Any]]:
        async with self.database.read() as tx:
            return await tx.all(self._waiting)

    async def _publish(self, rows: Sequence[sa.Row[Any]]) -> None:
        point("relay.read")
        spans = self._spans = {row.id: self._span(row, len(rows)) for row in rows} if tracing.on() else {}
        try:
            if len(rows) < ATOMIC_FROM or not await self._publish_batch(rows):
                for number, row in enumerate(rows):
                    if number:
                        point("relay.begun")
                    await self._publish_one(row)
        except BaseException as error:
            for span in spans.values():
                span.end(error)
            raise
        for span in spans.values():
            span.end()
        self.published += len(rows)
        point("relay.published")
        # A mark that is lost sends the row once more, under the id that it had.
        async with self.database.write(durable=False) as tx:
            await self.lease.check(tx)
            if self.database.is_postgresql:
                done = "update outbox set sent = true where position = any($1::bigint[]) returning position"
                await plain.rows(tx, done, [[row.position for row in rows]])
            else:
                await plain.many(tx, "update outbox set sent = 1 where position = ?", [(row.position,) for row in rows])
        point("relay.marked")

    async def _publish_batch(self, rows: Sequence[sa.Row[Any]]) -> bool:
        """True when the server stored all of them; False when some were there already and each must go by itself."""
        batch = ids.uuid7()
        for number, row in enumerate(rows, 1):
            headers = self._headers(row) | {"Nats-Batch-Id": batch, "Nats-Batch-Sequence": str(number)}
            if number == len(rows):
                headers["Nats-Batch-Commit"] = "1"
            if number in (1, len(rows)):
                if number > 1:
                    point("relay.begun")
                reply = await self.bus.request(row.subject, row.body.encode(), headers=headers)
                answer = json.loads(reply.data or b"{}")
                if "error" in answer:
                    if answer["error"].get("err_code") == DUPLICATE_IN_BATCH:
                        return False
                    raise Unavailable("bus.batch", f"the bus refused a batch: {answer['error'].get('description')}")
            else:
                await self.bus.client.publish(row.subject, row.body.encode(), headers=headers)
        return True

    async def _publish_one(self, row: sa.Row[Any]) -> None:
        reply = await self.bus.request(row.subject, row.body.encode(), headers=self._headers(row))
        answer = json.loads(reply.data)
        if "error" in answer:
            raise Unavailable("bus.publish", f"the bus refused {row.subject}: {answer['error'].get('description')}")
        if "stream" not in answer:
            raise Broken("bus.no_stream", f"no stream keeps {row.subject}")

    async def _forget_sent(self) -> None:
        outbox = self.database.outbox
        async with self.database.write() as tx:
            await tx.execute(
                outbox.delete().where(outbox.c.sent.is_(True), outbox.c.created_at_ms < self.database.clock.now_ms() - KEEP_SENT_MS)
            )

    def _headers(self, row: sa.Row[Any]) -> dict[str, str]:
        """The message's headers; while spans are collected, who handles it continues from the span that sent it."""
        from urllib.parse import quote

        headers = {
            name: quote(value, safe="-._~/:+ ") if name.startswith("ce-") else value for name, value in row.headers.items() if value
        }
        if span := self._spans.get(row.id):
            headers["traceparent"] = span.traceparent
        return headers | {"Nats-Msg-Id": row.id}

    def _span(self, row: sa.Row[Any], together: int) -> tracing.Span:
        headers = row.headers
        about = {
            "messaging.system": "nats",
            "messaging.operation.name": "publish",
            "messaging.operation.type": "send",
            "messaging.destination.name": row.subject,
            "messaging.destination.template": headers.get("ce-type", ""),
            "messaging.message.id": row.id,
            "messaging.message.conversation_id": headers.get("ce-correlationid", ""),
            "messaging.message.body.size": len(row.body.encode()),
            "messaging.batch.message_count": together,
            "kiops.run.id": headers.get("ce-correlationid", ""),
            "kiops.outbox.waited_ms": max(0, self.database.clock.now_ms() - row.created_at_ms),
        }
        name = ".".join(row.subject.split(".")[2:4])
        mark = current.set(Context(service=self.database.name))
        try:
            return tracing.begin(f"publish {name}", about, kind="producer", parent=headers.get("traceparent", ""))
        finally:
            current.reset(mark)
