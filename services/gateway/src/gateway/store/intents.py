"""Intents: orders of people and what came of them; and the first answers to requests with an Idempotency-Key."""

from __future__ import annotations

import json
from typing import Any

import sqlalchemy as sa
from shared.database import Tx
from shared.facts._base import Order
from shared.queries.gateway import OrderAnswered

from gateway.tables.owned import idempotency, intents


async def add(tx: Tx, order: Order, actor: str, now_ms: int) -> None:
    await tx.execute(
        intents.insert().values(
            id=order.intent,
            organisation_id=order.organisation,
            actor=actor,
            order_type=order.name,
            service_id=order.service,
            body=json.loads(order.model_dump_json()),
            state="asked",
            data={},
            asked_at_ms=now_ms,
        )
    )


async def show(tx: Tx, intent: str) -> Any:
    row = await tx.one(sa.select(intents).where(intents.c.id == intent))
    if row is None:
        raise LookupError(f"intent {intent} is not stored")
    return row


async def answer(tx: Tx, answered: OrderAnswered, now_ms: int) -> sa.Row[Any] | None:
    """Store an answer once. Returns the intent when this was the first, None else."""
    changed = await tx.execute(
        intents.update()
        .where(
            intents.c.id == answered.intent,
            intents.c.organisation_id == answered.organisation,
            intents.c.state == "asked",
        )
        .values(
            state="accepted" if answered.accepted else "refused",
            code=answered.code,
            reason=answered.reason,
            advice=answered.advice,
            data=answered.data,
            answered_at_ms=now_ms,
        )
    )
    return await show(tx, answered.intent) if changed.rowcount else None


async def open_intents(tx: Tx, organisation: str, limit: int) -> Any:
    """Orders that nobody answered yet, newest first."""
    return await tx.all(
        sa.select(intents)
        .where(intents.c.organisation_id == organisation, intents.c.state == "asked")
        .order_by(intents.c.asked_at_ms.desc())
        .limit(limit)
    )


# -- idempotency keys ------------------------------------------------------------------------------------------------
async def begin(tx: Tx, organisation: str, actor: str, key: str, request_hash: str, now_ms: int) -> sa.Row[Any] | None:
    """Claim a key. None when it is new, else the row that is there."""
    new = await tx.insert_new(
        idempotency,
        {
            "actor": actor,
            "key": key,
            "organisation_id": organisation,
            "request_hash": request_hash,
            "created_at_ms": now_ms,
        },
    )
    if new:
        return None
    return await tx.one(sa.select(idempotency).where(idempotency.c.actor == actor, idempotency.c.key == key))


async def finish(tx: Tx, actor: str, key: str, status: int, body: Any) -> None:
    await tx.execute(
        idempotency.update().where(idempotency.c.actor == actor, idempotency.c.key == key).values(status=status, body=body)
    )


async def give_back(tx: Tx, actor: str, key: str) -> None:
    """Forget a key whose request came to nothing for a passing reason, so that it can be tried again."""
    await tx.execute(idempotency.delete().where(idempotency.c.actor == actor, idempotency.c.key == key))


async def purge(tx: Tx, before_ms: int) -> None:
    await tx.execute(idempotency.delete().where(idempotency.c.created_at_ms < before_ms))
