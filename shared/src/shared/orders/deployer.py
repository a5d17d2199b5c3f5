"""What the deployer obeys: the environments of a service."""

from __future__ import annotations

from pydantic import Field

from shared.facts._base import Order
from shared.words import EnvironmentKind


class SetEnvironment(Order, owner="deployer", name="environment.set", senders=("gateway",)):
    """Make or change a deploy target. `variables` are plain values; `observe_seconds` is the watch after a switch."""

    environment: str
    environment_kind: EnvironmentKind = EnvironmentKind.NOT_PRODUCTION
    runtime: str = "local"
    container_port: int = 8080
    health_path: str = "/"
    own_port: bool = False
    variables: dict[str, str] = Field(default_factory=dict)
    observe_seconds: int = 60
    by: str = ""
