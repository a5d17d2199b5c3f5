"""How the platform is, and its upkeep."""

from pydantic import Field

from gateway.api.models.base import Out


class DeadLetterOut(Out):
    """A message that the service `holder` could not handle, and why. `given_up_at_ms` is when it was set aside for good."""

    holder: str
    id: str
    type: str
    subject: str
    position: int
    run: str
    key: str
    attempts: int
    code: str
    error: str
    stored_at_ms: int
    given_up_at_ms: int


class DeadLetterWholeOut(DeadLetterOut):
    """With what came: headers and body as text, masked."""

    headers: dict[str, str]
    body: str


class DeadLettersOut(Out):
    """`silent` are services that did not answer: what they have is not here."""

    items: list[DeadLetterOut]
    total: int
    silent: list[str]


class AcceptedOut(Out):
    """What a service did: published `again` so many messages, or refused because it reads this stream already."""

    service: str
    again: int
    code: str
    reason: str


class StreamAcceptedOut(Out):
    items: list[AcceptedOut]


class RebuildOut(Out):
    """`state` is never, running, done or failed (then with `code` and `reason`)."""

    state: str
    position: int
    of: int
    began_at_ms: int | None
    ended_at_ms: int | None
    code: str
    reason: str


class ServiceStatus(Out):
    ready: bool
    failing: dict[str, str] = Field(default_factory=dict)


class StatusOut(Out):
    """`ready`: all services of this process are. `settled`: outboxes empty and everything heard, too."""

    ready: bool
    settled: bool
    url: str
    services: dict[str, ServiceStatus]
    runs_unfinished: int
    rss_mb: float
    pss_mb: float
