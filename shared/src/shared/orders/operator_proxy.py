"""What the operator-proxy obeys: put a release in place, take a target away."""

from __future__ import annotations

from pydantic import Field

from shared.facts._base import Order


class ApplyRelease(Order, owner="operator-proxy", name="release.apply", senders=("deployer",), tail="runtime"):
    """Start the release beside what runs, probe it, switch, drain, remove the old. `fence` grows per environment: an order
    with a smaller fence than one already obeyed is refused. Deadlines and times in seconds."""

    runtime: str
    release: str
    release_number: int
    run: str
    environment: str
    service_name: str
    image: str
    image_id: str
    container_port: int
    health_path: str = "/"
    own_port: bool = False
    variables: dict[str, str] = Field(default_factory=dict)
    fence: int
    deadline_seconds: int = 120
    drain_seconds: int = 10
    observe_seconds: int = 60


class RemoveTarget(Order, owner="operator-proxy", name="target.remove", senders=("deployer",), tail="runtime"):
    """Take away everything a service's environment has on the runtime: containers, routes, entry port."""

    runtime: str
    environment: str
    service_name: str
    by: str = ""
