"""What the webhook service answers: the secret of an endpoint, and what a Git repository shows."""

from __future__ import annotations

from pydantic import Field

from shared.facts._base import Part, Query
from shared.queries import Answer


class EndpointSecret(Answer):
    """The endpoint's secret and path, for a person who may manage webhooks. Never stored by the asker."""

    endpoint: str = ""
    label: str = ""
    path: str = ""
    secret: str = ""


class AskEndpointSecret(Query, owner="webhook", name="endpoint.secret", askers=("gateway",), answer=EndpointSecret):
    """What is the secret of this endpoint?"""

    endpoint: str


class Branch(Part):
    """A branch or tag and the commit it points to."""

    name: str
    commit: str


class SourceTested(Answer):
    """What `git ls-remote` showed: branches, tags, the default branch."""

    branches: list[Branch] = Field(default_factory=list)
    tags: list[Branch] = Field(default_factory=list)
    default_branch: str = ""


class TestSource(Query, owner="webhook", name="source.test", askers=("gateway",), answer=SourceTested):
    """Can this repository be read? `sealed` is the credential sealed to webhook's key, when it is not stored yet."""

    __test__ = False  # not a test class, whatever pytest thinks of its name

    repository_url: str
    credential: str | None = None
    sealed: str | None = None


class Resolved(Answer):
    """The commit a branch, tag or commit prefix stands for, with its author and first line where they are known."""

    commit: str = ""
    branch: str = ""
    tag: str = ""


class ResolveSource(Query, owner="webhook", name="source.resolve", askers=("gateway",), answer=Resolved):
    """Which commit does this name stand for in the service's repository?"""

    name_: str


class DeliveryRow(Part):
    """One row of the ledger."""

    delivery: str
    endpoint: str
    received_at: str
    verdict: str
    code: str
    reason: str
    run_number: int | None = None
    ref: str = ""
    commit: str = ""


class Deliveries(Answer):
    """The last deliveries, newest first."""

    rows: list[DeliveryRow] = Field(default_factory=list)


class ListDeliveries(Query, owner="webhook", name="deliveries.list", askers=("gateway",), answer=Deliveries):
    """What came in for this service?"""

    limit: int = 50
