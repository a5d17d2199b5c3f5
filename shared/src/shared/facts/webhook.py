"""What the webhook service announces: pushes worth a run, and where runs begin, are superseded and end."""

from __future__ import annotations

from pydantic import Field

from shared.facts._base import Fact
from shared.words import EndpointState, RunState, Trigger


class EndpointChanged(Fact, owner="webhook", name="endpoint.changed"):
    """An address that a Git host calls was made or changed. Its secret is asked for by the query `endpoint.secret`."""

    endpoint: str
    label: str
    provider: str
    path: str
    state: EndpointState


class RuleChanged(Fact, owner="webhook", name="rule.changed"):
    """Which pushes are worth a run, and where they go. Patterns are globs; an empty list matches nothing."""

    branches: list[str] = Field(default_factory=list)
    tags: list[str] = Field(default_factory=list)
    environments: list[str] = Field(default_factory=list)
    supersede: bool = True


class _RunBorn(Fact):
    run: str
    number: int
    service_name: str
    trigger: Trigger
    executor: str = ""
    cause: str = ""
    ref: str = ""
    branch: str = ""
    tag: str = ""
    commit: str = ""
    author: str = ""
    message: str = ""
    plan: list[str] = Field(default_factory=list)
    environments: list[str] = Field(default_factory=list)
    version: str | None = None
    delivery: str | None = None


class PushReceived(_RunBorn, owner="webhook", name="push.received"):
    """A run with source is born. `plan` names its steps; `changed_paths` holds at most 200 of `changed_count`
    (None: the payload cannot tell); `commit` is 40 or 64 hexadecimal digits."""

    provider: str = ""
    repository_url: str = ""
    credential: str | None = None
    dockerfile: str = "./Dockerfile"
    context: str = "."
    changed_paths: list[str] = Field(default_factory=list)
    changed_count: int | None = None
    rule: str = ""
    sample: bool = False


class RunStarted(_RunBorn, owner="webhook", name="run.started"):
    """A run without source is born: a rollback, a promotion, a re-deploy of the named release."""

    release: str | None = None


class DeliveryIgnored(Fact, owner="webhook", name="delivery.ignored"):
    """A delivery was understood and not acted on. `code` is stable, `reason` is for people."""

    delivery: str
    endpoint: str
    code: str
    reason: str


class RunSuperseded(Fact, owner="webhook", name="run.superseded"):
    """A newer push of the same ref made this run needless."""

    run: str
    number: int
    by_run: str
    by_number: int


class RunCancelled(Fact, owner="webhook", name="run.cancelled"):
    """A person stopped this run. Whoever holds work of it stops."""

    run: str
    number: int
    by: str


class RunFinished(Fact, owner="webhook", name="run.finished"):
    """The run's plan is done, or a step ended it. `step` names the one that decided, where one did."""

    run: str
    number: int
    outcome: RunState
    step: str | None = None
    code: str = ""
    reason: str = ""
