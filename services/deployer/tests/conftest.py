"""The deployer's props: wired as in earnest on a real small database; only the bus is read and written by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from deployer.handlers import Requests, Rollouts
from deployer.handlers.checks import Seen
from deployer.settings import DeployerSettings
from deployer.wiring import wire
from pydantic import SecretStr
from shared.bus import Bus
from shared.clock import HeldClock
from shared.context import Context, current
from shared.facts._base import REGISTRY, Message
from shared.facts.builder import BuildSucceeded
from shared.facts.deployer import DeployPlanned, DeployRequested
from shared.facts.gate import GateDecided
from shared.facts.gateway import ServiceRegistered
from shared.facts.operator_proxy import ReleaseObserved
from shared.facts.webhook import PushReceived, RunStarted
from shared.hosting import Host, Service
from shared.orders.deployer import SetEnvironment
from shared.orders.operator_proxy import ApplyRelease
from shared.processes import Mark
from shared.sealing import KeyPair
from shared.settings import PlatformSettings
from shared.subscribers import Envelope
from shared.words import EnvironmentKind, Phase, Trigger, Verdict
from shared.working import Jobs

from shared import ids

ORG = {"organisation": "main", "service": "svc_1"}


@dataclass
class Answering:
    """Stands where builder and operator-proxy answer; says what a test tells it to."""

    seen: Seen = field(default_factory=lambda: Seen(built=True, on_runtime=True, reachable=True))
    asked: list[str] = field(default_factory=list)

    async def look(self, organisation: str, service: str, runtime: str, image_id: str) -> Seen:
        self.asked.append(image_id)
        return self.seen


@dataclass
class Props:
    """The wired service, and hands for what surrounds it."""

    service: Service
    host: Host
    clock: HeldClock
    answering: Answering
    settings: DeployerSettings
    answers: list[Any] = field(default_factory=list)
    heard: int = 0
    read: int = 0

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
        for _ in range(500):
            await asyncio.sleep(0.01)
            async with self.service.database.read() as tx:
                if not await tx.scalar(due):
                    break
        else:
            raise AssertionError("the jobs did not come to an end")
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)

    async def sent(self, *kinds: type[Message]) -> list[Any]:
        """What was announced and ordered so far, in order; only these kinds when some are named."""
        async with self.service.database.read() as tx:
            rows = await tx.all(sa.select(self.service.database.outbox).order_by(sa.text("position")))
        messages = [REGISTRY[row.headers["ce-type"]].model_validate_json(row.body) for row in rows]
        return [message for message in messages if not kinds or isinstance(message, kinds)]

    async def rows(self, table: sa.Table) -> list[dict[str, Any]]:
        async with self.service.database.read() as tx:
            return [dict(row._mapping) for row in await tx.all(sa.select(table))]

    async def news(self) -> list[str]:
        """The names of what was announced since the last look."""
        every = await self.sent()
        fresh, self.read = every[self.read :], len(every)
        return [message.name for message in fresh]

    async def ask(self, query: Any) -> Any:
        return await self.service.answers.table[query.type()][1](query)

    async def reap(self) -> int:
        """What the reaper does at each turn."""
        settings = self.settings
        return await Rollouts(self.service.database, self.clock, settings, Requests(self.clock, settings)).end_silent()

    # -- what the others say -------------------------------------------------------------------------------------------
    async def register(self, *environments: str, **changes: Any) -> None:
        await self.hear(ServiceRegistered(**ORG, name_="shop"))
        for name in environments or ("dev",):
            await self.hear(self.environment(name, **changes))

    def environment(self, name: str = "dev", **changes: Any) -> SetEnvironment:
        kind = EnvironmentKind.PRODUCTION if name.startswith("prod") else EnvironmentKind.NOT_PRODUCTION
        return SetEnvironment(**ORG, environment=name, environment_kind=kind, **{"intent": ids.new("int"), **changes})

    async def push(self, number: int, *environments: str, trigger: Trigger = Trigger.WEBHOOK, commit: str = "") -> None:
        """A run with source is born and its image is built."""
        commit = commit or f"{number:x}" * 40
        await self.hear(
            PushReceived(
                **ORG, run=f"run_{number}", number=number, service_name="shop", trigger=trigger,
                environments=list(environments or ("dev",)), commit=commit[:40],
            )
        )  # fmt: skip
        await self.hear(
            BuildSucceeded(
                **ORG, build=f"bld_{number}", run=f"run_{number}", number=number, image=f"shop:{number}",
                image_id=f"sha256:{number}", commit=commit[:40], version=f"v{number}",
            )
        )  # fmt: skip

    async def again(self, number: int, release: str, environment: str = "dev", trigger: Trigger = Trigger.ROLLBACK) -> None:
        """A run without source is born: a rollback or re-deploy of a release."""
        await self.hear(
            RunStarted(
                **ORG, run=f"run_{number}", number=number, service_name="shop", trigger=trigger,
                environments=[environment], release=release,
            )
        )  # fmt: skip

    async def request(self, number: int, environment: str = "dev") -> DeployRequested:
        """What was asked of the gate for this run and environment."""
        (found,) = [m for m in await self.sent(DeployRequested) if (m.number, m.environment) == (number, environment)]
        return found

    async def decide(self, number: int, verdict: Verdict = Verdict.PASS, environment: str = "dev") -> None:
        asked = await self.request(number, environment)
        await self.hear(
            GateDecided(
                **ORG, decision=f"dec_{number}", run=asked.run, number=number, request=asked.request, environment=environment,
                verdict=verdict, sentence="a secret is in the history",
            )
        )  # fmt: skip

    async def order(self, number: int, environment: str = "dev") -> ApplyRelease:
        """The order that the runtime got for this run."""
        (found,) = [m for m in await self.sent(ApplyRelease) if (m.run, m.environment) == (f"run_{number}", environment)]
        return found

    async def release(self, number: int, environment: str = "dev") -> DeployPlanned:
        """The release that was planned for this run."""
        (found,) = [m for m in await self.sent(DeployPlanned) if (m.number, m.environment) == (number, environment)]
        return found

    async def observe(self, number: int, *phases: Phase, environment: str = "dev", **more: Any) -> None:
        order = await self.order(number, environment)
        for phase in phases:
            await self.hear(
                ReleaseObserved(
                    organisation="main", service="svc_1", runtime=order.runtime, release=order.release, run=order.run,
                    environment=environment, phase=phase, **{"step": 1, "steps": 4, "text": phase.value, **more},
                )
            )  # fmt: skip

    async def deploy(self, number: int, environment: str = "dev", commit: str = "") -> str:
        """A push that is built, allowed and serves; its release."""
        await self.push(number, environment, commit=commit)
        await self.decide(number, environment=environment)
        await self.observe(number, Phase.STARTING, Phase.HEALTHY, Phase.SETTLED, environment=environment)
        return (await self.order(number, environment)).release

    async def roll_back(self, number: int, release: str, environment: str = "dev") -> str:
        """A rollback that is allowed and serves; the new release."""
        await self.again(number, release, environment)
        await self.decide(number, environment=environment)
        await self.work()
        await self.observe(number, Phase.STARTING, Phase.HEALTHY, environment=environment)
        return (await self.order(number, environment)).release


Wired = Callable[..., AbstractAsyncContextManager[Props]]


@pytest.fixture
def wired(tmp_path: Path, database_url: str) -> Wired:
    """The deployer on its database: `async with wired(no_answer_seconds=60) as props`."""

    @asynccontextmanager
    async def make(**settings: Any) -> AsyncIterator[Props]:
        root = tmp_path / "data"
        clock = HeldClock()
        host = Host(
            name="deployer",
            root=root,
            data=root / "services" / "deployer",
            bus=Bus("deployer", "nats://127.0.0.1:1", root / "bus" / "keys" / "deployer.nk"),
            objects=None,  # type: ignore[arg-type]  # the deployer has nothing large
            logs=None,  # type: ignore[arg-type]  # and no job logs
            clock=clock,
            keys=KeyPair.load(root / "keys" / "deployer.key"),
            settings=PlatformSettings(home=tmp_path, data=root, database_url=SecretStr(database_url)),
            instance="test",
            mark=Mark(),
        )
        answering, chosen = Answering(), DeployerSettings(**settings)
        async with wire(host, chosen, questions=answering) as service:  # type: ignore[arg-type]
            props = Props(service, host, clock, answering, chosen)
            service.database.on_answers = props.answers.extend
            yield props

    return make


@pytest.fixture
async def props(wired: Wired) -> AsyncIterator[Props]:
    """The deployer with one service, `shop`, that has an environment `dev`."""
    async with wired() as made:
        await made.register()
        await made.news()
        yield made
