"""What stands for the bus and the tools outside: the test says how each touch of a tool goes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import sqlalchemy as sa
from operator_proxy import store
from operator_proxy.domain.placing import Wanted
from operator_proxy.handlers import APPLY, WATCH_JOB
from shared.bus import Bus
from shared.errors import Broken, KiopsError, Unavailable
from shared.hosting import Host, Service
from shared.jobs import Job, Worker
from shared.queries.builder import AskImageExists, ImageExists
from shared.queries.operator_proxy import AskPreflight, Preflight
from shared.words import Phase


class Crash(BaseException):
    """A kill -9 where it stands: nothing after it happens, no error is handled."""


class Silent(Bus):
    """A bus that carries no logs and answers what the deployer asks before a rollback."""

    async def publish_log(self, subject: str, body: bytes) -> None:
        return None

    async def tell(self, query: Any) -> None:
        return None

    async def ask(self, query: Any, timeout_seconds: float = 2.0) -> Any:
        if isinstance(query, AskImageExists):
            return ImageExists(exists=True)
        if isinstance(query, AskPreflight):
            return Preflight(reachable=True, image_exists=True)
        raise Unavailable("bus.no_answer", "nobody answers")


class Hands:
    """What the tools outside do when a job reaches for them: work, refuse, be away, or be killed there."""

    def __init__(self) -> None:
        self.fate = "well"
        self.after = 0

    async def touch(self, job: Any) -> None:
        async with job._jobs.database.read() as tx:
            wanted = await tx.scalar(sa.select(job._jobs.table.c.cancel).where(job._jobs.table.c.id == job.id))
        if wanted and not job.lost:
            raise asyncio.CancelledError
        if self.after:
            self.after -= 1
            return
        fate, self.fate = self.fate, "well"
        if fate == "crash":
            raise Crash
        if fate == "away":
            raise Unavailable("engine.away", "the engine does not answer")
        if fate == "breaks":
            raise Broken("tool.broken", "the tool ended with 1")


@dataclass
class Sources:
    hands: Hands

    async def fetch(self, repository_url: str, commit: str, folder: Path, *, job: Any = None, **_: Any) -> Any:
        from builder.clients.git import Fetched

        await self.hands.touch(job)
        return Fetched(folder, 1, "Ada", "a change", 1)


@dataclass
class ScannedSources:
    hands: Hands

    async def fetch(self, repository_url: str, commit: str, folder: Path, *, job: Any = None, **_: Any) -> Any:
        await self.hands.touch(job)
        return SimpleNamespace(repository=folder, tree=folder, commit=commit, commits=1, files=1, shallow=False)


class Images:
    """The engine's store."""

    def __init__(self, hands: Hands) -> None:
        self.hands = hands

    async def ready(self) -> None:
        return None

    async def abilities(self) -> Any:
        from builder.domain.plan import Abilities

        return Abilities("29.0.0", True)

    async def build(self, plan: Any, *, job: Any = None) -> AsyncIterator[Any]:
        from builder.domain.steps import Built

        await self.hands.touch(job)
        yield Built(image_id=f"sha256:{job.run[-32:]:0>64}", size_bytes=1, steps=1, dockerfile="FROM scratch\n")

    async def tag(self, image_id: str, name: str, version: str) -> None:
        return None

    async def exists(self, image_id: str) -> bool:
        return True

    async def remove(self, image_id: str) -> bool:
        return True

    async def sweep(self, job: str, before: int) -> list[str]:
        return []


class Engines:
    """Every area is completed and clean."""

    def __init__(self, hands: Hands) -> None:
        self.hands = hands

    async def _clean(self, area: str, job: Any) -> Any:
        from scanner.domain.evidence import AreaScan
        from shared.words import Area, ScanState

        await self.hands.touch(job)
        return AreaScan(area=Area(area), state=ScanState.COMPLETED, coverage={"files": 1})

    async def source_areas(self, source: Any, *, dockerfile: str, job: Any) -> AsyncIterator[Any]:
        for area in ("secrets", "sast", "iac"):
            yield await self._clean(area, job)

    async def image_areas(self, image_id: str, *, is_sample: bool, job: Any) -> AsyncIterator[Any]:
        for area in ("sca", "sbom", "license", "image"):
            yield await self._clean(area, job)


