"""This service's own errors.

Rejected
├── Refused            a delivery that is no delivery of ours: 400, 401, 404, 413, 415; its code is recorded
│   ├── SignatureMissing   401
│   └── SignatureWrong     401
└── RunRefused         an order that cannot be obeyed, answered to the person
"""

from __future__ import annotations

from shared.errors import Rejected


class Refused(Rejected):
    """A delivery that cannot be taken. `status` is the HTTP answer."""

    status = 400


class SignatureMissing(Refused):
    """The header with the signature is not there."""

    status = 401

    def __init__(self, header: str) -> None:
        super().__init__(
            "webhook.signature_missing",
            f"the delivery has no {header} header",
            "Give the sender the endpoint's secret; docs/webhooks.md says how a delivery is signed.",
        )


class SignatureWrong(Refused):
    """The signature was not made with this endpoint's secret over exactly this body."""

    status = 401

    def __init__(self) -> None:
        super().__init__(
            "webhook.signature_wrong",
            "the signature does not fit the body and this endpoint's secret",
            "Check that the sender has this endpoint's secret and signs the bytes it sends, unchanged.",
        )


class RunRefused(Rejected):
    """A person's order about a run or a rule cannot be obeyed."""


def endpoint_unknown() -> Refused:
    """Nothing listens at this address (404)."""
    return Refused(
        "webhook.endpoint_unknown",
        "there is no webhook endpoint at this address",
        "Copy the endpoint's URL again from the service's webhook page.",
        status=404,
    )


def body_too_large(limit: int) -> Refused:
    """The body is longer than the setting allows (413)."""
    return Refused(
        "webhook.body_too_large",
        f"the body has more than {limit} bytes",
        "Send fewer commits or no file lists; or raise WEBHOOK_MAX_BODY_BYTES.",
        status=413,
    )


def not_json_type(given: str) -> Refused:
    """The content type is not JSON (415)."""
    return Refused(
        "webhook.content_type",
        f"the content type is {given[:80] or 'missing'!r}, not application/json",
        "Send Content-Type: application/json.",
        status=415,
    )
