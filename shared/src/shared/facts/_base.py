"""The shape every message on the bus has: who owns it, its subject, the fields its subject is made of.

A message class is written as::

    class PushReceived(Fact, owner="webhook", name="push.received"):
        run: str

The subject is `kiops.<owner>.<noun>.<verb>.<organisation>.<service>`; `_` stands where there is no service. Messages
of the operator-proxy end in the runtime instead, so that each instance hears its own (`tail="runtime"`).
"""

from __future__ import annotations

import re
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict

TOKEN = re.compile(r"^[A-Za-z0-9_-]{1,80}$")
REGISTRY: dict[str, type[Message]] = {}


class Part(BaseModel):
    """A value inside a message. Frozen; unknown fields are ignored, so that an older reader bears a newer writer."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Message(Part):
    """What facts, orders and queries have in common."""

    kind: ClassVar[Literal["fact", "order", "query"]]
    owner: ClassVar[str] = ""
    name: ClassVar[str] = ""
    tail: ClassVar[str] = "service"

    organisation: str
    service: str = "_"

    def __init_subclass__(cls, owner: str = "", name: str = "", tail: str = "service", **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if owner:
            cls.owner, cls.name, cls.tail = owner, name, tail
            REGISTRY[cls.type()] = cls

    @classmethod
    def type(cls) -> str:
        """`kiops.<owner>.<noun>.<verb>`: the CloudEvents type and the beginning of the subject."""
        return f"kiops.{cls.owner}.{cls.name}"

    @classmethod
    def pattern(cls, tail: str = "*") -> str:
        """The subject with wildcards for organisation and service (or the given last token)."""
        return f"{cls.type()}.*.{tail}"

    @property
    def subject(self) -> str:
        """The full subject. Raises ValueError when the organisation or the last token is no NATS token."""
        last = str(getattr(self, self.tail))
        for token in (self.organisation, last):
            if not TOKEN.match(token):
                raise ValueError(f"{token!r} cannot be part of a subject: letters, digits, - and _, at most 80")
        return f"{self.type()}.{self.organisation}.{last}"


class Fact(Message):
    """Something that happened; past tense; owned by the service that publishes it."""

    kind = "fact"


class Order(Message):
    """Something to be done; imperative; owned by the service that obeys it. `senders` may publish it."""

    kind = "order"
    senders: ClassVar[tuple[str, ...]] = ()
    intent: str = ""

    def __init_subclass__(cls, senders: tuple[str, ...] = (), **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.senders = senders


class Query(Message):
    """A question answered at once over request/reply; stored nowhere; owned by the service that answers."""

    kind = "query"
    askers: ClassVar[tuple[str, ...]] = ()
    answer: ClassVar[type[Part] | None] = None

    def __init_subclass__(cls, askers: tuple[str, ...] = (), answer: type[Part] | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.askers, cls.answer = askers, answer
