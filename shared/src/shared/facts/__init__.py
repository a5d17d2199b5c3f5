"""CONTRACTS: what happened. One module per service that publishes; nothing here but shape."""

from shared.facts._base import REGISTRY, Fact, Message, Order, Part, Query

__all__ = ["REGISTRY", "Fact", "Message", "Order", "Part", "Query"]
