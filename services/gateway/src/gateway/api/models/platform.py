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


class RenewedOut(Out):
    """`key` is the id of the service's newest key, `former` those of keys that only open. `renewed` secrets were sealed again,
    `left` are still sealed to a former key, `unreadable` to none that is there. `code` and `reason` when it did not answer."""

    service: str
    key: str
    former: list[str]
    renewed: int
    left: int
    unreadable: int
    code: str
    reason: str


class SealingRenewedOut(Out):
    items: list[RenewedOut]


class RebuildOut(Out):
    """`state` is never, running, done or failed (then with `code` and `reason`)."""

    state: str
    position: int
    of: int
    began_at_ms: int | None
    ended_at_ms: int | None
    code: str
    reason: str


class RoleOut(Out):
    """Since when an instance has a role, and how long its lease lasts if it is not renewed; null where nobody knows."""

    held_seconds: float | None
    left_seconds: float | None


class InstanceOut(Out):
    """An instance of a service; `here` is the one of this process. `silent_seconds` is 0 while it says that it is there."""

    id: str
    here: bool
    node: str
    port: int
    pid: int
    started_at_ms: int
    silent_seconds: float
    roles: dict[str, RoleOut]


class ServiceStatus(Out):
    """`stream_code` is not empty when the stream of facts is not the one that the service knows."""

    ready: bool
    failing: dict[str, str] = Field(default_factory=dict)
    stream_code: str
    instances: list[InstanceOut]


class StatusOut(Out):
    """`ready`: all services of this process are. `settled`: outboxes empty and everything heard, too."""

    ready: bool
    settled: bool
    url: str
    services: dict[str, ServiceStatus]
    runs_unfinished: int
    rss_mb: float
    pss_mb: float
