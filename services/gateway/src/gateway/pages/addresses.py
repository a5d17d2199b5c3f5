"""Static files have the hash of all of them in their addresses, so that browsers may keep them for ever."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

STATIC = Path(__file__).parent.parent / "static"


@cache
def static_hash() -> str:
    """One hash over all static files: it stands in their addresses, so that browsers may keep them for ever."""
    seen = hashlib.sha256()
    for file in sorted(p for p in STATIC.rglob("*") if p.is_file()):
        seen.update(str(file.relative_to(STATIC)).encode())
        seen.update(file.read_bytes())
    return seen.hexdigest()[:16]


def asset(path: str) -> str:
    """The address of a static file."""
    return f"/static/{static_hash()}/{path}"
