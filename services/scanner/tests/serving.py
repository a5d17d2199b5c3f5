"""Hands for the running service: what surrounds it says and hears, and engines that do as they are told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from scanner.clients.git import Source
from scanner.domain.evidence import AreaScan
from scanner.domain.findings import Finding, identified
from shared.context import Context, current
from shared.facts._base import REGISTRY, Message
from shared.facts.scanner import ScanFailed, ScanFinished
from shared.facts.webhook import PushReceived
from shared.hosting import Platform
from shared.subscribers import Envelope
from shared.words import Area, ScanState, Severity, Trigger

from shared import ids

SHOP = "svc_01900000000070008000000000000001"


@dataclass
class Props:
    """The running service, and hands for what surrounds it."""

    platform: Platform

    @property
    def database(self) -> Any:
        return self.platform.services["scanner"].service.database

    async def hear(self, message: Message) -> None:
        """Hand a message to its subscriber in a transaction of its own, as the loop does."""
        _, handler, _ = self.platform.services["scanner"].service.subscribers.table[message.type()]
        envelope = Envelope(ids.uuid7(), message.type(), "", message.subject, datetime.now(UTC), "", "", "", 0, 0)
        mark = current.set(Context(causation=envelope.id, organisation=message.organisation))
        try:
            async with self.database.write() as tx:
                await handler(tx, type(message).model_validate_json(message.model_dump_json()), envelope)
        finally:
            current.reset(mark)

    async def told(self, *kinds: type[Message]) -> list[Any]:
        """What was announced so far, in order."""
        async with self.database.read() as tx:
            rows = await tx.all(sa.select(self.database.outbox).order_by(sa.text("position")))
        messages = [REGISTRY[row.headers["ce-type"]].model_validate_json(row.body) for row in rows]
        return [message for message in messages if not kinds or isinstance(message, kinds)]

    async def until(self, enough: Callable[[list[Any]], bool], *kinds: type[Message], seconds: float = 120) -> list[Any]:
        async with asyncio.timeout(seconds):
            while not enough(found := await self.told(*kinds)):
                await asyncio.sleep(0.05)
        return found

    async def areas(self, number: int) -> dict[Area, Any]:
        """So many results of areas, by area."""
        facts = await self.until(lambda found: len(found) >= number, ScanFinished, ScanFailed)
        return {fact.area: fact for fact in facts[-number:]}

    async def rows(self, table: sa.Table) -> list[dict[str, Any]]:
        async with self.database.read() as tx:
            return [dict(row._mapping) for row in await tx.all(sa.select(table))]


def push(repository: Path | str, commit: str, *, number: int = 1, **more: Any) -> PushReceived:
    values: dict[str, Any] = {"branch": "main", "ref": "refs/heads/main", "trigger": Trigger.WEBHOOK} | more
    run = values.pop("run", ids.new("run"))
    return PushReceived(
        organisation="main", service=SHOP, run=run, number=number, service_name="shop", commit=commit,
        repository_url=str(repository), **values,
    )  # fmt: skip


class Slow:
    """Engines and a repository that take as long as they are told, and say what they did."""

    def __init__(self, *, areas: list[AreaScan] | None = None, hold: bool = False, error: Exception | None = None) -> None:
        self.areas, self.hold, self.error = areas or [], hold, error
        self.began = asyncio.Event()
        self.cancelled = False
        self.runs = 0
        self.credentials: list[Any] = []

    async def fetch(self, repository_url: str, commit: str, folder: Path, **more: Any) -> Source:
        self.credentials.append(more.get("credential"))
        return Source(folder, folder, commit, 1, 1, False)

    async def source_areas(self, source: Source, *, dockerfile: str, job: Any) -> AsyncIterator[AreaScan]:
        self.runs += 1
        self.began.set()
        try:
            for area in self.areas:
                yield area
            if self.error:
                raise self.error
            if self.hold:
                await asyncio.sleep(600)
        except asyncio.CancelledError:
            self.cancelled = True
            raise

    async def image_areas(self, image_id: str, *, is_sample: bool, job: Any) -> AsyncIterator[AreaScan]:
        for area in self.areas:
            yield area


def done(area: Area, *findings: Any) -> AreaScan:
    return AreaScan(area, ScanState.COMPLETED, coverage={"files": 1}, findings=findings)


def finding(rule: str) -> Any:
    return identified([Finding(Area.SECRETS, rule, rule, Severity.HIGH, "gitleaks", secret=rule, path="a")])[0]
