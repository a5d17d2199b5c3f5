"""What doors (API and pages) are given: one value, made in `wiring`."""

from __future__ import annotations

from dataclasses import dataclass

from shared.clock import Clock
from shared.database import Database
from shared.hosting import Host

from gateway.access import Access
from gateway.handlers import Handlers
from gateway.live import Live
from gateway.settings import GatewaySettings


@dataclass(frozen=True)
class Site:
    """`read` is the read model (rows of `tables.read_model`), `owned` what only the gateway knows. A door checks who asks with
    `await site.access.actor(request)` (JSON, GET) or `await site.access.form(request)` (form posts), reads with `store` and
    changes things through `handlers` only."""

    host: Host
    settings: GatewaySettings
    clock: Clock
    owned: Database
    read: Database
    access: Access
    live: Live
    handlers: Handlers

    def collected(self, trace_id: str) -> str:
        """The trace's id while this process sends its spans to a collector; empty while nobody could look the trace up."""
        settings = self.host.settings
        return trace_id if settings.trace_url or settings.trace_file else ""

    @property
    def base_url(self) -> str:
        """The address under which people and Git hosts reach us, without a slash at its end."""
        listener = self.host.settings
        host = f"[{listener.host}]" if ":" in listener.host else listener.host
        return (self.settings.base_url or f"http://{host}:{listener.port}").rstrip("/")
