"""How far the read model has learnt."""

from __future__ import annotations

import sqlalchemy as sa
from shared.database import Tx

from gateway.tables.read_model import metadata


async def reached(tx: Tx) -> int:
    """The stream sequence that this transaction's view of the read model stands at; 0 before the first message."""
    positions = metadata.tables["stream_position"]
    return int(await tx.scalar(sa.select(positions.c.position).where(positions.c.durable == "gateway")) or 0)
