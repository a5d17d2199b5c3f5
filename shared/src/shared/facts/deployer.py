"""What the deployer announces: which release runs where, and how it came there."""

from __future__ import annotations

from pydantic import Field

from shared.facts._base import Fact
from shared.words import EnvironmentKind


class EnvironmentChanged(Fact, owner="deployer", name="environment.changed"):
    """A deploy target of a service was made or changed. `entry_port` is 0 when only the Host rule leads there."""

    environment: str
    environment_kind: EnvironmentKind
    runtime: str
    container_port: int
    health_path: str = "/"
    entry_port: int = 0
    url: str = ""
    release: str | None = None


class _Deploy(Fact):
    run: str
    number: int
    environment: str
    environment_kind: EnvironmentKind = EnvironmentKind.NOT_PRODUCTION
    request: str
    image_id: str = ""
    image: str = ""
    digest: str | None = None
    commit: str = ""


class DeployRequested(_Deploy, owner="deployer", name="deploy.requested"):
    """The one door to a deploy, whatever asked for it. `cause` is build, rollback, manual or promotion; `back_to` names the
    release a rollback returns to."""

    cause: str
    back_to: str | None = None
    version: str = ""
    version_by_hand: bool = False


class _Release(_Deploy):
    release: str
    release_number: int
    runtime: str
    version: str = ""
    version_by_hand: bool = False


class DeployPlanned(_Release, owner="deployer", name="deploy.planned"):
    """A release was made and its order to the runtime is sent. `before` is the release that runs until the switch."""

    before: str | None = None
    back_to: str | None = None
    changes: list[str] = Field(default_factory=list)


class DeployStarted(_Release, owner="deployer", name="deploy.started"):
    """The runtime began to put the release in place."""


class DeployProgressed(_Release, owner="deployer", name="deploy.progressed"):
    """Step `step` of `steps`, in words."""

    step: int
    steps: int
    text: str


class DeployReady(_Release, owner="deployer", name="deploy.ready"):
    """The release serves. `stages_ms` maps start, probe, switch, drain to milliseconds."""

    url: str = ""
    container: str = ""
    back_to: str | None = None
    stages_ms: dict[str, int] = Field(default_factory=dict)
    text: str = ""


class DeploySettled(_Release, owner="deployer", name="deploy.settled"):
    """The watch after the switch is over. `healthy` after `seconds` of observation, or not, because `reason`."""

    healthy: bool
    seconds: int
    code: str = ""
    reason: str = ""
    advice: str = ""


class DeployFailed(_Deploy, owner="deployer", name="deploy.failed"):
    """The release is not in place; `still_serving` names the release number that is, None when nothing serves."""

    release: str = ""
    release_number: int = 0
    code: str
    reason: str
    advice: str = ""
    still_serving: int | None = None


class DeployCancelled(_Deploy, owner="deployer", name="deploy.cancelled"):
    """The request came to nothing because its run was cancelled or superseded, or the gate blocked it."""

    reason: str


class DeployRolledBack(_Release, owner="deployer", name="deploy.rolled-back"):
    """A release from before serves again; what came back, in words."""

    from_release: str | None = None
    from_number: int | None = None
    to_number: int = 0
    came_back: list[str] = Field(default_factory=list)
