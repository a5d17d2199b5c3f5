"""The loop: reads a service's facts and orders, in stream order, each once.

One durable pull consumer; the position is the service's own, moved on in the transaction that holds the handlers' writes, and the
durable is reset to it at every bind. A message that cannot be handled now is parked with its key, later ones of that key queue
behind it, everything else flows. What fails too often is a dead letter: kept, shown, replayable.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from shared import logging, tracing
from shared.bus import EVENTS, Bus
from shared.context import Context, current
from shared.database import Database, Tx
from shared.errors import Broken, KiopsError, LeaseLost, Rejected, Unavailable
from shared.faults import point
from shared.lease import Lease
from shared.subscribers import Envelope, Subscribers

BATCH = 200
PULL = 500
PULL_SECONDS = 20
HEARTBEAT_SECONDS = 5
RENEW_AFTER_PULLS = 500  # the server remembers pulls as long as the reply's subscription lives
MAX_TRIES = 12
KEEP_IDS = 500_000  # stream positions


@dataclass(frozen=True, slots=True)
class Incoming:
    """A message as it came, before its contract is looked at."""

    envelope: Envelope
    headers: dict[str, str]
    body: str


class Loop:
    """One service's reader. `serve()` runs until it is cancelled."""

    def __init__(self, service: str, database: Database, bus: Bus, subscribers: Subscribers, lease: Lease) -> None:
        self.service, self.database, self.bus, self.subscribers, self.lease = service, database, bus, subscribers, lease
        self.log = logging.get(service)
        self.position = 0
        self.bound = False
        self.trouble = ""
        self.turned_at = database.clock.monotonic()
        self.handled = 0
        self.seen: dict[str, list[Any]] = {}  # noun.verb -> [tries, seconds]
        self.on_batch: Callable[[list[Incoming]], object] = lambda batch: None
        self.gather_ms: Mapping[str, int] = {}
        self._stream = ""
        # Asking a database twice a second whether something is parked costs more than remembering that nothing is.
        self._may_be_parked = True
        positions = database.metadata.tables["stream_position"]
        self._move_statement = lease.fenced(
            positions.update()
            .where(positions.c.durable == sa.bindparam("reader"))
            .values(position=sa.bindparam("reached", type_=sa.BigInteger))
        )

    # -- life --------------------------------------------------------------------------------------------------------
    async def serve(self) -> None:
        wait = 0.2
        while True:
            try:
                async with self.lease.held():
                    await self._read()
                wait = 0.2
            except (TimeoutError, Unavailable, OSError) as error:
                self.bound, self.trouble = False, str(error)
                self.log.warning("reading is interrupted", error=str(error))
            except Broken as error:
                self.bound, self.trouble = False, str(error)
                self.log.error("reading is held up", error=str(error), code=error.code)
                wait = 2.0
            except asyncio.CancelledError:
                raise
            except Exception as error:
                self.bound, self.trouble = False, f"{type(error).__name__}: {error}"
                self.log.exception("the loop broke and begins again")
            await asyncio.sleep(wait)
            wait = min(wait * 2, 2.0)

    async def retry_parked(self) -> None:
        """Handle parked messages when they are due. Runs beside the loop."""
        while True:
            try:
                await self.run_parked()
            except Exception as error:
                self.log.warning("parked messages wait", error=str(error))
            await asyncio.sleep(0.5)

    # -- reading -----------------------------------------------------------------------------------------------------
    async def _bind(self) -> None:
        stream = await self.bus.api_call(f"STREAM.INFO.{EVENTS}")
        created, last = stream["created"], stream["state"]["last_seq"]
        positions = self.database.metadata.tables["stream_position"]
        async with self.database.write() as tx:
            row = await tx.one(sa.select(positions).where(positions.c.durable == self.service))
            if row is None:
                await tx.insert_new(
                    positions,
                    {"durable": self.service, "organisation_id": "_", "stream_created": created, "position": 0},
                )
            self.position = row.position if row else 0
        if row and row.stream_created != created:
            raise Broken(
                "bus.stream_changed",
                f"{self.service} stands at {row.position} of a stream that is not this one",
                "The stream was made anew: restore it, or rebuild this service's position.",
            )
        if self.position > last:
            raise Broken(
                "bus.position_beyond",
                f"{self.service} stands at {self.position} but the stream ends at {last}",
                "Restore the stream.",
            )
        self._stream = created
        self._may_be_parked = True  # by the instance that read before us
        # A durable that is gone is shown, not made again: only the bootstrap makes them.
        await self.bus.api_call(f"CONSUMER.RESET.{EVENTS}.{self.service}", {"seq": self.position + 1})
        self.bound, self.trouble = True, ""

    async def _read(self) -> None:
        await self._bind()
        client = self.bus.client
        inbox = client.new_inbox()
        subscription = await client.subscribe(inbox, pending_msgs_limit=-1, pending_bytes_limit=-1)
        await client.flush(timeout=5)
        await client.flush(timeout=5)
        pulls, wanted, expected = 0, 0, 1
        connection = self.bus.connections
        heard = self.database.clock.monotonic()
        queue: asyncio.Queue[Any] = subscription._pending_queue
        me = asyncio.current_task()
        try:
            while True:
                # next_msg waits by wait_for, which on Python 3.11 swallows a cancel that comes together with a message.
                if me and me.cancelling():
                    raise asyncio.CancelledError
                if wanted <= PULL // 4:
                    if pulls >= RENEW_AFTER_PULLS:
                        return
                    pulls += 1
                    wanted += PULL
                    body = {
                        "batch": PULL,
                        "expires": PULL_SECONDS * 1_000_000_000,
                        "idle_heartbeat": HEARTBEAT_SECONDS * 1_000_000_000,
                    }
                    await client.publish(
                        f"{self.bus.api}.CONSUMER.MSG.NEXT.{EVENTS}.{self.service}",
                        json.dumps(body).encode(),
                        reply=inbox,
                    )
                from nats import errors

                try:
                    first = await subscription.next_msg(timeout=1)
                except (TimeoutError, errors.TimeoutError):
                    self._turned()
                    if self.bus.connections != connection:
                        raise Unavailable("bus.away", "the connection to nats-server was lost") from None
                    if self.database.clock.monotonic() - heard > 2.5 * HEARTBEAT_SECONDS:
                        raise Unavailable("bus.silent", "no heartbeat from nats-server") from None
                    continue
                heard = self.database.clock.monotonic()
                self._turned()
                if self.gather_ms and queue.empty():
                    # Who need not be first lets others go on, and then handles what has gathered at once.
                    name = ".".join(first.subject.split(".")[2:4])
                    await asyncio.sleep(self.gather_ms.get(name, self.gather_ms.get("*", 0)) / 1000)
                taken = [first]
                while len(taken) < BATCH and not queue.empty():
                    taken.append(await subscription.next_msg(timeout=1))
                batch: list[Incoming] = []
                raws = []
                for raw in taken:
                    headers = dict(raw.headers or {})
                    if headers.get("Status"):
                        # 100 is a heartbeat; 404, 408, 409 end a pull: ask again.
                        if headers["Status"] != "100":
                            wanted = 0
                        continue
                    wanted -= 1
                    at = raw.metadata
                    if at.sequence.consumer != expected:
                        raise Unavailable("bus.gap", f"expected delivery {expected}, got {at.sequence.consumer}")
                    expected += 1
                    raws.append(raw)
                    if at.sequence.stream <= self.position:
                        continue
                    stored_ms = int(at.timestamp.timestamp() * 1000)
                    batch.append(
                        Incoming(
                            Envelope.read(headers, raw.subject, at.sequence.stream, stored_ms),
                            headers,
                            raw.data.decode("utf-8", "replace"),
                        )
                    )
                if batch:
                    point("loop.taken")
                    await self.take(batch)
                    point("loop.committed")
                for raw in raws:
                    await raw.ack()
                if raws:
                    point("loop.acked")
        finally:
            self.bound = False
            with contextlib.suppress(Exception):
                await subscription.unsubscribe()

    def _turned(self) -> None:
        self.turned_at = self.database.clock.monotonic()

    # -- handling ----------------------------------------------------------------------------------------------------
    async def take(self, batch: Sequence[Incoming]) -> None:
        """Handle a batch: one transaction for all of it; when one fails, one for each, and the one that fails is parked."""
        try:
            async with self.database.write() as tx:
                for incoming in batch:
                    await self._handle(tx, incoming)
                point("loop.handled")
                await self._move(tx, batch[-1].envelope.sequence)
        except (LeaseLost, Unavailable) as error:
            if error.code in ("lease.lost", "database.away"):
                raise
            await self._one_by_one(batch)
        except Exception:
            await self._one_by_one(batch)
        self.position = batch[-1].envelope.sequence
        self.handled += len(batch)
        self.on_batch(list(batch))

    async def _one_by_one(self, batch: Sequence[Incoming]) -> None:
        for incoming in batch:
            try:
                async with self.database.write() as tx:
                    await self._handle(tx, incoming)
                    await self._move(tx, incoming.envelope.sequence)
            except Exception as error:
                if isinstance(error, KiopsError) and error.code in ("lease.lost", "database.away"):
                    raise
                await self._set_aside(incoming, error)

    async def _handle(self, tx: Tx, incoming: Incoming) -> None:
        envelope = incoming.envelope
        entry = self.subscribers.table.get(".".join(envelope.subject.split(".")[:4]))
        if entry is None:
            return
        cls, handler, key_of = entry
        organisation = envelope.subject.split(".")[4]
        inbox = tx.database.metadata.tables["inbox"]
        if not await tx.insert_new(inbox, {"id": envelope.id, "organisation_id": organisation, "position": envelope.sequence}):
            return
        message = cls.model_validate_json(incoming.body)
        key = key_of(message)
        if key and await self._key_waits(tx, key, envelope.sequence):
            await self._park(tx, "parked", incoming, key, attempts=0, code="behind", error="waits behind an earlier one of its key")
            return
        await self._call(tx, handler, message, envelope)

    async def _call(self, tx: Tx, handler: Any, message: Any, envelope: Envelope) -> None:
        before = current.set(
            Context(
                correlation=envelope.correlation,
                causation=envelope.id,
                traceparent=envelope.traceparent,
                organisation=message.organisation,
            )
        )
        began = time.perf_counter()
        try:
            with tracing.span(f"handle {message.name}"):
                await handler(tx, message, envelope)
        finally:
            current.reset(before)
            seen = self.seen.setdefault(message.name, [0, 0.0])
            seen[0] += 1
            seen[1] += time.perf_counter() - began

    async def _move(self, tx: Tx, sequence: int) -> None:
        moved = await tx.execute(self._move_statement, {"reader": self.service, "reached": sequence, **self.lease.fence()})
        if moved.rowcount != 1:
            raise self.lease.lost()
        if sequence // 10_000 != self.position // 10_000:
            inbox = tx.database.metadata.tables["inbox"]
            await tx.execute(inbox.delete().where(inbox.c.position < sequence - KEEP_IDS))

    async def _set_aside(self, incoming: Incoming, error: Exception) -> None:
        """The message failed by itself: record it as rejected, or park it for a retry, and move the position on."""
        envelope = incoming.envelope
        organisation = envelope.subject.split(".")[4]
        entry = self.subscribers.table[".".join(envelope.subject.split(".")[:4])]
        key = ""
        code, text = _told(error)
        malformed = isinstance(error, ValueError) and not isinstance(error, KiopsError)
        if not malformed:
            with contextlib.suppress(ValueError):
                key = entry[2](entry[0].model_validate_json(incoming.body))
        async with self.database.write() as tx:
            inbox = tx.database.metadata.tables["inbox"]
            await tx.insert_new(inbox, {"id": envelope.id, "organisation_id": organisation, "position": envelope.sequence})
            if isinstance(error, Rejected) or malformed:
                self.log.warning("a message was passed over", subject=envelope.subject, code=code, error=text)
                await self._park(tx, "dead_letter", incoming, key, attempts=1, code=code, error=text)
            else:
                self.log.warning("a message is parked", subject=envelope.subject, code=code, error=text)
                await self._park(tx, "parked", incoming, key, attempts=1, code=code, error=text)
            await self._move(tx, envelope.sequence)

    async def _park(self, tx: Tx, table: str, incoming: Incoming, key: str, *, attempts: int, code: str, error: str) -> None:
        envelope = incoming.envelope
        self._may_be_parked = True
        await tx.upsert(
            tx.database.metadata.tables[table],
            {
                "id": envelope.id,
                "organisation_id": envelope.subject.split(".")[4],
                "key": key,
                "position": envelope.sequence,
                "subject": envelope.subject,
                "headers": incoming.headers,
                "body": incoming.body,
                "stored_at_ms": envelope.stored_at_ms,
                "attempts": attempts,
                "due_at_ms": self.database.clock.now_ms() + int(_delay(attempts) * 1000),
                "code": code,
                "error": error[:2000],
            },
            ["id"],
        )

    async def _key_waits(self, tx: Tx, key: str, sequence: int) -> bool:
        if not self._may_be_parked:
            return False
        parked = tx.database.metadata.tables["parked"]
        found = await tx.scalar(sa.select(sa.func.count()).where(parked.c.key == key, parked.c.position < sequence))
        return bool(found)

    async def run_parked(self) -> int:
        """Try the parked messages whose time has come, oldest of each key first. Returns how many were settled."""
        if not self._may_be_parked or not self.lease.ours:
            return 0
        parked = self.database.metadata.tables["parked"]
        earlier = parked.alias("earlier")
        self._may_be_parked = False
        async with self.database.read() as tx:
            self._may_be_parked = self._may_be_parked or bool(await tx.scalar(sa.select(sa.func.count()).select_from(parked)))
            rows = await tx.all(
                sa.select(parked)
                .where(
                    parked.c.due_at_ms <= self.database.clock.now_ms(),
                    sa.or_(
                        parked.c.key == "",
                        ~sa.exists().where(earlier.c.key == parked.c.key, earlier.c.position < parked.c.position),
                    ),
                )
                .order_by(parked.c.position)
                .limit(100)
            )
        settled = 0
        for row in rows:
            settled += await self._retry(row)
        return settled

    async def _retry(self, row: sa.Row[Any]) -> bool:
        parked = self.database.metadata.tables["parked"]
        incoming = Incoming(Envelope.read(row.headers, row.subject, row.position, row.stored_at_ms), row.headers, row.body)
        cls, handler, _ = self.subscribers.table[".".join(row.subject.split(".")[:4])]
        try:
            async with self.database.write() as tx:
                await self.lease.check(tx)
                gone = await tx.execute(parked.delete().where(parked.c.id == row.id))
                if gone.rowcount == 1:
                    await self._call(tx, handler, cls.model_validate_json(row.body), incoming.envelope)
            return True
        except Exception as error:
            if isinstance(error, KiopsError) and error.code in ("lease.lost", "database.away"):
                raise
            code, text = _told(error)
            attempts = row.attempts + 1
            async with self.database.write() as tx:
                if isinstance(error, Rejected) or attempts >= MAX_TRIES:
                    self.log.error("a message is a dead letter", subject=row.subject, code=code, error=text)
                    await tx.execute(parked.delete().where(parked.c.id == row.id))
                    await self._park(tx, "dead_letter", incoming, row.key, attempts=attempts, code=code, error=text)
                    return True
                await self._park(tx, "parked", incoming, row.key, attempts=attempts, code=code, error=text)
            return False

    async def replay_dead_letter(self, letter: str) -> bool:
        """Put a dead letter back among the parked, due now. False when there is none of this id."""
        tables = self.database.metadata.tables
        async with self.database.write() as tx:
            row = await tx.one(sa.select(tables["dead_letter"]).where(tables["dead_letter"].c.id == letter))
            if row is None:
                return False
            await tx.execute(tables["dead_letter"].delete().where(tables["dead_letter"].c.id == letter))
            await tx.upsert(tables["parked"], {**row._mapping, "attempts": 0, "due_at_ms": 0}, ["id"])
            self._may_be_parked = True
        return True

    async def counts(self) -> dict[str, int]:
        """How many messages are parked and how many are dead letters."""
        tables = self.database.metadata.tables
        async with self.database.read() as tx:
            return {
                name: await tx.scalar(sa.select(sa.func.count()).select_from(tables[name])) or 0
                for name in ("parked", "dead_letter")
            }


def _delay(attempts: int) -> float:
    """Seconds until the next try: 0.5, 1, 2 ... 60, with jitter so that many do not come back at once."""
    return min(60.0, 0.5 * 2.0 ** max(attempts - 1, 0)) * random.uniform(0.8, 1.2) if attempts else 0.0


def _told(error: Exception) -> tuple[str, str]:
    if isinstance(error, KiopsError):
        return error.code, error.message
    return "message.malformed" if isinstance(error, ValueError) else "message.broken", f"{type(error).__name__}: {error}"
