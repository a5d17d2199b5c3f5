"""Deploy a release, see what a rollback would bring back, roll back."""

from __future__ import annotations

from typing import Any

from shared.bus import Bus
from shared.database import Database
from shared.orders.webhook import StartRun
from shared.queries.deployer import PreviewRollback, RollbackPreview
from shared.words import Trigger

from gateway.access.door import Actor
from gateway.domain import names
from gateway.errors import NotFound
from gateway.handlers.orders import Orders, Outcome, intent_id
from gateway.handlers.rules import service_id
from gateway.settings import GatewaySettings
from gateway.store import releases


class Releases:
    """A deploy by hand is a run of a release: the order `run.start` to webhook."""

    def __init__(self, database: Database, read: Database, bus: Bus, orders: Orders, settings: GatewaySettings) -> None:
        self._database, self._read, self._bus, self._orders = database, read, bus, orders
        self._settings = settings

    async def deploy(self, actor: Actor, service: str, release: str, environment: str = "") -> Outcome:
        """Put a release into an environment: its own again, or another one (a promotion). Raises NotFound, OrderRefused."""
        found, name = await service_id(self._database, actor, service)
        row = await self._release(actor, found, release)
        target = names.label(environment, field="environment") if environment else row.environment
        trigger = Trigger.MANUAL if target == row.environment else Trigger.PROMOTION
        return await self._send(actor, name, row, target, trigger, "deployed")

    async def preview(self, actor: Actor, service: str, environment: str, release: str | None = None) -> RollbackPreview:
        """What would come back; `release` None: of the one before the one that runs. Raises NotFound, the deployer's refusal."""
        found, _ = await service_id(self._database, actor, service)
        if release:
            release = (await self._release(actor, found, release)).id
        query = PreviewRollback(
            organisation=actor.organisation,
            service=found,
            environment=names.label(environment, field="environment"),
            release=release,
        )
        return await self._bus.ask(query, timeout_seconds=self._settings.query_seconds)

    async def roll_back(self, actor: Actor, service: str, environment: str, release: str | None = None) -> Outcome:
        """Return an environment to a release; None: to the one before the one that runs. Raises NotFound, OrderRefused."""
        found, name = await service_id(self._database, actor, service)
        if release is None:
            release = (await self.preview(actor, service, environment)).release
        row = await self._release(actor, found, release)
        return await self._send(actor, name, row, names.label(environment, field="environment"), Trigger.ROLLBACK, "rolled back")

    async def _release(self, actor: Actor, service: str, release: str) -> Any:
        async with self._read.read() as tx:
            row = await releases.find(tx, actor.organisation, release)
        if row is None or row.service_id != service:
            raise NotFound("release", release[:80])
        return row

    async def _send(self, actor: Actor, name: str, row: Any, environment: str, trigger: Trigger, action: str) -> Outcome:
        order = StartRun(
            organisation=actor.organisation,
            service=row.service_id,
            intent=intent_id(),
            executor=actor.name,
            trigger=trigger,
            commit=row.commit,
            version=row.version or None,
            environments=[environment],
            release=row.id,
            release_number=row.number,
        )
        return await self._orders.send(
            actor,
            order,
            category="deploy",
            action=action,
            object=f"{name} to {environment}",
        )
