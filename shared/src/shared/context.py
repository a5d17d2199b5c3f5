"""What is being done just now: the run, the message before, the trace. Travels into every message, log line and child."""

from __future__ import annotations

import os
import re
from contextvars import ContextVar
from dataclasses import dataclass, replace

_TRACEPARENT = re.compile(r"^00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})$")


def read_traceparent(text: str) -> tuple[str, str, str] | None:
    """(trace, span, flags) of a W3C traceparent, None when it is none."""
    found = _TRACEPARENT.match(text)
    return (found[1], found[2], found[3]) if found else None


def trace_of(traceparent: str) -> str:
    """The trace's id, 32 hexadecimal digits; empty when this is no traceparent."""
    found = read_traceparent(traceparent)
    return found[0] if found else ""


def new_traceparent(parent: str = "") -> str:
    """A W3C traceparent: a child of the given one, or a new trace. https://www.w3.org/TR/trace-context/"""
    found = _TRACEPARENT.match(parent)
    trace = found[1] if found else os.urandom(16).hex()
    return f"00-{trace}-{os.urandom(8).hex()}-01"


@dataclass(frozen=True, slots=True)
class Context:
    """`correlation` is the run, `causation` the id of the message (or delivery) that led here, `service` who does it."""

    correlation: str = ""
    causation: str = ""
    traceparent: str = ""
    organisation: str = ""
    service: str = ""

    def child(self, **changes: str) -> Context:
        return replace(self, **changes)


current: ContextVar[Context] = ContextVar("current", default=Context())  # noqa: B039  (frozen)
