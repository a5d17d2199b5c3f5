"""What surrounds every page: who is signed in, where in the product this is, what the live stream is about."""

from __future__ import annotations

from dataclasses import dataclass

from gateway import text


@dataclass(frozen=True)
class Person:
    """The signed-in person as the frame shows them."""

    name: str
    login: str
    role: str

    @property
    def initials(self) -> str:
        return text.initials(self.name or self.login)


@dataclass(frozen=True)
class Frame:
    """Everything around the matter of a page.

    `path` is this page's own address, asked for again when something it shows has changed; `stream` is the address of the
    events that concern it, empty when nothing here is live; `sequence` is what the page had learnt when it was made, so that
    it can tell whether something came before the stream was open. `said` confirms what the person just did. `strange_stream`
    says why services do not read the bus's stream, when it is not the one that they know.
    """

    person: Person | None
    organisation: str
    csrf: str
    path: str
    now_ms: int
    version: str
    section: str = ""
    services: int = 0
    stream: str = ""
    sequence: int = 0
    said: str = ""
    query: str = ""
    strange_stream: str = ""


@dataclass(frozen=True)
class Version:
    """A version as it is shown everywhere: bold when a person entered it."""

    text: str
    by_hand: bool = False

    @property
    def shown(self) -> str:
        return self.text or "no version"


@dataclass(frozen=True)
class Counts:
    """Findings by severity, always in this order."""

    critical: int = 0
    high: int = 0
    medium: int = 0
    low: int = 0

    @classmethod
    def of(cls, counts: dict[str, int] | None) -> Counts:
        counts = counts or {}
        return cls(*(int(counts.get(key, 0)) for key in ("critical", "high", "medium", "low")))

    @property
    def total(self) -> int:
        return self.critical + self.high + self.medium + self.low


@dataclass(frozen=True)
class Choice:
    """One filter of a segment: its address, whether it is the chosen one, how many rows it has (None: not counted)."""

    label: str
    href: str
    chosen: bool
    number: int | None = None


@dataclass(frozen=True)
class Pager:
    """Which rows of how many are shown, and the addresses before and after."""

    first: int
    last: int
    total: int
    many: str
    newer: str = ""
    older: str = ""


@dataclass(frozen=True)
class Field:
    """A field of a form as it was sent: its value and, when it was refused, what to enter instead."""

    value: str = ""
    error: str = ""
