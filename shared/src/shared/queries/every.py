"""What every service answers about its own messages: how it stands, and what it could not handle.

The owner is `every`: the subject's last token names the service that is asked.
"""

from __future__ import annotations

from pydantic import Field

from shared.facts._base import Part, Query
from shared.queries import Answer

EVERY = "every"


class Standing(Answer):
    """`stream` says why the service does not read the stream, empty when it does; `stream_code` is that in a code."""

    dead_letters: int = 0
    parked: int = 0
    position: int = 0
    stream: str = ""
    stream_code: str = ""


class AskStanding(Query, owner=EVERY, name="standing.ask", askers=("gateway",), answer=Standing, tail="asked"):
    """How many messages have you set aside, and do you read the stream?"""

    asked: str


class Reached(Answer):
    """The position in the stream that was made at `stream_created` (as nats-server writes it; empty before the first read)."""

    stream_created: str = ""
    position: int = 0


class AskReached(
    Query,
    owner=EVERY,
    name="position.ask",
    askers=("gateway", "webhook", "builder", "scanner", "gate", "deployer", "operator-proxy"),
    answer=Reached,
    tail="asked",
):
    """How far have you read, by your database? Asked by every relay before it publishes on a new connection."""

    asked: str


class SealingRenewed(Answer):
    """`key` is the id of the service's newest key, `former` those of keys that only open. `renewed` values were sealed again,
    `left` are still sealed to a former key, `unreadable` to none that the service has."""

    key: str = ""
    former: list[str] = Field(default_factory=list)
    renewed: int = 0
    left: int = 0
    unreadable: int = 0


class RenewSealing(Query, owner=EVERY, name="sealing.renew", askers=("gateway",), answer=SealingRenewed, tail="asked"):
    """Seal again with your newest key what you keep sealed to a former one, and what the gateway keeps for you."""

    asked: str


class DeadLetter(Part):
    """A message that a service could not handle. `body` and `headers` are empty in a list. Times are epoch milliseconds."""

    id: str
    type: str
    subject: str
    position: int
    run: str = ""
    key: str = ""
    attempts: int = 0
    code: str = ""
    error: str = ""
    stored_at_ms: int = 0
    given_up_at_ms: int = 0
    headers: dict[str, str] = Field(default_factory=dict)
    body: str = ""


class DeadLetters(Answer):
    """Oldest first; `total` counts those beyond the limit too."""

    rows: list[DeadLetter] = Field(default_factory=list)
    total: int = 0


class ListDeadLetters(Query, owner=EVERY, name="dead-letter.list", askers=("gateway",), answer=DeadLetters, tail="asked"):
    """Which messages could you not handle? With `letter` that one alone, whole."""

    asked: str
    letter: str = ""
    limit: int = 50


class Settled(Answer):
    """`done` is false when there is no such letter any more."""

    done: bool = False


class SettleDeadLetter(Query, owner=EVERY, name="dead-letter.settle", askers=("gateway",), answer=Settled, tail="asked"):
    """Try this one again (`replay`), or let it be (`dismiss`)."""

    asked: str
    letter: str
    verb: str


class StreamAccepted(Answer):
    """`again` is how many messages of the last day are published once more."""

    again: int = 0


class AcceptStream(Query, owner=EVERY, name="stream.accept", askers=("gateway",), answer=StreamAccepted, tail="asked"):
    """Read the stream that there is now from its beginning, and publish on it once more what you said in the last day.

    With `cut` another service knows that the stream is not whole: then whoever reads it already publishes once more too.
    """

    asked: str
    cut: bool = False
