"""Many rows in one statement."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from shared.database import Tx
from sqlalchemy.dialects import postgresql, sqlite


async def upsert_all(tx: Tx, table: sa.Table, rows: Sequence[dict[str, Any]], key: Sequence[str]) -> None:
    """Insert rows with the same columns, or change those with the same key; in one statement, run for each of them."""
    if not rows:
        return
    insert: Any = (postgresql if tx.database.is_postgresql else sqlite).insert(table)
    changes = {name: insert.excluded[name] for name in rows[0] if name not in key}
    await tx.execute(insert.on_conflict_do_update(index_elements=list(key), set_=changes), list(rows))
