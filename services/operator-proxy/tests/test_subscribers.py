"""Given the example of each message this service hears, it does that; what it announces looks like its examples."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from operator_proxy import store, tables
from operator_proxy.clients.docker import Engine
from operator_proxy.domain.naming import Target
from operator_proxy.handlers import Handlers
from operator_proxy.settings import OperatorProxySettings
from operator_proxy.subscribers import subscribers
from shared.clock import HeldClock
from shared.database import Database
from shared.facts._base import Message
from shared.facts.gateway import ServiceDeleted
from shared.facts.operator_proxy import ReleaseObserved, RuntimeChanged
from shared.orders.operator_proxy import ApplyRelease, RemoveTarget

import shared

EXAMPLES = Path(shared.__file__).parent


def example(cls: type[Message]) -> dict[str, Any]:
    kind = "orders" if cls.kind == "order" else "facts"
    return json.loads((EXAMPLES / kind / "examples" / f"{cls.name}.v1.json").read_text())


@dataclass
class Door:
    database: Database
    handlers: Handlers

    async def hear(self, message: Any) -> None:
        _, handler, _ = subscribers(self.handlers).table[message.type()]
        async with self.database.write() as tx:
            await handler(tx, message, None)  # type: ignore[arg-type]

    async def jobs(self) -> list[Any]:
        table = tables.metadata.tables["job"]
        async with self.database.read() as tx:
            return list(await tx.all(table.select().order_by(table.c.number)))

    async def told(self) -> list[ReleaseObserved]:
        async with self.database.read() as tx:
            rows = await tx.all(self.database.outbox.select().order_by(self.database.outbox.c.position))
        return [ReleaseObserved.model_validate_json(row.body) for row in rows]


@pytest.fixture
async def door(database: Any, tmp_path: Path) -> AsyncIterator[Door]:
    clock = HeldClock()
    async with database(tables.metadata, "operator_proxy", clock=clock) as opened:
        yield Door(opened, Handlers(opened, clock, OperatorProxySettings(), Engine(tmp_path / "nobody.sock")))


ORDER = ApplyRelease(**example(ApplyRelease))
TARGET = Target(ORDER.organisation, ORDER.service, ORDER.environment)


async def test_release_is_queued_once_under_its_target(door: Door) -> None:
    await door.hear(ORDER)
    await door.hear(ORDER)
    (job,) = await door.jobs()
    assert (job.kind, job.key, job.run) == ("target", TARGET.key, ORDER.run)
    assert job.payload["wanted"]["image_id"] == ORDER.image_id
    assert job.deadline_seconds > ORDER.deadline_seconds + ORDER.drain_seconds
    async with door.database.read() as tx:
        row: Any = await store.target(tx, TARGET)
    assert (row.fence, row.host, row.release) == (ORDER.fence, "shop-development.localhost", None)
    assert await door.told() == []


async def test_order_that_was_overtaken_is_refused(door: Door) -> None:
    await door.hear(ORDER)
    await door.hear(ORDER.model_copy(update={"fence": ORDER.fence - 1, "release": "rel_older"}))
    assert len(await door.jobs()) == 1
    (fact,) = await door.told()
    assert (fact.release, fact.phase, fact.code) == ("rel_older", "failed", "release.superseded_by_fence")
    assert fact.reason and fact.advice and fact.run == ORDER.run


async def test_other_runtimes_orders_are_left_alone(door: Door) -> None:
    await door.hear(ORDER.model_copy(update={"runtime": "elsewhere"}))
    await door.hear(RemoveTarget(**example(RemoveTarget) | {"runtime": "elsewhere"}))
    assert await door.jobs() == []


async def test_removal_queues_behind_what_is_being_done(door: Door) -> None:
    await door.hear(ORDER)
    await door.hear(RemoveTarget(**example(RemoveTarget)))
    first, second = await door.jobs()
    assert first.key == second.key and second.payload["action"] == "remove"


async def test_deleted_service_takes_its_targets_along_when_it_says_so(door: Door) -> None:
    await door.hear(ORDER)
    deleted = ServiceDeleted(organisation=ORDER.organisation, service=ORDER.service)
    await door.hear(deleted)
    assert len(await door.jobs()) == 1
    await door.hear(deleted.model_copy(update={"remove_running": True}))
    assert [job.payload["action"] for job in await door.jobs()] == ["apply", "remove"]


@pytest.mark.parametrize("cls", [ReleaseObserved, RuntimeChanged])
def test_example_is_what_is_announced(cls: type[Message]) -> None:
    """Every field, and values of the kind this service gives."""
    body = example(cls)
    assert body.keys() == cls.model_fields.keys()
    message = cls(**body)
    assert message.subject == f"{cls.type()}.main.local"
    if isinstance(message, ReleaseObserved):
        assert list(message.stages_ms) == ["start", "probe", "switch", "drain"]
        assert message.container == "kiops-1f2e3d4c-shop-development-3"
