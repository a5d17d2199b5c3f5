"""The read model, made anew from the stream by order of a person."""

from __future__ import annotations

from shared.clock import Clock
from shared.database import Database

from gateway import audit
from gateway.access.door import Actor
from gateway.errors import AdminNeeded
from gateway.rebuilding.rebuild import Progress, Rebuilding


class ReadModels:
    """For administrators."""

    def __init__(self, database: Database, rebuilding: Rebuilding, clock: Clock) -> None:
        self._database, self._rebuilding, self._clock = database, rebuilding, clock

    def progress(self, actor: Actor) -> Progress:
        """How the rebuild of this process stands. Raises AdminNeeded."""
        if actor.role != "admin":
            raise AdminNeeded
        return self._rebuilding.progress

    async def rebuild(self, actor: Actor) -> Progress:
        """Begin one. Raises AdminNeeded, Rejected `rebuild.running`, Unavailable `bus.away`."""
        self.progress(actor)
        begun = self._rebuilding.start()
        async with self._database.write() as tx:
            note = {"category": "platform", "action": "read model rebuilt", "actor": actor.name, "outcome": "begun"}
            await audit.note(tx, actor.organisation, self._clock.now_ms(), **note)
        return begun
