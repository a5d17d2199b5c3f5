"""Cursors: opaque to clients, inside the sort key of the last row they saw."""

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from typing import Any

from gateway.domain.names import unfit
from gateway.errors import BadInput

MOST = 200


def encode(*key: Any) -> str:
    """The cursor of a sort key."""
    return base64.urlsafe_b64encode(json.dumps(key, separators=(",", ":")).encode()).decode().rstrip("=")


def decode(cursor: str, *kinds: type) -> tuple[Any, ...] | None:
    """The sort key of a cursor, None for an empty one. Raises BadInput when it is none of ours."""
    if not cursor:
        return None
    try:
        key = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (binascii.Error, ValueError, RecursionError):
        key = None
    fits = isinstance(key, list) and len(key) == len(kinds) and not unfit(key)
    if not fits or any(type(value) is not kind for value, kind in zip(key, kinds, strict=True)):
        raise BadInput("cursor", "This cursor is none of ours.", field="cursor", advice="Begin without a cursor.")
    if any(isinstance(value, int) and abs(value) >= 2**63 for value in key):
        raise BadInput("cursor", "This cursor is none of ours.", field="cursor", advice="Begin without a cursor.")
    return tuple(key)


def page(rows: Sequence[Any], limit: int, out: Callable[[Any], Any], key: Callable[[Any], tuple[Any, ...]]) -> dict[str, Any]:
    """A page of `limit` rows out of `limit + 1` that were asked for."""
    shown = rows[:limit]
    return {
        "items": [out(row) for row in shown],
        "next": encode(*key(shown[-1])) if len(rows) > limit and shown else None,
    }
