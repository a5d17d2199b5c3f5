"""Known secrets never get through, in whatever dress."""

from __future__ import annotations

import base64
import html
import json
import re
import shlex
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shared.masking import MASK, Masker
from shared.processes import Lines

SECRET = "s3cr3t/+value with blank"


@given(before=st.binary(max_size=7), after=st.binary(max_size=7))
def test_base64_is_masked_at_every_alignment(before: bytes, after: bytes) -> None:
    """Basic authorisation puts a user's name before the secret, so it may begin at any of three places."""
    masker = Masker()
    masker.add(SECRET)
    encoded = base64.b64encode(before + SECRET.encode() + after).decode()
    left = masker.mask(f"Authorization: Basic {encoded}")
    # What is left must not carry more than a few characters of the secret's inside.
    inside = base64.b64encode(SECRET.encode()).decode()[4:-6]
    assert MASK in left and inside not in left


def test_plain_url_and_json_forms_are_masked() -> None:
    masker = Masker()
    masker.add(SECRET)
    text = f"{SECRET} {quote(SECRET, safe='')} https://u:{quote(SECRET)}@host"
    assert "s3cr3t" not in masker.mask(text)


def test_what_is_too_short_is_not_taken() -> None:
    masker = Masker()
    masker.add("ab")
    assert masker.mask("abba") == "abba"


def test_each_line_of_a_key_is_masked() -> None:
    masker = Masker()
    masker.add("first line of it\nsecond line of it\n")
    assert masker.mask("… second line of it") == f"… {MASK}"


DRESSES: dict[str, Callable[[str], str]] = {
    "plain": str,
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64, in an address": lambda text: quote(base64.b64encode(text.encode()).decode(), safe=""),
    "address": lambda text: quote(text, safe=""),
    "address, small letters": lambda text: re.sub("%..", lambda found: found[0].lower(), quote(text, safe="")),
    "address, twice": lambda text: quote(quote(text, safe=""), safe=""),
    "form": quote_plus,
    "JSON": lambda text: json.dumps({"value": text}),
    "JSON, twice": lambda text: json.dumps(json.dumps({"value": text})),
    "JSON of Go": lambda text: json.dumps(text).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"),
    "hexadecimal": lambda text: text.encode().hex(),
    "HTML": html.escape,
    "HTML of Go": lambda text: (
        text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&#34;").replace("'", "&#39;")
    ),
    "shell": shlex.quote,
    "Python": repr,
}


@pytest.mark.parametrize("dress", DRESSES)
@settings(max_examples=40, deadline=None)
@given(
    secret=st.text(st.characters(min_codepoint=33, max_codepoint=0x2FF, exclude_characters="•"), min_size=8, max_size=60),
    around=st.text("abc =:/\"'{}&", max_size=9),
)
def test_a_secret_is_masked_in_every_dress_wherever_it_stands(dress: str, secret: str, around: str) -> None:
    masker = Masker()
    masker.add("another-secret-of-the-same-process")
    masker.add(secret)
    dressed = DRESSES[dress](secret)
    bare = dressed.strip("=").strip("'\"")
    left = masker.mask(f"{around}{dressed}{around}")
    assert MASK in left and bare not in left


def test_what_a_log_line_is_given_is_masked_inside_of_it_too() -> None:
    masker = Masker()
    masker.add(SECRET)
    error = ValueError(f"no answer from https://u:{quote(SECRET, safe='')}@host")
    told = masker.clean({"list": [SECRET, 3, None], "deep": {SECRET: (error, SECRET.encode())}, "number": 1.5})
    assert "s3cr3t" not in repr(told) and told["list"][1:] == [3, None] and told["number"] == 1.5


def test_many_secrets_are_kept_apart() -> None:
    masker = Masker()
    secrets = [f"value-{number:04d}-of-many" for number in range(300)]
    for secret in secrets:
        masker.add(secret)
    assert masker.mask(" ".join(secrets)) == " ".join([MASK] * 300)
    assert masker.mask("value-9999-of-many is nobody's") == "value-9999-of-many is nobody's"


@settings(deadline=None)
@given(st.lists(st.integers(1, 9), max_size=60))
def test_a_secret_across_the_borders_of_chunks_is_one_line_and_masked(sizes: list[int]) -> None:
    masker = Masker()
    masker.add(SECRET)
    text = f"first\nAuthorization: {SECRET}\r\nlast {quote(SECRET, safe='')}".encode()
    lines, found = Lines(), []
    for size in sizes:
        chunk, text = text[:size], text[size:]
        found += lines.feed(chunk)
    found += [*lines.feed(text), lines.end()]
    assert [masker.mask(line.decode().rstrip("\r")) for line in found] == ["first", f"Authorization: {MASK}", f"last {MASK}"]


def test_a_line_without_an_end_is_cut_where_no_secret_can_be_halved() -> None:
    masker = Masker()
    masker.add(SECRET)
    for before in range(Lines.LONGEST - len(SECRET) - 2, Lines.LONGEST + 2, 3):
        lines = Lines()
        assert lines.feed(b"x" * before + SECRET.encode() + b"y" * 200_000) == []
        told = masker.mask(lines.end().decode())
        assert len(told) < Lines.LONGEST and "s3c" not in told and told.endswith(" bytes)")
        assert lines.feed(b"next\n") == [b"next"]
