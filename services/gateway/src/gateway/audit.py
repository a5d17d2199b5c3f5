"""The audit chain: each row carries the hash of the row before, so that an edited or removed row is found."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from shared.database import Tx
from shared.facts.gateway import OperationPerformed

from gateway.tables.owned import audit_heads, audit_rows

START = "0" * 64
_FIELDS = ("organisation_id", "number", "at_ms", "category", "action", "actor", "object", "outcome", "detail")


def row_hash(before: str, row: dict[str, Any]) -> str:
    """SHA-256 over the hash before and the row's values, as 64 hexadecimal digits."""
    text = json.dumps([before, *(row[name] for name in _FIELDS)], ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


async def note(
    tx: Tx,
    organisation: str,
    at_ms: int,
    *,
    category: str,
    action: str,
    actor: str,
    object: str = "",
    outcome: str = "done",
    detail: str = "",
    service: str = "_",
) -> None:
    """Add a row to the chain and announce it, in the caller's transaction."""
    await tx.insert_new(audit_heads, {"organisation_id": organisation, "number": 0, "hash": START})
    head = await tx.one(sa.select(audit_heads).where(audit_heads.c.organisation_id == organisation).with_for_update())
    assert head is not None
    row = {
        "organisation_id": organisation,
        "number": head.number + 1,
        "at_ms": at_ms,
        "category": category,
        "action": action,
        "actor": actor,
        "object": object,
        "outcome": outcome,
        "detail": detail,
    }
    digest = row_hash(head.hash, row)
    await tx.execute(audit_rows.insert().values(**row, before=head.hash, hash=digest))
    await tx.execute(
        audit_heads.update().where(audit_heads.c.organisation_id == organisation).values(number=row["number"], hash=digest)
    )
    await tx.put(
        OperationPerformed(
            organisation=organisation,
            service=service,
            category=category,
            action=action,
            actor=actor,
            object=object,
            outcome=outcome,
            detail=detail,
        )
    )


@dataclass(frozen=True, slots=True)
class Chain:
    """What checking found: `rows` that are right in a row; `broken_at` the number of the first that is not, None if all are."""

    rows: int
    broken_at: int | None = None
    reason: str = ""


def verify(rows: Iterable[Any], head_number: int, head_hash: str) -> Chain:
    """Check a chain from its first row to the stored head."""
    before, expected = START, 1
    for row in rows:
        values = {name: getattr(row, name) for name in _FIELDS}
        if row.number != expected:
            return Chain(expected - 1, expected, f"row {expected} is missing")
        if row.before != before or row.hash != row_hash(before, values):
            return Chain(expected - 1, expected, f"row {expected} was changed")
        before, expected = row.hash, expected + 1
    if expected - 1 != head_number or before != head_hash:
        return Chain(expected - 1, expected, "rows at the end are missing")
    return Chain(expected - 1)
