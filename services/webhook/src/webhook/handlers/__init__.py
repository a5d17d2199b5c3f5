"""What this service can do, readable as a list. One transaction each."""

from __future__ import annotations

from webhook.handlers.catalogue import Catalogue
from webhook.handlers.deliveries import Deliveries, Receipt
from webhook.handlers.resealing import Resealing
from webhook.handlers.runs import Runs
from webhook.handlers.sources import Sources

__all__ = ["Catalogue", "Deliveries", "Handlers", "Receipt", "Resealing", "Runs", "Sources"]


class Handlers:
    """All use cases of the service, by their noun."""

    def __init__(self, *, catalogue: Catalogue, deliveries: Deliveries, runs: Runs, sources: Sources) -> None:
        self.catalogue, self.deliveries, self.runs, self.sources = catalogue, deliveries, runs, sources
