"""What the gateway answers, and the one-way subject on which it hears the answer to a person's order."""

from __future__ import annotations

from pydantic import Field

from shared.facts._base import Query
from shared.queries import Answer

ALL = ("webhook", "builder", "scanner", "gate", "deployer", "operator-proxy")


class SealedCredential(Answer):
    """The ciphertext (base64 of a libsodium sealed box), for the asking service's key alone."""

    sealed: str = ""


class LeaseCredential(
    Query,
    owner="gateway",
    name="credential.lease",
    askers=("webhook", "builder", "scanner", "operator-proxy"),
    answer=SealedCredential,
):
    """Hand me the credential, sealed to my key."""

    credential: str
    asker: str


class OrderAnswered(Query, owner="gateway", name="order.answered", askers=ALL, tail="intent"):
    """One way, no reply: the order of this intent was accepted, or refused because. `data` has what the receiver made of it."""

    intent: str
    accepted: bool
    code: str = ""
    reason: str = ""
    advice: str = ""
    data: dict[str, str] = Field(default_factory=dict)
