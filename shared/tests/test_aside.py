"""What is set aside is found again: nobody remembers that there is nothing while something is."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from shared.aside import Aside
from shared.clock import Clock
from shared.database import Database, Tx, open_engines
from shared.inbox import Incoming
from shared.subscribers import Envelope
from shared.tables import NAMING, chassis_tables

from shared import logging


@pytest.fixture
async def aside(tmp_path: Path, database_url: str) -> AsyncIterator[Aside]:
    url = database_url.replace("{database}", "builder")
    metadata = sa.MetaData(naming_convention=NAMING)
    chassis_tables(metadata)
    async with open_engines("builder", metadata, path=tmp_path / "toy.db", url=url, clock=Clock()) as opened:
        async with opened.write() as tx:
            await tx.connection.run_sync(opened.metadata.create_all)
        yield Aside(opened, logging.get("builder"))


def message(number: int) -> Incoming:
    subject = "kiops.webhook.push.received.main.svc_1"
    return Incoming(Envelope.read({"ce-id": f"m{number}"}, subject, number, 1000), {}, "{}")


async def test_who_looks_before_the_commit_does_not_forget_what_is_parked(aside: Aside) -> None:
    """Its row is not there for others yet; right after the commit it is found."""
    assert await aside.due() == []
    assert not aside.may_hold
    async with aside.database.write() as tx:
        await aside.park(tx, message(1), "run_1", attempts=0, code="toy.broken", error="it broke")
        assert await aside.due() == []
    assert [row.id for row in await aside.due()] == ["m1"]


class SlowToRead:
    """A database, at the end of whose reads something happens."""

    def __init__(self, database: Database, then: Callable[[], Awaitable[None]]) -> None:
        self._database, self._then = database, then

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Tx]:
        async with self._database.read() as tx:
            yield tx
            await self._then()


async def test_what_is_parked_while_somebody_looks_is_not_forgotten(aside: Aside) -> None:
    """The look began before it was parked, and ends after it."""

    async def park() -> None:
        async with aside.database.write() as tx:
            await looking.park(tx, message(1), "", attempts=0, code="toy.broken", error="it broke")

    looking = Aside(SlowToRead(aside.database, park), logging.get("builder"))  # type: ignore[arg-type]
    assert await looking.due() == []
    assert looking.may_hold


async def test_a_key_waits_behind_its_parked_message_and_others_do_not(aside: Aside) -> None:
    async with aside.database.write() as tx:
        await aside.park(tx, message(5), "run_1", attempts=1, code="toy.broken", error="it broke")
    async with aside.database.write() as tx:
        assert await aside.park_behind(tx, message(6), "run_1")
        assert not await aside.park_behind(tx, message(4), "run_1"), "it came before"
        assert not await aside.park_behind(tx, message(7), "run_2")
        assert not await aside.park_behind(tx, message(8), "")
    assert await aside.due() == [], "the first waits half a second, and what is behind it waits for it"
    assert await aside.counts() == {"parked": 2, "dead_letter": 0}


async def test_a_dead_letter_is_put_back_or_dismissed(aside: Aside) -> None:
    async with aside.database.write() as tx:
        for number in (1, 2):
            await aside.bury(tx, message(number), "", attempts=1, code="toy.broken", error="it broke")
    assert await aside.due() == []
    assert await aside.replay("m1") and not await aside.replay("m1")
    assert [row.id for row in await aside.due()] == ["m1"]
    assert await aside.dismiss("m2") and not await aside.dismiss("m2")
    assert await aside.counts() == {"parked": 1, "dead_letter": 0}
