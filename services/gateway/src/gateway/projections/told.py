"""What a projection needs to know of a fact besides its body."""

from __future__ import annotations

from typing import Protocol


class Told(Protocol):
    """Its id, its place in the stream, the trace it belongs to, and when the stream stored it. An `Envelope` is one."""

    @property
    def id(self) -> str: ...
    @property
    def subject(self) -> str: ...
    @property
    def sequence(self) -> int: ...
    @property
    def traceparent(self) -> str: ...
    @property
    def stored_at_ms(self) -> int: ...
