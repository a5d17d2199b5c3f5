"""Messages that a service could not handle, and a stream that it does not know. Asked of each service, stored nowhere here."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from shared.bus import SERVICES, Bus
from shared.clock import Clock
from shared.database import Database
from shared.errors import KiopsError, Rejected, Unavailable
from shared.outbox import STRANGE
from shared.queries.every import (
    AcceptStream,
    AskStanding,
    DeadLetter,
    ListDeadLetters,
    RenewSealing,
    SealingRenewed,
    SettleDeadLetter,
    Standing,
)

from gateway import audit
from gateway.access.door import Actor
from gateway.errors import AdminNeeded, NotFound
from gateway.settings import GatewaySettings

RENEW_SECONDS = 60.0
"""A service with thousands of secrets seals them again in that."""


@dataclass(frozen=True)
class Letters:
    """Dead letters with the service that has them, oldest first; `total` counts those that are not shown, too. `silent` are the
    services that did not answer."""

    rows: tuple[tuple[str, DeadLetter], ...]
    total: int
    silent: tuple[str, ...]


@dataclass(frozen=True)
class Accepted:
    """What a service did: `again` messages are published once more; or the code and words of why it did nothing."""

    service: str
    again: int = 0
    code: str = ""
    reason: str = ""


@dataclass
class Upkeep:
    """What keeps the messages going. All but `look` is for administrators."""

    database: Database
    bus: Bus
    settings: GatewaySettings
    clock: Clock
    standing: dict[str, Standing] = field(default_factory=dict)

    # -- how it stands -----------------------------------------------------------------------------------------------
    async def look(self, organisation: str) -> None:
        """Ask every service how it stands, and remember it. Who does not answer is left as it was."""

        async def one(service: str) -> None:
            try:
                self.standing[service] = await self._ask(AskStanding(organisation=organisation, asked=service))
            except KiopsError:
                pass

        await asyncio.gather(*(one(service) for service in SERVICES))

    @property
    def dead_letters(self) -> int:
        """How many there were when we looked last."""
        return sum(each.dead_letters for each in self.standing.values())

    @property
    def strange_stream(self) -> str:
        """Why services do not read the stream that there is, empty when they do."""
        there = [each.stream for each in self.standing.values() if each.stream_code in STRANGE]
        return there[0] if there else ""

    # -- dead letters ------------------------------------------------------------------------------------------------
    async def letters(self, actor: Actor, services: Sequence[str] = SERVICES, limit: int = 50) -> Letters:
        """What no service could handle. Raises AdminNeeded."""
        _admin(actor)

        async def one(service: str):
            try:
                return await self._ask(ListDeadLetters(organisation=actor.organisation, asked=service, limit=limit))
            except Unavailable:
                return None

        found = await asyncio.gather(*(one(service) for service in services))
        rows = [(service, row) for service, each in zip(services, found, strict=True) if each for row in each.rows]
        rows.sort(key=lambda row: (row[1].given_up_at_ms, row[1].id))
        return Letters(
            rows=tuple(rows),
            total=sum(each.total for each in found if each),
            silent=tuple(service for service, each in zip(services, found, strict=True) if each is None),
        )

    async def letter(self, actor: Actor, service: str, letter: str) -> DeadLetter:
        """One, with headers and body. Raises NotFound, AdminNeeded, Unavailable."""
        _admin(actor)
        _known(service)
        found = await self._ask(ListDeadLetters(organisation=actor.organisation, asked=service, letter=letter))
        if not found.rows:
            raise NotFound("dead-letter", letter[:80])
        return found.rows[0]

    async def settle(self, actor: Actor, service: str, letter: str, verb: str) -> None:
        """`replay` it or `dismiss` it, with an audit row. Raises NotFound, AdminNeeded, Unavailable."""
        _admin(actor)
        _known(service)
        asked = SettleDeadLetter(organisation=actor.organisation, asked=service, letter=letter, verb=verb)
        if not (await self._ask(asked)).done:
            raise NotFound("dead-letter", letter[:80])
        await self._note(actor, "dead letter replayed" if verb == "replay" else "dead letter dismissed", f"{service} {letter}")

    # -- the stream --------------------------------------------------------------------------------------------------
    async def accept_stream(self, actor: Actor) -> list[Accepted]:
        """Have every service read the stream that there is now, and publish once more what it said in the last day. Raises
        AdminNeeded, Unavailable `stream.silent` when a service does not answer: all have to, or some would hear nothing."""
        _admin(actor)
        silent, cut = [], False
        for service in SERVICES:
            try:
                standing = await self._ask(AskStanding(organisation=actor.organisation, asked=service))
                cut = cut or standing.stream_code in STRANGE
            except Unavailable:
                silent.append(service)
        if silent:
            raise Unavailable("stream.silent", f"{', '.join(silent)} does not answer", "Start every service, then try again.")
        done = [await self._accept(actor, service, cut) for service in SERVICES]
        await self._note(actor, "stream accepted", ", ".join(each.service for each in done if not each.code))
        return done

    async def _accept(self, actor: Actor, service: str, cut: bool) -> Accepted:
        try:
            answer = await self._ask(AcceptStream(organisation=actor.organisation, asked=service, cut=cut))
        except Rejected as error:
            return Accepted(service, code=error.code, reason=error.message)
        return Accepted(service, again=answer.again)

    # -- keys --------------------------------------------------------------------------------------------------------
    async def renew_sealing(self, actor: Actor) -> list[tuple[str, SealingRenewed]]:
        """Have every service seal again, with its newest key, what is sealed to a former one of its. Who does not answer says so
        by the answer's `error` and `detail`. Raises AdminNeeded."""
        _admin(actor)

        async def one(service: str) -> tuple[str, SealingRenewed]:
            query = RenewSealing(organisation=actor.organisation, asked=service)
            try:
                return service, await self.bus.ask(query, timeout_seconds=RENEW_SECONDS)
            except KiopsError as error:
                return service, SealingRenewed(error=error.code, detail=error.message)

        done = [await one(service) for service in SERVICES]
        if renewed := sum(each.renewed for _, each in done):
            await self._note(actor, "secrets sealed again", f"{renewed}")
        return done

    async def _ask(self, query):
        return await self.bus.ask(query, timeout_seconds=self.settings.query_seconds)

    async def _note(self, actor: Actor, action: str, what: str) -> None:
        async with self.database.write() as tx:
            now_ms = self.clock.now_ms()
            await audit.note(tx, actor.organisation, now_ms, category="platform", action=action, actor=actor.name, object=what)


def _admin(actor: Actor) -> None:
    if actor.role != "admin":
        raise AdminNeeded


def _known(service: str) -> None:
    if service not in SERVICES:
        raise NotFound("service", service[:80])