class Policy:
    """Lets everything pass, or says what the hands say."""

    name = "held 1"

    def __init__(self, hands: Hands) -> None:
        self.hands = hands

    async def ask(self, bundle: Any, document: dict[str, Any]) -> Any:
        from gate.domain.decision import AREAS
        from gate.errors import EngineProblem

        fate, self.hands.fate = self.hands.fate, "well"
        if fate == "crash":
            raise Crash
        if fate != "well":
            raise EngineProblem("policy.broken", "the engine ended", "")
        row = {"evidence": "fresh", "verdict": "pass", "text": "", "threshold": "", "counts": {}}
        return {
            "verdict": "pass",
            "sentence": "it may",
            "areas": [{**row, "area": area} for area in AREAS],
            "reasons": [],
            "ways": [],
            "holds_seconds": 60,
            "policy": "held",
            "version": 1,
        }

    async def check(self) -> None:
        return None

    async def close(self) -> None:
        return None


class Placing:
    """The engine and the edge: a release is switched to by a touch."""

    def __init__(self, handlers: Any, hands: Hands) -> None:
        self.handlers, self.hands = handlers, hands

    async def _tell(self, job: Job, phase: Phase, **fields: Any) -> None:
        async with job.progress() as tx:
            await self.handlers.observed(tx, Wanted(**job.payload["wanted"]), phase, attempt=job.token, **fields)

    async def run(self, job: Job) -> None:
        if job.payload["action"] != APPLY:
            return
        wanted, now_ms = Wanted(**job.payload["wanted"]), self.handlers.clock.now_ms()
        await self._tell(job, Phase.STARTING, step=1, steps=4, text="starting")
        await self.hands.touch(job)
        served = {"release": wanted.release, "release_number": wanted.number, "release_fence": wanted.fence, "run": wanted.run}
        async with job.progress() as tx:
            more = {"container": "c", "image_id": wanted.image_id, "url": "http://127.0.0.1/"}
            await store.now_serves(tx, wanted.target, now_ms, **served, **more)
        await self._tell(job, Phase.SWITCHED, step=3, steps=4, text="switched")
        await self.hands.touch(job)
        async with job.finish() as tx:
            await store.end_placement(tx, wanted.release, wanted.fence, store.PLACED, now_ms)
            about = {"step": 4, "steps": 4, "text": "healthy", "image_id": wanted.image_id, "url": "http://127.0.0.1/"}
            await self.handlers.observed(tx, wanted, Phase.HEALTHY, attempt=job.token, **about)
            await tx.enqueue(
                WATCH_JOB,
                key=wanted.target.key,
                run=wanted.run,
                organisation=wanted.organisation,
                payload={"wanted": job.payload["wanted"], "container": "c", "name": "c"},
                deadline_seconds=600,
            )

    async def failed(self, tx: Any, job: Job, error: KiopsError) -> None:
        if job.payload["action"] == APPLY:
            await self.handlers.apply_failed(tx, Wanted(**job.payload["wanted"]), job.token, error)

    async def watch(self, job: Job) -> None:
        await self.hands.touch(job)
        async with job.finish() as tx:
            wanted = Wanted(**job.payload["wanted"])
            await self.handlers.observed(tx, wanted, Phase.SETTLED, text="healthy", seconds=1, attempt=job.token)

    async def watch_failed(self, tx: Any, job: Job, error: KiopsError) -> None:
        await self.handlers.observed(tx, Wanted(**job.payload["wanted"]), Phase.UNHEALTHY, error=error, attempt=job.token)


@asynccontextmanager
async def operator_proxy(host: Host, hands: Hands) -> AsyncIterator[Service]:
    from operator_proxy import tables
    from operator_proxy.clients.docker import Engine
    from operator_proxy.handlers import TARGET_JOB, WATCH_JOB, Handlers
    from operator_proxy.settings import OperatorProxySettings
    from operator_proxy.subscribers import answers, subscribers

    settings = OperatorProxySettings()
    async with host.open_database(tables.metadata, package="operator_proxy") as database:
        handlers = Handlers(database, host.clock, settings, Engine(settings.engine_socket))
        placing = Placing(handlers, hands)
        yield Service(
            name="operator-proxy",
            database=database,
            subscribers=subscribers(handlers),
            answers=answers(handlers),
            workers=[
                Worker(TARGET_JOB, placing.run, placing.failed, slots=4, serial_per_key=True),
                Worker(WATCH_JOB, placing.watch, placing.watch_failed, slots=8),
            ],
        )
