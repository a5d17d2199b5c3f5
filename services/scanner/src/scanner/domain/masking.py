"""What may be shown of a line of code that has a secret in it."""

from __future__ import annotations

import re

_QUOTED = re.compile(r"""(["'`])((?:\\.|(?!\1).)+)\1""")
_NAMED = re.compile(
    r"""(?ix) ( [\w.-]*(?:password|passwd|pwd|secret|token|api_?key|access_?key|private_?key|credential)[\w.-]* ["']?\s*[:=]\s* )
        ( "[^"]*" | '[^']*' | [^\s"'(){}\[\],;]{4,} )"""
)
_ASSIGNED = re.compile(r"^(\s*(?:ENV|ARG)\s+[\w.-]+(?:\s*=\s*|\s+))(.+)$", re.IGNORECASE)
HIDDEN = "••••••"


def hide_named_values(text: str) -> str:
    """Values that are given to names such as password or api_key, hidden; calls and names of variables stay."""
    return _NAMED.sub(lambda m: m.group(1) + (HIDDEN if _is_literal(m.group(2)) else m.group(2)), text)


def hide_all_values(text: str) -> str:
    """Every quoted text and the value of an ENV or ARG, hidden: for findings that are about a secret."""
    return hide_named_values(_ASSIGNED.sub(rf"\1{HIDDEN}", _QUOTED.sub(rf"\1{HIDDEN}\1", text)))


def hide_known(text: str, secrets: tuple[str, ...]) -> str:
    """Known secrets, hidden wherever they stand; of one with several lines, each of its lines."""
    for secret in secrets:
        for part in secret.splitlines():
            if len(part) >= 4:
                text = text.replace(part, HIDDEN)
    return text


def _is_literal(value: str) -> bool:
    return value[0] in "\"'" or not re.fullmatch(r"[A-Za-z_][\w.]*|\$\{?\w+\}?", value)
