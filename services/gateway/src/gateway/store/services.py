"""Services, environments, rules, endpoints, deliveries and runtimes, of the read model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from shared.database import Tx

from gateway.store import lists
from gateway.store.lists import Shown
from gateway.tables.read_model import deliveries, endpoints, environments, rules, runtimes, services

_KEPT = services.c.deleted_at_ms.is_(None)
_FOUND = sa.or_(
    *(column.like(sa.bindparam("words"), escape="/") for column in (services.c.name, services.c.repository_url)),
)


async def listed(
    tx: Tx, shown: Shown, organisation: str, *, state: str = "", search: str = "", after: str = "", limit: int = 50
) -> Sequence[sa.Row[Any]]:
    """By name; `after` is the last name already seen."""
    words = search.replace("/", "//").replace("%", "/%").replace("_", "/_")
    return await lists.page(
        tx,
        shown,
        lists.asked(organisation_id=organisation, state=state),
        ("name",),
        past=(after,) if after else None,
        limit=limit,
        up=True,
        where=(_KEPT, _FOUND) if search else (_KEPT,),
        values={"words": f"%{words}%"} if search else {},
    )


async def find(tx: Tx, organisation: str, name: str) -> sa.Row[Any] | None:
    """By name or id; a deleted one not."""

    def make() -> Any:
        asked = sa.bindparam("asked", type_=sa.Text)
        mine = services.c.organisation_id == sa.bindparam("organisation")
        return sa.select(services).where(mine, _KEPT, sa.or_(services.c.name == asked, services.c.id == asked))

    return await tx.one(lists.kept(tx, ("service",), make), {"organisation": organisation, "asked": name})


async def environments_of(tx: Tx, service_ids: Sequence[str]) -> Sequence[sa.Row[Any]]:
    return await tx.all(
        sa.select(environments, runtimes.c.label.label("runtime_label"), runtimes.c.reachable)
        .outerjoin(runtimes, runtimes.c.id == environments.c.runtime)
        .where(environments.c.service_id.in_(service_ids))
        .order_by(environments.c.service_id, environments.c.name)
    )


async def rule(tx: Tx, service_id: str) -> sa.Row[Any] | None:
    return await tx.one(sa.select(rules).where(rules.c.service_id == service_id))


async def endpoint(tx: Tx, organisation: str, endpoint_id: str) -> sa.Row[Any] | None:
    return await tx.one(sa.select(endpoints).where(endpoints.c.organisation_id == organisation, endpoints.c.id == endpoint_id))


async def endpoints_of(tx: Tx, service_id: str) -> Sequence[sa.Row[Any]]:
    return await tx.all(
        sa.select(endpoints).where(endpoints.c.service_id == service_id).order_by(endpoints.c.provider, endpoints.c.id)
    )


async def deliveries_of(tx: Tx, service_id: str, limit: int) -> Sequence[sa.Row[Any]]:
    """What facts told of deliveries, newest first."""
    return await tx.all(
        sa.select(deliveries)
        .where(deliveries.c.service_id == service_id)
        .order_by(deliveries.c.at_ms.desc(), deliveries.c.id.desc())
        .limit(limit)
    )
