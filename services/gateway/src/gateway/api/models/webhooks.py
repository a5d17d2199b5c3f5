"""Webhook endpoints and what came in there."""

from gateway.api.models.base import Out


class EndpointOut(Out):
    id: str
    service_id: str
    label: str
    provider: str
    path: str
    url: str = ""
    state: str
    changed_at_ms: int | None


class EndpointSecretOut(Out):
    """The secret, asked of its owner; kept nowhere here."""

    endpoint: str
    label: str
    path: str
    secret: str


class DeliveryOut(Out):
    """One row of the ledger; `verdict` in a word, `reason` in a sentence."""

    delivery: str
    endpoint: str
    received_at: str
    verdict: str
    code: str
    reason: str
    run_number: int | None
    ref: str
    commit: str
