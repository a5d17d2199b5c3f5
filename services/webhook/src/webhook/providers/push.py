"""What every provider module turns a delivery into, and what such a module has.

A provider is a module with three functions:

    delivery_id(headers) -> str              the sender's own id of the delivery, "" when it has none
    verify(headers, body, secret) -> None    raises SignatureMissing or SignatureWrong
    normalise(headers, body) -> Push | Ignored   raises Refused for what is no delivery at all
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from webhook.errors import Refused

DIGITS = re.compile(r"^(?:[0-9a-f]{40}|[0-9a-f]{64})$")
MOST_PATHS = 200
MOST_PATH_CHARACTERS = 60_000


@dataclass(frozen=True)
class Push:
    """A ref that moved. `changed_count` is None when the payload cannot tell which files changed; then `changed_paths` holds
    what it does tell. `before` is empty for a new ref."""

    ref: str
    commit: str
    before: str = ""
    branch: str = ""
    tag: str = ""
    author: str = ""
    message: str = ""
    pusher: str = ""
    commits: int = 0
    forced: bool = False
    changed_paths: tuple[str, ...] = ()
    changed_count: int | None = None

    @property
    def name(self) -> str:
        return f"tag {self.tag}" if self.tag else self.branch


@dataclass(frozen=True)
class Ignored:
    """A delivery that was understood and is not worth a run, with a stable code and a sentence."""

    code: str
    reason: str
    ref: str = ""
    commit: str = ""


class Provider(Protocol):
    """What a provider module looks like."""

    def delivery_id(self, headers: Mapping[str, str]) -> str: ...

    def verify(self, headers: Mapping[str, str], body: bytes, secret: bytes) -> None: ...

    def normalise(self, headers: Mapping[str, str], body: bytes) -> Push | Ignored: ...


def is_zero(commit: str) -> bool:
    """The commit that stands for "there is none": all zeros."""
    return bool(commit) and not commit.strip("0")


def checked_commit(value: object, field: str) -> str:
    """40 or 64 hexadecimal digits, lower case; else Refused."""
    if not isinstance(value, str) or not DIGITS.match(value.lower()) or not value.isascii():
        raise Refused(
            "webhook.commit_wrong",
            f"`{field}` is no commit: 40 or 64 hexadecimal digits are expected",
            "Send the full object name, not a short one.",
        )
    return value.lower()


def checked_ref(value: object) -> str:
    """A full ref as git would take it, unicode and slashes included; else Refused."""
    if (
        not isinstance(value, str)
        or not value.startswith("refs/")
        or len(value) > 1000
        or re.search(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|/\.|/$|\.$|\.lock(?:/|$)", value)
    ):
        raise Refused(
            "webhook.ref_wrong",
            "`ref` is no full ref such as refs/heads/main",
            "Send the ref as git names it; git check-ref-format shows whether it is one.",
        )
    return value


def shown_paths(paths: list[str]) -> tuple[str, ...]:
    """As many of the changed paths as a message bears."""
    shown, room = [], MOST_PATH_CHARACTERS
    for path in paths[:MOST_PATHS]:
        room -= len(path.encode()) + 4
        if room < 0:
            break
        shown.append(path)
    return tuple(shown)
