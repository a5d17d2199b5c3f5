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
    tx: Tx, credential_id: str, organisation: str, service_id: str, sealed: Mapping[str, str], now_ms: int
) -> None:
    """Store the ciphertext for each recipient, in place of what the service had."""
    await tx.execute(credentials.delete().where(credentials.c.service_id == service_id))
    for recipient, text in sealed.items():
        await tx.execute(
            credentials.insert().values(
                id=credential_id,
                recipient=recipient,
                organisation_id=organisation,
                service_id=service_id,
                sealed=text,
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
