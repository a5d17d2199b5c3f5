"""The loop: reads a service's facts and orders, in stream order, each once.

One durable pull consumer; the position is the service's own, moved on in the transaction that holds the handlers' writes, and the
durable is reset to it at every bind. A message that cannot be handled now is parked with its key, later ones of that key queue
behind it, everything else flows. What fails too often is a dead letter: kept, shown, replayable.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from pydantic import ValidationError

from shared import logging, plain, tracing
from shared.aside import Aside
from shared.bus import EVENTS, Bus
from shared.context import Context, current
from shared.database import Database, Tx, is_away
from shared.errors import Broken, KiopsError, LeaseLost, Rejected, Unavailable
from shared.faults import point
from shared.lease import Lease
from shared.metrics import Durations
from shared.stream import KEEP_IDS, same_stream, stream_now
from shared.subscribers import Envelope, Subscribers
from shared.turns import turns

BATCH = 200
PULL = 500
PULL_SECONDS = 20
HEARTBEAT_SECONDS = 5
RENEW_AFTER_PULLS = 500  # the server remembers pulls as long as the reply's subscription lives
MAX_TRIES = 12


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
        self.aside = Aside(database, self.log)
        self.position = 0
        self.bound = False
        self.trouble = self.trouble_code = ""
        self.turned_at = database.clock.monotonic()
        self.handled = 0
        self.seen: dict[str, Durations] = {}  # by noun.verb: tries and what they took
        self.failed: dict[str, int] = {}  # noun.verb -> tries that failed
        self._caught_up_ms = self._handled_to_ms = database.clock.now_ms()
        self.on_batch: Callable[[list[Incoming]], object] = lambda batch: None
        self.tell_others: Callable[[Tx, Sequence[Incoming]], Awaitable[None]] | None = None
        self.gather_ms: Mapping[str, int] = {}
        self.watched = True
        self._stream = ""
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
                # It ended in peace: the connection was replaced, or the subscription has to be a fresh one.
                wait = 0.01
            except (TimeoutError, Unavailable, OSError) as error:
                self._troubled(error)
                self.log.warning("reading is interrupted", error=str(error))
            except Broken as error:
                self._troubled(error)
                self.log.error("reading is held up", error=str(error), code=error.code)
                wait = 2.0
            except asyncio.CancelledError:
                raise
            except Exception as error:
                self._troubled(error)
                self.log.exception("the loop broke and begins again")
            await asyncio.sleep(wait)
            wait = min(wait * 2, 2.0)

    def _troubled(self, error: Exception) -> None:
        self.bound = False
        code, text = _told(error)
        advice = getattr(error, "advice", "")
        self.trouble_code, self.trouble = code, f"{text}. {advice}" if advice else text

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
        created, last = await stream_now(self.bus)
        positions = self.database.metadata.tables["stream_position"]
        async with self.database.write() as tx:
            row = await tx.one(sa.select(positions).where(positions.c.durable == self.service))
            if row is None:
                await tx.insert_new(
                    positions,
                    {"durable": self.service, "organisation_id": "_", "stream_created": created, "position": 0},
                )
            self.position = row.position if row else 0
        if row:
            same_stream(self.service, row, created, last)
        self._stream = created
        self.aside.look_again()
        # A durable that is gone is shown, not made again: only the bootstrap makes them.
        await self.bus.api_call(f"CONSUMER.RESET.{EVENTS}.{self.service}", {"seq": self.position + 1})
        self.bound, self.trouble, self.trouble_code = True, "", ""

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
                if self.bus.client is not client:
                    return  # its key was replaced; what is not acknowledged comes again over the new connection
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
                except errors.ConnectionClosedError:
                    raise Unavailable("bus.away", "the connection to nats-server was closed") from None
                except (TimeoutError, errors.TimeoutError):
                    self._turned()
                    self._caught_up_ms = self.database.clock.now_ms()
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
                    if status := headers.get("Status"):
                        # 100 is a heartbeat; 404, 408, 409 end a pull: ask again.
                        if status != "100":
                            wanted = 0
                        elif int(headers.get("Nats-Last-Consumer") or 0) >= expected:
                            # An instance that was stopped, but not ended, has pulls that are open still: it got our messages. It
                            # does not handle them, and they would come to us only when its time to acknowledge them is over.
                            raise Unavailable("bus.gap", f"delivery {expected} went to another instance")
                        continue
                    wanted -= 1
                    at = raw.metadata
                    if at.sequence.consumer != expected:
                        raise Unavailable("bus.gap", f"expected delivery {expected}, got {at.sequence.consumer}")
                    expected += 1
                    raws.append(raw)
                    if at.sequence.stream <= self.position:
                        continue
                    # Cut, not rounded by way of a float: whoever reads this message gets the same time.
                    stored_ms = int(raw.reply.split(".")[-2]) // 1_000_000
                    batch.append(
                        Incoming(
                            Envelope.read(headers, raw.subject, at.sequence.stream, stored_ms),
                            headers,
                            raw.data.decode("utf-8", "replace"),
                        )
                    )
                while batch:
                    at_once = await turns.portion(len(batch))
                    part, batch = batch[:at_once], batch[at_once:]
                    point("loop.taken")
                    await self.take(part)
                    point("loop.committed")
                    self._turned()
                if raws and raws[-1].metadata.num_pending == 0:
                    self._caught_up_ms = self.database.clock.now_ms()
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
        """Handle a batch in one transaction; when it fails, in smaller ones, until what fails is alone: that is parked."""
        try:
            async with self.database.write() as tx:
                await self._handle_all(tx, batch)
                point("loop.handled")
                await self._move(tx, batch[-1].envelope.sequence)
        except (LeaseLost, Unavailable) as error:
            if _not_its_fault(error):
                raise
            await self._one_by_one(batch)
        except Exception:
            await self._one_by_one(batch)
        self.position = batch[-1].envelope.sequence
        self.handled += len(batch)
        self._handled_to_ms = batch[-1].envelope.stored_at_ms
        self.on_batch(list(batch))

    async def _one_by_one(self, batch: Sequence[Incoming]) -> None:
        for part in _parts(batch):
            try:
                async with self.database.write() as tx:
                    await self._handle_all(tx, part)
                    await self._move(tx, part[-1].envelope.sequence)
            except Exception as error:
                if _not_its_fault(error):
                    raise
                if len(part) > 1:
                    await self._one_by_one(part)
                else:
                    self._count_failure(_name(part[0].envelope))
                    await self._set_aside(part[0], error)

    async def _handle_all(self, tx: Tx, batch: Sequence[Incoming]) -> None:
        await self._handle_each(tx, batch)
        if self.tell_others is not None:
            await self.tell_others(tx, batch)

    async def _handle_each(self, tx: Tx, batch: Sequence[Incoming]) -> None:
        heard = [each for each in batch if ".".join(each.envelope.subject.split(".")[:4]) in self.subscribers.table]
        began = time.perf_counter()
        new = await self._unseen(tx, heard)
        if self.subscribers.fold is None:
            for incoming in new:
                await self._handle(tx, incoming)
            return
        if self.aside.may_hold:
            new = [incoming for incoming in new if not await self._stands_behind(tx, incoming)]
        await self.subscribers.fold(tx, new, self._watch if self.watched else None)
        each_took = (time.perf_counter() - began) / len(batch)
        for incoming in new:
            self._count(_name(incoming.envelope), each_took)

    async def _unseen(self, tx: Tx, batch: Sequence[Incoming]) -> list[Incoming]:
        """Note the ids of a batch in one statement; those that were not there before."""
        if not batch:
            return []
        rows = [(each.envelope.id, each.envelope.subject.split(".")[4], each.envelope.sequence) for each in batch]
        if tx.database.is_postgresql:
            noted = await plain.rows(
                tx,
                "insert into inbox (id, organisation_id, position) select * from unnest($1::text[], $2::text[], $3::bigint[])"
                " on conflict do nothing returning id, position",
                [list(column) for column in zip(*rows, strict=True)],
            )
            ours = set(noted)
        else:
            insert = "insert into inbox (id, organisation_id, position) values (?, ?, ?) on conflict do nothing"
            if await plain.many(tx, insert, rows) == len(rows):
                return list(batch)
            # One that was there before was noted at another position.
            those = "select id, position from inbox where id in (select value from json_each(?))"
            ours = set(await plain.rows(tx, those, [json.dumps([row[0] for row in rows])]))
        return [each for each in batch if (each.envelope.id, each.envelope.sequence) in ours]

    async def _stands_behind(self, tx: Tx, incoming: Incoming) -> bool:
        """Whether an earlier message of its key is parked; then it is parked too."""
        cls, _, key_of = self.subscribers.table[".".join(incoming.envelope.subject.split(".")[:4])]
        key = key_of(cls.model_validate_json(incoming.body))
        return await self.aside.park_behind(tx, incoming, key)

    def _count(self, name: str, seconds: float) -> None:
        took = self.seen.get(name)
        if took is None:
            took = self.seen[name] = Durations()
        took.observe(seconds)

    def _count_failure(self, name: str) -> None:
        self.failed[name] = self.failed.get(name, 0) + 1

    def behind_seconds(self) -> float:
        """At most so long has the oldest message waited that is not handled: since the last one was stored that is, or since the
        loop had nothing to read, whichever is later."""
        return max(0.0, (self.database.clock.now_ms() - max(self._caught_up_ms, self._handled_to_ms)) / 1000)

    def _watch(self, incoming: Incoming) -> contextlib.AbstractContextManager[None]:
        """The block is what this message asks for: a span of its trace."""
        return self._in_trace(incoming.envelope)

    @contextlib.contextmanager
    def _in_trace(self, envelope: Envelope) -> Iterator[None]:
        before = current.set(
            Context(
                correlation=envelope.correlation,
                causation=envelope.id,
                traceparent=envelope.traceparent,
                organisation=envelope.subject.split(".")[4],
                service=self.service,
            )
        )
        about: dict[str, str | int | float | bool] = {
            "messaging.system": "nats",
            "messaging.operation.name": "handle",
            "messaging.operation.type": "process",
            "messaging.destination.name": envelope.subject,
            "messaging.destination.template": envelope.type,
            "messaging.consumer.group.name": self.service,
            "messaging.message.id": envelope.id,
            "messaging.message.conversation_id": envelope.correlation,
            "kiops.stream.sequence": envelope.sequence,
        }
        try:
            with tracing.span(f"handle {_name(envelope)}", about, kind="consumer", root=True):
                yield
        finally:
            current.reset(before)

    async def _handle(self, tx: Tx, incoming: Incoming) -> None:
        envelope = incoming.envelope
        cls, handler, key_of = self.subscribers.table[".".join(envelope.subject.split(".")[:4])]
        message = cls.model_validate_json(incoming.body)
        if not await self.aside.park_behind(tx, incoming, key_of(message)):
            await self._call(tx, handler, message, envelope)

    async def _call(self, tx: Tx, handler: Any, message: Any, envelope: Envelope) -> None:
        began = time.perf_counter()
        try:
            with self._in_trace(envelope):
                await handler(tx, message, envelope)
        finally:
            self._count(message.name, time.perf_counter() - began)

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
                await self.aside.bury(tx, incoming, key, attempts=1, code=code, error=text)
            else:
                self.log.warning("a message is parked", subject=envelope.subject, code=code, error=text)
                await self.aside.park(tx, incoming, key, attempts=1, code=code, error=text)
            await self._move(tx, envelope.sequence)

    # -- what was set aside ------------------------------------------------------------------------------------------
    async def run_parked(self) -> int:
        """Try the parked messages whose time has come, oldest of each key first. Returns how many were settled."""
        if not self.lease.ours:
            return 0
        return sum([await self._retry(row) for row in await self.aside.due()])

    async def _retry(self, row: sa.Row[Any]) -> bool:
        incoming = Incoming(Envelope.read(row.headers, row.subject, row.position, row.stored_at_ms), row.headers, row.body)
        cls, handler, _ = self.subscribers.table[".".join(row.subject.split(".")[:4])]
        try:
            async with self.database.write() as tx:
                await self.lease.check(tx)
                taken = await self.aside.take(tx, row)
                if taken and self.subscribers.fold is not None:
                    await self.subscribers.fold(tx, [incoming], self._watch)
                elif taken:
                    await self._call(tx, handler, cls.model_validate_json(row.body), incoming.envelope)
            return True
        except Exception as error:
            if _not_its_fault(error):
                raise
            self._count_failure(_name(incoming.envelope))
            code, text = _told(error)
            attempts = row.attempts + 1
            hopeless = isinstance(error, Rejected) or (isinstance(error, ValueError) and not isinstance(error, KiopsError))
            async with self.database.write() as tx:
                if hopeless or attempts >= MAX_TRIES:
                    self.log.error("a message is a dead letter", subject=row.subject, code=code, error=text)
                    await self.aside.take(tx, row)
                    await self.aside.bury(tx, incoming, row.key, attempts=attempts, code=code, error=text)
                    return True
                await self.aside.park(tx, incoming, row.key, attempts=attempts, code=code, error=text)
            return False


def _parts(batch: Sequence[Incoming]) -> list[Sequence[Incoming]]:
    """A batch in which something failed, in up to eight: what fails is found without a transaction for each of the others."""
    size = -(-len(batch) // 8)
    return [batch[start : start + size] for start in range(0, len(batch), size)]


def _name(envelope: Envelope) -> str:
    return ".".join(envelope.subject.split(".")[2:4])


def _not_its_fault(error: Exception) -> bool:
    """Whether it was our database or our lease, not the message: then it is read again."""
    return is_away(error) or (isinstance(error, Unavailable) and error.code == "lease.lost")


def _told(error: Exception) -> tuple[str, str]:
    if isinstance(error, KiopsError):
        return error.code, error.message
    if isinstance(error, ValidationError):  # without the values: nobody knows what a strange message holds
        wrong = error.errors(include_input=False, include_url=False)
        return "message.malformed", "; ".join(f"{'.'.join(map(str, each['loc'])) or 'body'}: {each['msg']}" for each in wrong[:5])
    return "message.malformed" if isinstance(error, ValueError) else "message.broken", f"{type(error).__name__}: {error}"
