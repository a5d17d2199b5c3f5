"""Known secrets never get through, in whatever dress."""

from __future__ import annotations

import base64
from urllib.parse import quote

from hypothesis import given
from hypothesis import strategies as st
from shared.masking import MASK, Masker

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
