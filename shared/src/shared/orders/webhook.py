"""What the webhook service obeys: begin a run, stop one, which pushes count."""

from __future__ import annotations

from pydantic import Field

from shared.facts._base import Order
from shared.words import Trigger


class StartRun(Order, owner="webhook", name="run.start", senders=("gateway",)):
    """Begin a run by hand. With a release it is a rollback or re-deploy of that release; else of a branch, tag or commit (one
    of them; the resolved `commit` always). `environments` None: those of the rule."""

    executor: str
    trigger: Trigger = Trigger.MANUAL
    branch: str = ""
    tag: str = ""
    commit: str = ""
    message: str = ""
    author: str = ""
    version: str | None = None
    environments: list[str] | None = None
    release: str | None = None
    release_number: int | None = None


class CancelRun(Order, owner="webhook", name="run.cancel", senders=("gateway",)):
    """Stop a run that has not ended."""

    run: str
    by: str


class SetRule(Order, owner="webhook", name="rule.set", senders=("gateway",)):
    """Which pushes are worth a run, and the environments they go to."""

    branches: list[str] = Field(default_factory=list)
    tags: list[str] = Field(default_factory=list)
    environments: list[str] = Field(default_factory=list)
    supersede: bool = True
    by: str = ""
