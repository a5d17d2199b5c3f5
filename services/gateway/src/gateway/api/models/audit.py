"""Who did what."""

from gateway.api.models.base import Out


class AuditOut(Out):
    id: str
    sequence: int
    service_id: str
    category: str
    action: str
    actor: str
    object: str
    outcome: str
    detail: str
    at_ms: int


class ChainOut(Out):
    """What checking the audit chain found: right rows in a row, and the first that is not."""

    rows: int
    broken_at: int | None
    reason: str
