"""The audit: the view that facts make, and the chain that the gateway owns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from shared.database import Tx

from gateway.store import lists
from gateway.store.lists import Shown
from gateway.tables.owned import audit_heads, audit_rows

_CHUNK = 5000


async def listed(
    tx: Tx, shown: Shown, organisation: str, *, category: str = "", actor: str = "", before: int | None = None, limit: int = 50
) -> Sequence[sa.Row[Any]]:
    """Newest first; `before` is the stream position of the last row already seen."""
    equal = lists.asked(organisation_id=organisation, actor=actor)
    among = lists.asked(category=category)
    if not actor:
        equal, among = equal | among, {}
    past = None if before is None else (before,)
    return await lists.page(tx, shown, equal, ("sequence",), past=past, limit=limit, among=among)


async def head(tx: Tx, organisation: str) -> sa.Row[Any] | None:
    return await tx.one(sa.select(audit_heads).where(audit_heads.c.organisation_id == organisation))


async def chain(tx: Tx, organisation: str) -> list[sa.Row[Any]]:
    """All rows of the chain, first to last, read in pieces."""
    rows: list[sa.Row[Any]] = []
    while True:
        piece = await tx.all(
            sa.select(audit_rows)
            .where(audit_rows.c.organisation_id == organisation, audit_rows.c.number > (rows[-1].number if rows else 0))
            .order_by(audit_rows.c.number)
            .limit(_CHUNK)
        )
        rows.extend(piece)
        if len(piece) < _CHUNK:
            return rows
