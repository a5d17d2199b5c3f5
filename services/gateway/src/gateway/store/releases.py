"""Releases and deploys with their progress, of the read model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from shared.database import Tx

from gateway.store import lists
from gateway.store.lists import Shown
from gateway.tables.read_model import deploy_events, deploys, releases


async def find(tx: Tx, organisation: str, release: str) -> sa.Row[Any] | None:
    return await tx.one(sa.select(releases).where(releases.c.organisation_id == organisation, releases.c.id == release))


async def by_number(tx: Tx, service_id: str, environment: str, number: int) -> sa.Row[Any] | None:
    return await tx.one(
        sa.select(releases).where(
            releases.c.service_id == service_id,
            releases.c.environment == environment,
            releases.c.number == number,
        )
    )


async def listed(
    tx: Tx, shown: Shown, service_id: str, *, environment: str = "", before: str = "", limit: int = 50
) -> Sequence[sa.Row[Any]]:
    """Of a service, newest first by id, which is time-ordered."""
    past, among = (before,) if before else None, lists.asked(environment=environment)
    return await lists.page(tx, shown, {"service_id": service_id}, ("id",), past=past, limit=limit, among=among)


async def deploys_of(tx: Tx, run: str) -> Sequence[sa.Row[Any]]:
    return await tx.all(sa.select(deploys).where(deploys.c.run_id == run).order_by(deploys.c.environment))


async def deploy_events_of(tx: Tx, deploy_ids: Sequence[str]) -> Sequence[sa.Row[Any]]:
    return await tx.all(
        sa.select(deploy_events).where(deploy_events.c.deploy_id.in_(deploy_ids)).order_by(deploy_events.c.sequence)
    )
