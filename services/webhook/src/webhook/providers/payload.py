"""A delivery's body as JSON, with everything refused that databases or readers further on would choke on."""

from __future__ import annotations

import json
import re
from typing import Any

from webhook.errors import Refused

# Escapes of U+0000 and of surrogates; only a body that has one is walked through.
SUSPECT = re.compile(rb"\\u(?:0000|[dD][89a-fA-F][0-9a-fA-F]{2})")
MOST_DIGITS = 19


def _integer(digits: str) -> int:
    if len(digits.lstrip("-")) > MOST_DIGITS or abs(int(digits)) >= 1 << 63:
        raise Refused("webhook.number_too_large", "the body has an integer beyond 64 bits", "Send large numbers as strings.")
    return int(digits)


def _fraction(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise Refused("webhook.number_too_large", "the body has a number beyond what JSON readers hold", "")
    return value


def _constant(name: str) -> Any:
    raise Refused("webhook.body_not_json", f"the body is not JSON: {name} is no value of it", "Send valid JSON.")


def parse(body: bytes) -> dict[str, Any]:
    """The body's object. Raises Refused: not UTF-8, not JSON, no object, too deep, a number too large, U+0000, a lone
    surrogate."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Refused("webhook.body_not_utf8", f"the body is not UTF-8 (byte {error.start})", "Send JSON in UTF-8.") from None
    try:
        value = json.loads(text, parse_int=_integer, parse_float=_fraction, parse_constant=_constant)
    except json.JSONDecodeError as error:
        raise Refused(
            "webhook.body_not_json",
            f"the body is not JSON: {error.msg} (line {error.lineno}, column {error.colno})",
            "Send valid JSON.",
        ) from None
    except RecursionError:
        raise Refused("webhook.body_too_deep", "the body is nested too deeply to be read", "Send it flatter.") from None
    if not isinstance(value, dict):
        raise Refused("webhook.body_no_object", "the body is JSON but no object", "Send one object.")
    if SUSPECT.search(body):
        _check_texts(value)
    return value


def _check_texts(value: Any) -> None:
    left: list[Any] = [value]
    while left:
        item = left.pop()
        if isinstance(item, dict):
            for key in item:
                _check(key)
            left.extend(item.values())
        elif isinstance(item, list):
            left.extend(item)
        elif isinstance(item, str):
            _check(item)


def _check(text: str) -> None:
    if "\x00" in text:
        raise Refused("webhook.body_nul", "the body has the character U+0000", "Leave it out; no text of git has it.")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise Refused(
            "webhook.body_surrogate",
            "the body has half of a surrogate pair, which is no character",
            "Escape characters beyond U+FFFF as two surrogates, or send them as UTF-8.",
        ) from None


def text_of(value: Any, most: int) -> str:
    """A string field, clipped; anything else is as if it were not there."""
    return value[:most] if isinstance(value, str) else ""
