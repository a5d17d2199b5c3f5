"""A person's order: stored as an intent with its audit row, sent through the outbox under the intent's id, answered or not yet.

A time-out is never a refusal: the order is on disk and will be obeyed. The receiver knows the intent's id, so that sending it
again is harmless.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from shared.clock import Clock
from shared.database import Database, Tx
from shared.facts._base import Order
from shared.queries.gateway import OrderAnswered

from gateway import audit
from gateway.access.door import Actor
from gateway.errors import OrderRefused
from gateway.live import Live
from gateway.settings import GatewaySettings
from gateway.store import intents
from shared import ids

# Another replica may have heard the answer: the stored intent is looked at this often meanwhile.
_LOOK_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of an order. `state` is accepted, or asked (not answered yet: it will be obeyed). `data` is what the receiver
    made of it ({"run": ..., "number": ...}); `seen` says that the read model shows it already."""

    intent: str
    state: str
    data: dict[str, str] = field(default_factory=dict)
    seen: bool = False

    @property
    def sentence(self) -> str:
        return "Accepted." if self.state == "accepted" else "Not yet accepted: it is stored and will be done."


def intent_id() -> str:
    """The id of an order of a person."""
    return ids.new("int")


class Orders:
    """Sends orders and hears their answers."""

    def __init__(self, database: Database, live: Live, settings: GatewaySettings, clock: Clock) -> None:
        self._database, self._live, self._settings, self._clock = database, live, settings, clock
        self._waiting: dict[str, asyncio.Event] = {}

    async def put(self, tx: Tx, actor: Actor, order: Order, *, category: str, action: str, object: str) -> None:
        """Store the intent, its audit row and the order itself, in the caller's transaction."""
        await intents.add(tx, order, actor.name, self._clock.now_ms())
        await audit.note(
            tx,
            order.organisation,
            self._clock.now_ms(),
            category=category,
            action=action,
            actor=actor.name,
            object=object,
            outcome="asked",
            service=order.service,
        )
        await tx.put(order)

    async def send(self, actor: Actor, order: Order, *, category: str, action: str, object: str) -> Outcome:
        """Store, send and wait for the answer. Raises OrderRefused with the receiver's words."""
        with self._ear(order.intent):
            async with self._database.write() as tx:
                await self.put(tx, actor, order, category=category, action=action, object=object)
            return (await self.answers([order.intent]))[0]

    async def answers(self, intent_ids: Sequence[str]) -> list[Outcome]:
        """Wait for the answers to stored orders, all within one waiting time. Raises OrderRefused for the first refused."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self._settings.order_wait_seconds
        found: list[Outcome] = []
        for intent in intent_ids:
            with self._ear(intent) as heard:
                row = await self._stored(intent)
                while row.state == "asked" and loop.time() < until:
                    try:
                        await asyncio.wait_for(heard.wait(), min(_LOOK_SECONDS, max(0.0, until - loop.time())))
                    except TimeoutError:
                        pass
                    row = await self._stored(intent)
            if row.state == "refused":
                raise OrderRefused(row.code or "order.refused", row.reason or "The order was refused.", row.advice)
            seen = row.state == "accepted" and await self.shown(intent)
            found.append(Outcome(intent, row.state, dict(row.data or {}), seen))
        return found

    async def shown(self, message_id: str) -> bool:
        """Wait, briefly, for the read model to have learnt this message or what it led to: people read their own writes."""
        return await self._live.passed(message_id, self._settings.read_own_writes_seconds)

    async def heard(self, answer: OrderAnswered) -> None:
        """An answer came in, perhaps a second time, perhaps for a page that no longer waits."""
        async with self._database.write() as tx:
            row = await intents.answer(tx, answer, self._clock.now_ms())
            if row is not None:
                await audit.note(
                    tx,
                    row.organisation_id,
                    self._clock.now_ms(),
                    category="order",
                    action=row.order_type,
                    actor=row.actor,
                    object=row.id,
                    outcome="accepted" if answer.accepted else "refused",
                    detail=answer.reason,
                    service=row.service_id,
                )
        if event := self._waiting.get(answer.intent):
            event.set()

    async def _stored(self, intent: str):
        async with self._database.read() as tx:
            return await intents.show(tx, intent)

    def _ear(self, intent: str) -> _Ear:
        return _Ear(self._waiting, intent)


class _Ear:
    """Keeps an event for an intent while somebody waits for it. May be entered inside itself."""

    def __init__(self, waiting: dict[str, asyncio.Event], intent: str) -> None:
        self._waiting, self._intent = waiting, intent
        self._mine = intent not in waiting

    def __enter__(self) -> asyncio.Event:
        return self._waiting.setdefault(self._intent, asyncio.Event())

    def __exit__(self, *_: object) -> None:
        if self._mine:
            self._waiting.pop(self._intent, None)
