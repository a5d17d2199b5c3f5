"""The service catalogue and the ciphertext of credentials."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from shared.database import Tx

from gateway.tables.owned import catalogue, credentials


async def add(tx: Tx, values: Mapping[str, Any]) -> bool:
    """False when the name is taken."""
    return await tx.insert_new(catalogue, values)


async def by_name(tx: Tx, organisation: str, name: str) -> sa.Row[Any] | None:
    """By its name, or by its id."""
    return await tx.one(
        sa.select(catalogue).where(
            catalogue.c.organisation_id == organisation, sa.or_(catalogue.c.name == name, catalogue.c.id == name)
        )
    )


async def change(tx: Tx, service_id: str, values: Mapping[str, Any]) -> None:
    await tx.execute(catalogue.update().where(catalogue.c.id == service_id).values(**values))


async def delete(tx: Tx, service_id: str) -> None:
    """Take a service and its credentials away."""
    await tx.execute(credentials.delete().where(credentials.c.service_id == service_id))
    await tx.execute(catalogue.delete().where(catalogue.c.id == service_id))


async def add_credential(
    tx: Tx, credential_id: str, organisation: str, service_id: str, sealed: Mapping[str, tuple[str, str]], now_ms: int
) -> None:
    """Store the ciphertext for each recipient and the id of its key, in place of what the service had."""
    await tx.execute(credentials.delete().where(credentials.c.service_id == service_id))
    for recipient, (text, key) in sealed.items():
        await tx.execute(
            credentials.insert().values(
                id=credential_id,
                recipient=recipient,
                organisation_id=organisation,
                service_id=service_id,
                sealed=text,
                sealed_to=key,
                created_at_ms=now_ms,
            )
        )


async def remove_credential(tx: Tx, service_id: str) -> None:
    await tx.execute(credentials.delete().where(credentials.c.service_id == service_id))


async def sealed_for(tx: Tx, organisation: str, credential_id: str, recipient: str) -> str | None:
    """The ciphertext that this recipient can open."""
    return await tx.scalar(
        sa.select(credentials.c.sealed).where(
            credentials.c.organisation_id == organisation,
            credentials.c.id == credential_id,
            credentials.c.recipient == recipient,
        )
    )


async def sealed_elsewhere(tx: Tx, recipient: str, key: str, after: str, limit: int) -> tuple[list[tuple[str, str]], int]:
    """(credential, ciphertext) of those sealed to another key of this recipient, after an id; and how many there are in all."""
    those = sa.and_(credentials.c.recipient == recipient, credentials.c.sealed_to != key)
    rows = await tx.all(
        sa.select(credentials.c.id, credentials.c.sealed)
        .where(those, credentials.c.id > after)
        .order_by(credentials.c.id)
        .limit(limit)
    )
    total = await tx.scalar(sa.select(sa.func.count()).select_from(credentials).where(those))
    return [(row.id, row.sealed) for row in rows], total or 0


async def replace_sealed(tx: Tx, recipient: str, credential_id: str, before: str, sealed: str, key: str) -> bool:
    """Another ciphertext of the same value. False when it is not what it was any more."""
    done = await tx.execute(
        credentials.update()
        .where(credentials.c.recipient == recipient, credentials.c.id == credential_id, credentials.c.sealed == before)
        .values(sealed=sealed, sealed_to=key)
    )
    return done.rowcount == 1
