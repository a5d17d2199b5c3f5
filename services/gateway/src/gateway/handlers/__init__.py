"""What a person can order, readable as a list. Doors call these; each is one transaction, audited.

    services      register, change, delete, test
    rules         set
    environments  set
    runs          start, cancel
    releases      deploy, preview, roll_back
    endpoints     secret, deliveries
    people        set_password, make_link, make_token, end_token
    upkeep        letters, letter, settle, accept_stream

All take the Actor first and raise the errors of `shared.errors`; orders return an `Outcome`.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.handlers.endpoints import Endpoints
from gateway.handlers.orders import Orders, Outcome
from gateway.handlers.people import People
from gateway.handlers.read_model import ReadModels
from gateway.handlers.releases import Releases
from gateway.handlers.rules import Environments, Rules
from gateway.handlers.runs import Runs
from gateway.handlers.services import Services
from gateway.handlers.upkeep import Upkeep

__all__ = ["Handlers", "Outcome"]


@dataclass(frozen=True)
class Handlers:
    """Made in `wiring`."""

    orders: Orders
    services: Services
    rules: Rules
    environments: Environments
    runs: Runs
    releases: Releases
    endpoints: Endpoints
    people: People
    upkeep: Upkeep
    read_model: ReadModels
