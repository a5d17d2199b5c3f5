"""What the Deploy tab reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from shared.database import Tx

from gateway.tables.read_model import deploys, releases


async def history(tx: Tx, service: str, environment: str, *, before: int = 0, limit: int) -> Sequence[sa.Row[Any]]:
    query = sa.select(releases).where(releases.c.service_id == service, releases.c.environment == environment)
    if before:
        query = query.where(releases.c.number < before)
    return await tx.all(query.order_by(releases.c.number.desc()).limit(limit))


async def count(tx: Tx, service: str, environment: str, above: int = 0) -> int:
    return int(
        await tx.scalar(
            sa.select(sa.func.count())
            .select_from(releases)
            .where(releases.c.service_id == service, releases.c.environment == environment, releases.c.number > above)
        )
        or 0
    )


async def newer(tx: Tx, service: str, environment: str, than: int, limit: int) -> int:
    """The number before which the page before this one begins; 0 when that is the first page."""
    rows = await tx.all(
        sa.select(releases.c.number)
        .where(releases.c.service_id == service, releases.c.environment == environment, releases.c.number > than)
        .order_by(releases.c.number)
        .limit(limit + 1)
    )
    return rows[limit].number if len(rows) > limit else 0


async def before(tx: Tx, service: str, environment: str, serving: Any) -> sa.Row[Any] | None:
    """The release that instant rollback returns to: the last one before what serves that served and is another content.

    What serves may itself have brought an older release back; then it goes one further back, never forward.
    """
    number = serving.back_to_number or serving.number
    return await tx.one(
        sa.select(releases)
        .where(
            releases.c.service_id == service,
            releases.c.environment == environment,
            releases.c.number < number,
            releases.c.back_to_id.is_(None),
            releases.c.ready_at_ms.is_not(None),
        )
        .order_by(releases.c.number.desc())
    )


async def find(tx: Tx, service: str, release: str) -> sa.Row[Any] | None:
    return await tx.one(sa.select(releases).where(releases.c.service_id == service, releases.c.id == release))


async def moving(tx: Tx, service: str) -> dict[str, sa.Row[Any]]:
    """The deploys that have not ended, by environment."""
    rows = await tx.all(
        sa.select(deploys)
        .where(
            deploys.c.service_id == service,
            deploys.c.state.in_(("requested", "decided", "planned", "deploying")),
            deploys.c.ended_at_ms.is_(None),
        )
        .order_by(deploys.c.requested_at_ms)
    )
    return {row.environment: row for row in rows}
