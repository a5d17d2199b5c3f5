"""What the deployer can do."""

from __future__ import annotations

from dataclasses import dataclass

from deployer.handlers.catalogue import Catalogue
from deployer.handlers.checks import Checks
from deployer.handlers.environments import Environments
from deployer.handlers.previews import Previews
from deployer.handlers.requests import Requests
from deployer.handlers.rollouts import Rollouts


@dataclass(frozen=True)
class Handlers:
    """The deployer's use cases, one object per noun."""

    catalogue: Catalogue
    environments: Environments
    requests: Requests
    rollouts: Rollouts
    checks: Checks
    previews: Previews


__all__ = ["Catalogue", "Checks", "Environments", "Handlers", "Previews", "Requests", "Rollouts"]
