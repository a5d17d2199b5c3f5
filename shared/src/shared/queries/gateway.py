"""What the gateway answers, and the one-way subject on which it hears the answer to a person's order."""

from __future__ import annotations

from pydantic import Field

from shared.facts._base import Part, Query
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


RECIPIENTS = ("webhook", "builder", "scanner", "operator-proxy")
"""Who may open credentials."""


class SealedRow(Part):
    """A stored ciphertext, of any organisation: keys are the platform's."""

    credential: str
    sealed: str


class SealedRows(Answer):
    """In the order of their ids; `total` counts those beyond the limit too."""

    rows: list[SealedRow] = Field(default_factory=list)
    total: int = 0


class ListSealed(Query, owner="gateway", name="sealed.list", askers=RECIPIENTS, answer=SealedRows, tail="asker"):
    """Which credentials are sealed to me, but not to this key? Those whose id comes after `after`."""

    asker: str
    key: str
    after: str = ""
    limit: int = 100


class SealedReplaced(Answer):
    """`done` is false when the ciphertext was not what it was said to be any more."""

    done: bool = False


class ReplaceSealed(Query, owner="gateway", name="sealed.replace", askers=RECIPIENTS, answer=SealedReplaced, tail="asker"):
    """Store my ciphertext of this credential, sealed to my key of this id, in the place of the one before."""

    asker: str
    credential: str
    before: str
    sealed: str
    key: str


class OrderAnswered(Query, owner="gateway", name="order.answered", askers=ALL, tail="intent"):
    """One way, no reply: the order of this intent was accepted, or refused because. `data` has what the receiver made of it."""

    intent: str
    accepted: bool
    code: str = ""
    reason: str = ""
    advice: str = ""
    data: dict[str, str] = Field(default_factory=dict)
