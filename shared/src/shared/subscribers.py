"""Doors to the bus: a table of message class -> handler for facts and orders, and one of query -> answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

from shared.database import Tx
from shared.facts._base import REGISTRY, Message, Part, Query

Handler = Callable[[Tx, Any, "Envelope"], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Envelope:
    """What a message carries besides its body. `sequence` and `stored_at_ms` are the stream's."""

    id: str
    type: str
    source: str
    subject: str
    time: datetime
    correlation: str
    causation: str
    traceparent: str
    sequence: int
    stored_at_ms: int

    @classmethod
    def read(cls, headers: dict[str, str], subject: str, sequence: int, stored_at_ms: int) -> Envelope:
        """From the message's headers (CloudEvents 1.0, NATS binding; values percent-encoded). Missing ones are empty."""
        get = lambda name: unquote(headers.get(name, ""))  # noqa: E731
        try:
            time = datetime.fromisoformat(get("ce-time"))
        except ValueError:
            time = datetime.fromtimestamp(stored_at_ms / 1000, UTC)
        return cls(
            id=get("ce-id") or headers.get("Nats-Msg-Id", "") or f"stream-{sequence}",
            type=get("ce-type") or ".".join(subject.split(".")[:4]),
            source=get("ce-source"),
            subject=subject,
            time=time,
            correlation=get("ce-correlationid"),
            causation=get("ce-causationid"),
            traceparent=headers.get("traceparent", ""),
            sequence=sequence,
            stored_at_ms=stored_at_ms,
        )


@dataclass
class Subscribers:
    """Which handler acts on which fact or order. Use as a decorator: `@on(PushReceived, key=lambda m: m.run)`.

    With `fold(tx, batch, watch)` there are no handlers, only messages that it hears (`hear`): it gets all new ones of a batch at
    once, as `Incoming`, and enters `watch(incoming)` around each where it does what that one asks for. It writes all or raises.
    """

    fold: Callable[[Tx, Sequence[Any], Any], Awaitable[None]] | None = None
    table: dict[str, tuple[type[Message], Handler | None, Callable[[Any], str]]] = field(default_factory=dict)

    def __call__(self, message: type[Message], *, key: Callable[[Any], str] | None = None) -> Callable[[Handler], Handler]:
        def note(handler: Handler) -> Handler:
            self._note(message, handler, key)
            return handler

        return note

    def hear(self, message: type[Message], *, key: Callable[[Any], str] | None = None) -> None:
        """This message is heard by `fold`."""
        self._note(message, None, key)

    def _note(self, message: type[Message], handler: Handler | None, key: Callable[[Any], str] | None) -> None:
        if message.type() in self.table:
            raise ValueError(f"two handlers for {message.type()}")
        if (handler is None) != (self.fold is not None):
            raise ValueError(f"{message.type()} needs a handler, or a fold that hears it")
        self.table[message.type()] = (message, handler, key or _default_key)

    def classes(self) -> set[type[Message]]:
        return {entry[0] for entry in self.table.values()}


def _default_key(message: Any) -> str:
    return getattr(message, "run", "") or getattr(message, "service", "")


@dataclass
class Answers:
    """Which function answers which query. Use as a decorator: `@answers(AskImageExists)`. A one-way query returns None."""

    table: dict[str, tuple[type[Query], Callable[[Any], Awaitable[Part | None]]]] = field(default_factory=dict)

    def __call__(
        self, query: type[Query]
    ) -> Callable[[Callable[[Any], Awaitable[Part | None]]], Callable[[Any], Awaitable[Part | None]]]:
        def note(answer: Callable[[Any], Awaitable[Part | None]]) -> Callable[[Any], Awaitable[Part | None]]:
            self.table[query.type()] = (query, answer)
            return answer

        return note


def message_class(subject: str) -> type[Message] | None:
    """The contract of a subject `kiops.<owner>.<noun>.<verb>.<org>.<service>`, None when there is none."""
    return REGISTRY.get(".".join(subject.split(".")[:4]))
