"""What is being done just now: the run, the message before, the trace. Travels into every message, log line and child."""

from __future__ import annotations

import os
import re
from contextvars import ContextVar
from dataclasses import dataclass, replace

_TRACEPARENT = re.compile(r"^00-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}$")


def new_traceparent(parent: str = "") -> str:
    """A W3C traceparent: a child of the given one, or a new trace. https://www.w3.org/TR/trace-context/"""
    found = _TRACEPARENT.match(parent)
    trace = found[1] if found else os.urandom(16).hex()
    return f"00-{trace}-{os.urandom(8).hex()}-01"


@dataclass(frozen=True, slots=True)
class Context:
    """`correlation` is the run, `causation` the id of the message (or delivery) that led here."""

    correlation: str = ""
    causation: str = ""
    traceparent: str = ""
    organisation: str = ""

    def child(self, **changes: str) -> Context:
        return replace(self, **changes)


current: ContextVar[Context] = ContextVar("current", default=Context())  # noqa: B039  (frozen)
