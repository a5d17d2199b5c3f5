"""The gate's props."""

from __future__ import annotations

import asyncio
import importlib.util
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from gate.clients.bundle import Bundle, default_bundle
from gate.clients.engine import PolicyEngine
from gate.clients.regorus import EmbeddedRegorus
from gate.settings import GateSettings
from gate.wiring import wire
from pydantic import SecretStr
from shared.bus import Bus
from shared.clock import HeldClock
from shared.context import Context, current
from shared.facts._base import REGISTRY, Message
from shared.hosting import Host, Service
from shared.objects import ObjectStore
from shared.processes import Mark
from shared.sealing import KeyPair
from shared.settings import PlatformSettings
from shared.subscribers import Envelope
from shared.testing.parts import Parts
from shared.working import Jobs

from shared import ids

HERE = Path(__file__).parent
CASES = HERE / "cases"


def load_cases() -> list[dict[str, Any]]:
    return [json.loads(line) for line in (CASES / "inputs.jsonl").read_text().splitlines()]


@pytest.fixture(scope="session")
def cases() -> list[dict[str, Any]]:
    """The stored inputs, each {"name", "input"}."""
    return load_cases()


@pytest.fixture(scope="session")
def by_hand() -> dict[str, Any]:
    """Case name -> the answer written by hand."""
    return json.loads((CASES / "by_hand.json").read_text())["answers"]


@pytest.fixture(scope="session")
def bundle() -> Bundle:
    return default_bundle()


@pytest.fixture
async def engine() -> AsyncIterator[PolicyEngine]:
    """The embedded engine, with a worker process of its own."""
    engine = PolicyEngine(EmbeddedRegorus(idle_seconds=5))
    yield engine
    await engine.close()


@pytest.fixture(scope="session")
def stock_opa(parts: Parts) -> Path:
    """The opa program of upstream, built on the first use."""
    spec = importlib.util.spec_from_file_location("opa_part", HERE / "opa_part.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    try:
        program = module.opa()
    except RuntimeError as error:
        parts.absent("OPA", str(error))
    parts.took_part("OPA", module.VERSION.removeprefix("v"))
    return program


@dataclass
class Props:
    """The gate wired as in earnest on a real small database; only the bus is read and written by hand."""

    service: Service
    host: Host
    clock: HeldClock
    heard: int = 0

    async def hear(self, message: Message, *, times: int = 1) -> None:
        """Hand a message to its subscriber, as the loop does."""
        cls, handler, _ = self.service.subscribers.table[message.type()]
        again = cls.model_validate_json(message.model_dump_json())
        for _ in range(times):
            self.heard += 1
            now = self.clock.now_ms()
            envelope = Envelope(ids.uuid7(), message.type(), "", message.subject, datetime.now(UTC), "", "", "", self.heard, now)
            mark = current.set(Context(causation=envelope.id, organisation=message.organisation))
            try:
                async with self.service.database.write() as tx:
                    await handler(tx, again, envelope)
            finally:
                current.reset(mark)

    async def work(self) -> None:
        """Let the workers do every job that is due."""
        jobs = Jobs(self.service.database, list(self.service.workers), self.host.data / "work", Mark())
        serving = asyncio.create_task(jobs.serve())
        table = self.service.database.metadata.tables["job"]
        due = sa.select(sa.func.count()).where(table.c.state != "ended", table.c.not_before_ms <= self.clock.now_ms())
        for _ in range(1000):
            await asyncio.sleep(0.01)
            async with self.service.database.read() as tx:
                if not await tx.scalar(due):
                    break
        else:
            raise AssertionError("the jobs did not come to an end")
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)

    async def sent(self, *kinds: type[Message]) -> list[Any]:
        """What was announced so far, in order; only these kinds when some are named."""
        async with self.service.database.read() as tx:
            rows = await tx.all(sa.select(self.service.database.outbox).order_by(sa.text("position")))
        messages = [REGISTRY[row.headers["ce-type"]].model_validate_json(row.body) for row in rows]
        return [message for message in messages if not kinds or isinstance(message, kinds)]

    async def rows(self, table: sa.Table) -> list[dict[str, Any]]:
        async with self.service.database.read() as tx:
            return [dict(row._mapping) for row in await tx.all(sa.select(table))]


Wired = Callable[..., AbstractAsyncContextManager[Props]]


@pytest.fixture
def wired(tmp_path: Path, database_url: str) -> Wired:
    """The gate on its database: `async with wired(wait_seconds=60) as props`."""

    @asynccontextmanager
    async def make(engine: Any = None, **settings: Any) -> AsyncIterator[Props]:
        root = tmp_path / "data"
        clock = HeldClock()
        host = Host(
            name="gate",
            root=root,
            data=root / "services" / "gate",
            bus=Bus("gate", "nats://127.0.0.1:1", root / "bus" / "keys" / "gate.nk"),
            objects=ObjectStore(root / "objects", "gate"),
            logs=None,  # type: ignore[arg-type]  # the gate writes no job logs
            clock=clock,
            keys=KeyPair.load(root / "keys" / "gate.key"),
            settings=PlatformSettings(home=tmp_path, data=root, database_url=SecretStr(database_url)),
            instance="test",
            mark=Mark(),
        )
        async with wire(host, GateSettings(**settings), engine=engine) as service:
            yield Props(service, host, clock)

    return make


@pytest.fixture
async def props(wired: Wired) -> AsyncIterator[Props]:
    async with wired() as made:
        yield made
