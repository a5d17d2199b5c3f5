"""Begin a run by hand, stop one."""

from __future__ import annotations

from collections.abc import Sequence

from shared.bus import Bus
from shared.database import Database
from shared.orders.webhook import CancelRun, StartRun
from shared.queries.webhook import ResolveSource
from shared.words import Trigger

from gateway.access.door import Actor
from gateway.domain import names
from gateway.errors import BadInput, NotFound
from gateway.handlers.orders import Orders, Outcome, intent_id
from gateway.handlers.rules import service_id
from gateway.settings import GatewaySettings
from gateway.store import runs


class Runs:
    """Orders to webhook, where runs begin and end."""

    def __init__(self, database: Database, read: Database, bus: Bus, orders: Orders, settings: GatewaySettings) -> None:
        self._database, self._read, self._bus, self._orders = database, read, bus, orders
        self._settings = settings

    async def start(
        self,
        actor: Actor,
        service: str,
        *,
        branch: str = "",
        tag: str = "",
        commit: str = "",
        version: str | None = None,
        environments: Sequence[str] | None = None,
        trigger: Trigger = Trigger.MANUAL,
    ) -> Outcome:
        """Build a branch, tag or commit (one of them; none: the service's branch). The outcome's data has run and number.

        Raises NotFound, BadInput, the code of a name that cannot be resolved, Unavailable when nobody can look, OrderRefused.
        """
        found, name = await service_id(self._database, actor, service)
        given = {
            "branch": names.ref(branch, field="branch"),
            "tag": names.ref(tag, field="tag"),
            "commit": names.ref(commit, field="commit"),
        }
        if sum(bool(value) for value in given.values()) > 1:
            raise BadInput("ref", "Choose one: a branch, a tag or a commit.", field="branch")
        version = names.version(version)
        if not any(given.values()):
            async with self._read.read() as tx:
                given["branch"] = await runs.default_branch(tx, found)
        resolved = await self._bus.ask(
            ResolveSource(
                organisation=actor.organisation,
                service=found,
                name_=given["commit"] or (f"refs/tags/{given['tag']}" if given["tag"] else f"refs/heads/{given['branch']}"),
            ),
            timeout_seconds=self._settings.query_seconds,
        )
        order = StartRun(
            organisation=actor.organisation,
            service=found,
            intent=intent_id(),
            executor=actor.name,
            trigger=trigger,
            branch=given["branch"] or (resolved.branch if given["commit"] else ""),
            tag=given["tag"],
            commit=resolved.commit,
            version=version,
            environments=None if environments is None else [names.label(value, field="environments") for value in environments],
        )
        what = given["branch"] or given["tag"] or resolved.commit[:7]
        return await self._orders.send(actor, order, category="build", action="started", object=f"{name} {what}")

    async def cancel(self, actor: Actor, run: str) -> Outcome:
        """Stop a run that has not ended. Raises NotFound, OrderRefused."""
        async with self._read.read() as tx:
            row = await runs.find(tx, actor.organisation, run)
        if row is None:
            raise NotFound("run", run[:80])
        order = CancelRun(organisation=actor.organisation, service=row.service_id, intent=intent_id(), run=row.id, by=actor.name)
        return await self._orders.send(actor, order, category="run", action="cancelled", object=f"{row.service_name} #{row.number}")
