"""JSON for machines below /api/v1: everything that the pages do, by the same handlers."""

from gateway.api.assembled import document, routes

__all__ = ["document", "routes"]
