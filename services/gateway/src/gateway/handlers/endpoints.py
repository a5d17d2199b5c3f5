"""Webhook endpoints: their secret and what came in. Asked of webhook, stored nowhere here."""

from __future__ import annotations

from shared.bus import Bus
from shared.clock import Clock
from shared.database import Database
from shared.queries.gateway import (
    LeaseCredential,
    ListSealed,
    ReplaceSealed,
    SealedCredential,
    SealedReplaced,
    SealedRow,
    SealedRows,
)
from shared.queries.webhook import AskEndpointSecret, Deliveries, EndpointSecret, ListDeliveries

from gateway import audit
from gateway.access.door import Actor
from gateway.errors import NotFound
from gateway.handlers.rules import service_id
from gateway.settings import GatewaySettings
from gateway.store import catalogue, services


class Endpoints:
    """Also answers `credential.lease` with the ciphertext for the asker's key."""

    def __init__(self, database: Database, read: Database, bus: Bus, settings: GatewaySettings, clock: Clock) -> None:
        self._database, self._read, self._bus = database, read, bus
        self._settings, self._clock = settings, clock

    async def secret(self, actor: Actor, endpoint: str) -> EndpointSecret:
        """The endpoint's secret, with an audit row that it was shown. Raises NotFound, Unavailable."""
        async with self._read.read() as tx:
            row = await services.endpoint(tx, actor.organisation, endpoint)
        if row is None:
            raise NotFound("endpoint", endpoint[:80])
        found = await self._bus.ask(
            AskEndpointSecret(organisation=actor.organisation, service=row.service_id, endpoint=row.id),
            timeout_seconds=self._settings.query_seconds,
        )
        async with self._database.write() as tx:
            await audit.note(
                tx,
                actor.organisation,
                self._clock.now_ms(),
                category="webhook",
                action="secret shown",
                actor=actor.name,
                object=f"{row.label} ({row.id})",
                service=row.service_id,
            )
        return found

    async def deliveries(self, actor: Actor, service: str, limit: int = 50) -> Deliveries:
        """The ledger of a service, newest first. Raises NotFound, Unavailable."""
        found, _ = await service_id(self._database, actor, service)
        return await self._bus.ask(
            ListDeliveries(organisation=actor.organisation, service=found, limit=min(max(limit, 1), 200)),
            timeout_seconds=self._settings.query_seconds,
        )

    async def lease(self, query: LeaseCredential) -> SealedCredential:
        """The ciphertext of a credential, for the asking service. Useless to anybody without its key."""
        async with self._database.read() as tx:
            sealed = await catalogue.sealed_for(tx, query.organisation, query.credential, query.asker)
        if sealed is None:
            return SealedCredential(
                error="credential.not_found",
                detail="The credential was removed, or is not meant for this service.",
                advice="Enter the token again in the service's settings.",
            )
        return SealedCredential(sealed=sealed)

    async def sealed_elsewhere(self, query: ListSealed) -> SealedRows:
        """What its recipient has to seal again."""
        async with self._database.read() as tx:
            limit = min(max(query.limit, 1), 200)
            rows, total = await catalogue.sealed_elsewhere(tx, query.asker, query.key, query.after, limit)
        return SealedRows(rows=[SealedRow(credential=name, sealed=sealed) for name, sealed in rows], total=total)

    async def replace_sealed(self, query: ReplaceSealed) -> SealedReplaced:
        async with self._database.write() as tx:
            done = await catalogue.replace_sealed(tx, query.asker, query.credential, query.before, query.sealed, query.key)
        return SealedReplaced(done=done)
