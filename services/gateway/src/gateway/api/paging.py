"""Cursors: opaque to clients, inside the sort key of the last row they saw."""

import base64
import binascii
import json
from collections.abc import Sequence
from typing import Any

import msgspec
from starlette.responses import Response

from gateway.domain.names import unfit
from gateway.errors import BadInput
from gateway.store.lists import Shown

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


def page(shown: Shown, rows: Sequence[Any], limit: int, *key: str) -> Response:
    """A page of `limit` rows out of `limit + 1` that were asked for; `key` names the columns that they are ordered by."""
    here = rows[:limit]
    more = encode(*(getattr(here[-1], name) for name in key)) if len(rows) > limit and here else None
    return written(shown, here, more)


def written(shown: Shown, rows: Sequence[Any], more: str | None = None) -> Response:
    """Rows as the answer of a list. They are what the model of the list says, so nothing is checked again on its way out."""
    body = msgspec.json.encode({"items": [shown.out(row) for row in rows], "next": more})
    return Response(body, media_type="application/json")
