"""What the gateway announces: the service catalogue and what people did."""

from __future__ import annotations

from shared.facts._base import Fact


class _Service(Fact):
    name_: str = ""
    description: str = ""
    repository_url: str = ""
    branch: str = "main"
    credential: str | None = None
    dockerfile: str = "./Dockerfile"
    context: str = "."
    sample: bool = False
    by: str = ""


class ServiceRegistered(_Service, owner="gateway", name="service.registered"):
    """A service is in the catalogue. `name_` is its unique DNS label (`name` is the message's own); `credential` a reference,
    never a value; `sample` marks the demo's service, whose vulnerability data is a small dated bundle."""


class ServiceChanged(_Service, owner="gateway", name="service.changed"):
    """The catalogue's entry changed; all its fields as they are now."""


class ServiceDeleted(Fact, owner="gateway", name="service.deleted"):
    """The service left the catalogue. What runs in a runtime goes only when `remove_running` says so."""

    name_: str = ""
    remove_running: bool = False
    by: str = ""


class OperationPerformed(Fact, owner="gateway", name="operation.performed"):
    """A row of the audit log: who did what to which object, and how it ended."""

    category: str
    action: str
    actor: str
    object: str = ""
    outcome: str = "done"
    detail: str = ""
