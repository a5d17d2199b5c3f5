"""Known secrets are masked before anything is written: as they are, in base64 at its three alignments, URL-encoded, as JSON."""

from __future__ import annotations

import base64
import json
from urllib.parse import quote, quote_plus

MASK = "•••"
SHORTEST = 4


def _forms(secret: str) -> set[str]:
    raw = secret.encode()
    forms = {secret, quote(secret, safe=""), quote(secret), quote_plus(secret), json.dumps(secret)[1:-1]}
    forms |= {part for part in secret.splitlines() if len(part) >= 8}
    # Base64 of a text that contains the secret depends on what stands before it: one form for each of the three
    # alignments, without the characters at the ends that neighbours change.
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + raw).decode().rstrip("=")
        start = (0, 2, 3)[before]
        end = len(encoded) - (1 if (before + len(raw)) % 3 else 0)
        inner = encoded[start:end]
        if len(inner) >= 8:
            forms |= {inner, inner.replace("+", "-").replace("/", "_")}
    return {form for form in forms if len(form) >= SHORTEST}


class Masker:
    """Replaces every known secret in a text. Secrets under 4 characters are refused: masking them would eat the text."""

    def __init__(self) -> None:
        self._forms: list[str] = []
        self.longest = 0

    def add(self, secret: str) -> None:
        if len(secret) < SHORTEST:
            return
        self._forms = sorted({*self._forms, *_forms(secret)}, key=len, reverse=True)
        self.longest = len(self._forms[0])

    def mask(self, text: str) -> str:
        for form in self._forms:
            if form in text:
                text = text.replace(form, MASK)
        return text
