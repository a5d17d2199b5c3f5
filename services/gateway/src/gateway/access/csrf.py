"""CSRF tokens: an HMAC of the session (before sign-in: of a random cookie) under a key of ours, sent back by the form."""

from __future__ import annotations

import hashlib
import hmac


def token(key: bytes, bound_to: str) -> str:
    """The token of a session id or visit cookie, 64 hexadecimal digits."""
    return hmac.new(key, b"csrf:" + bound_to.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()


def right(key: bytes, bound_to: str, given: str) -> bool:
    """Whether the given token is that of the session. Constant time; any text may be given."""
    expected = token(key, bound_to).encode()
    return hmac.compare_digest(expected, given.encode("utf-8", "surrogatepass"))
