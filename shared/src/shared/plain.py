"""SQL as text, straight to the driver: for the few statements that are run for every message of a long stream.

Parameters are written `?` on SQLite and `$1` on PostgreSQL, values go as the driver takes them (JSON as text). Errors are those of
SQLAlchemy, so that a database that does not answer is told as always.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

from shared.database import Tx
from shared.sqlite import as_always


async def rows(tx: Tx, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    """All rows that a statement gives."""
    if tx.database.is_postgresql:
        return [tuple(row) for row in await tx.connection.rows(statement, parameters)]  # type: ignore[union-attr]
    driver = (await tx.connection.get_raw_connection()).driver_connection
    try:
        return driver.execute(statement, parameters).fetchall()
    except sqlite3.Error as error:
        raise as_always(error, statement) from error


async def many(tx: Tx, statement: str, values: Sequence[Sequence[Any]]) -> int:
    """Run a statement for each of these. Returns how many rows it changed on SQLite, -1 on PostgreSQL."""
    if not values:
        return 0
    if tx.database.is_postgresql:
        await tx.connection.many(statement, list(values))  # type: ignore[union-attr]
        return -1
    driver = (await tx.connection.get_raw_connection()).driver_connection
    try:
        return driver.executemany(statement, values).rowcount
    except sqlite3.Error as error:
        raise as_always(error, statement) from error
