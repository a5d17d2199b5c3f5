"""Known secrets are masked before anything is written, in every form in which text carries them.

As they are; in base64 at its three alignments (so inside `user:secret` too), also URL-safe and URL-encoded; URL-encoded once and
twice; as JSON once and twice, as Go and JavaScript write it; in HTML, in a shell's quotes, as Python shows it; in hexadecimal.

A line is looked at in steps: windows of it are looked up in an index of the forms' windows, so that the number of secrets hardly
matters, and only forms of which a window was met are searched for.
"""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote, quote_plus

MASK = "•••"
SHORTEST = 4
# (least length of a form, size of a window, step between two windows of the text). A form of `least` letters holds a whole window
# that begins at a multiple of the step, wherever it stands: least >= size + step - 1.
CLASSES = ((11, 8, 4), (6, 4, 3), (4, 4, 1))


def _alignments(raw: bytes) -> Iterable[str]:
    """Base64 of a text that contains the secret depends on what stands before it: one form for each of the three alignments,
    without the characters at the ends that neighbours change."""
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + raw).decode().rstrip("=")
        start = (0, 2, 3)[before]
        end = len(encoded) - (1 if (before + len(raw)) % 3 else 0)
        inner = encoded[start:end]
        if len(inner) >= 8:
            yield inner
            yield inner.replace("+", "-").replace("/", "_")


def _in_json(text: str) -> set[str]:
    escaped = json.dumps(text)[1:-1]
    found = {escaped, json.dumps(text, ensure_ascii=False)[1:-1], escaped.replace("/", "\\/")}
    go = escaped
    for letter in "<>&":
        go = go.replace(letter, f"\\u{ord(letter):04x}")
    return found | {go, go.replace('\\"', "\\u0022").replace("'", "\\u0027")}


def _in_address(text: str) -> set[str]:
    found = {quote(text, safe=""), quote(text), quote_plus(text), quote(text, safe="!*'()~-._")}
    found |= {_lower_escapes(form) for form in found}
    return found


def _lower_escapes(text: str) -> str:
    head, *parts = text.split("%")
    return "%".join([head, *(part[:2].lower() + part[2:] for part in parts)])


def _in_html(text: str) -> set[str]:
    numbers = text
    for letter, name in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&#34;"), ("'", "&#39;")):
        numbers = numbers.replace(letter, name)
    return {
        html.escape(text),
        html.escape(text, quote=False),
        numbers,
        numbers.replace("+", "&#43;"),
        html.escape(html.escape(text)),
    }


def _forms(secret: str) -> set[str]:
    raw = secret.encode()
    forms = {secret, raw.hex(), raw.hex().upper(), repr(secret)[1:-1], secret.replace("'", "'\"'\"'"), secret.replace("'", "'\\''")}
    forms |= {part for part in secret.splitlines() if len(part) >= 8}
    for once in _in_json(secret):
        forms |= {once, json.dumps(once)[1:-1]}
    for once in _in_address(secret):
        forms |= {once, quote(once, safe="")}
    forms |= _in_html(secret)
    for inner in _alignments(raw):
        forms |= {inner, quote(inner, safe=""), _lower_escapes(quote(inner, safe=""))}
    return {form for form in forms if len(form) >= SHORTEST}


class Masker:
    """Replaces every known secret in a text. Secrets under 4 characters are refused: masking them would eat the text."""

    def __init__(self) -> None:
        self._secrets: set[str] = set()
        self._forms: set[str] = set()
        self._index: list[dict[str, tuple[str, ...]]] = [{} for _ in CLASSES]
        self._used: list[tuple[int, int, dict[str, tuple[str, ...]]]] = []

    def add(self, secret: str) -> None:
        """From now on this value is masked."""
        if len(secret) < SHORTEST or secret in self._secrets:
            return
        self._secrets.add(secret)
        for form in _forms(secret) - self._forms:
            self._forms.add(form)
            number = next(number for number, (least, _, _) in enumerate(CLASSES) if len(form) >= least)
            _, size, step = CLASSES[number]
            index = self._index[number]
            for at in range(step):
                window = form[at : at + size]
                index[window] = (*index.get(window, ()), form)
        self._used = [(size, step, index) for (_, size, step), index in zip(CLASSES, self._index, strict=True) if index]

    def mask(self, text: str) -> str:
        """The text with a mask in the place of every secret."""
        met: set[str] = set()
        for size, step, index in self._used:
            for window in [text[at : at + size] for at in range(0, len(text) - size + 1, step)]:
                if window in index:
                    met.update(index[window])
        # The longest first: a shorter form can be a part of it.
        for form in sorted(met, key=len, reverse=True) if met else ():
            if form in text:
                text = text.replace(form, MASK)
        return text

    def clean(self, value: Any) -> Any:
        """The same of whatever a log line is given: texts inside lists and dictionaries too; other objects as they are shown."""
        if isinstance(value, str):
            return self.mask(value)
        if value is None or isinstance(value, bool | int | float):
            return value
        if isinstance(value, dict):
            return {self.clean(key): self.clean(each) for key, each in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [self.clean(each) for each in value]
        if isinstance(value, bytes):
            return self.mask(value.decode("utf-8", "replace"))
        return self.mask(str(value))


known = Masker()
"""Secrets that this process knows: settings, keys, and whatever is opened."""
