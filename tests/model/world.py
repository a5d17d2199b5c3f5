"""All seven services on their real stores, loops and workers; only the bus, the clock and the tools outside are the test's.

The bus is a list. What a service put into its outbox is published when the test says so, and handed to each reader when the test
says so, through the reader's own loop (`Loop.take`). A job is claimed and worked on by the service's own `Jobs`. Time passes only
by `pass_time`.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from shared.bus import HEARS, SERVICES
from shared.clock import HeldClock
from shared.database import Database
from shared.facts._base import REGISTRY, Message
from shared.hosting import Host, Service
from shared.inbox import Incoming, Loop
from shared.jobs import Job, Worker
from shared.lease import Lease
from shared.logs import LogWriter
from shared.objects import ObjectStore
from shared.processes import Mark
from shared.sealing import KeyPair
from shared.settings import PlatformSettings
from shared.subscribers import Envelope
from shared.words import RUN_ENDED
from shared.working import Jobs

from shared import ids
from tests.model.stand_ins import Crash, Engines, Hands, Images, Policy, ScannedSources, Silent, Sources, operator_proxy

ORG = "main"


@dataclass
class Published:
    """A message of the stream; its sequence is its place, counted from 1."""

    id: str
    type: str
    subject: str
    headers: dict[str, str]
    body: str
    at_ms: int


@dataclass
class Member:
    """One service: its value, its loop and its workers, as one instance of it has them."""

    name: str
    host: Host
    service: Service
    loop: Loop = None  # type: ignore[assignment]
    jobs: Jobs | None = None
    held: list[tuple[Worker, Job, Jobs]] = field(default_factory=list)

    @property
    def databases(self) -> list[Database]:
        extra = self.service.loop_database
        return [self.service.database, *([extra] if extra else [])]


class World:
    """The seven, a stream between them, and a clock."""

    def __init__(self) -> None:
        self.clock = HeldClock()
        self.hands = Hands()
        self.members: dict[str, Member] = {}
        self.stream: list[Published] = []
        self.orders = 0

    # -- life --------------------------------------------------------------------------------------------------------
    @asynccontextmanager
    async def opened(self, root: Path) -> AsyncIterator[World]:
        from builder.wiring import wire as builder
        from deployer.wiring import wire as deployer
        from gate.wiring import wire as gate
        from gateway.settings import GatewaySettings
        from gateway.wiring import wire as gateway
        from scanner.wiring import wire as scanner
        from webhook.wiring import wire as webhook

        hands = self.hands
        wires: dict[str, Callable[[Host], Any]] = {
            "gateway": lambda host: gateway(host, GatewaySettings(admin_password="a long sentence for the model")),
            "webhook": webhook,
            "builder": lambda host: builder(host, git=Sources(hands), buildkit=Images(hands)),
            "scanner": lambda host: scanner(host, git=ScannedSources(hands), engines=Engines(hands)),
            "gate": lambda host: gate(host, engine=Policy(hands)),
            "deployer": deployer,
            "operator-proxy": lambda host: operator_proxy(host, hands),
        }
        assert set(wires) == set(SERVICES)
        async with AsyncExitStack() as stack:
            for name, wire in wires.items():
                host = self._host(name, root)
                self.members[name] = Member(name, host, await stack.enter_async_context(wire(host)))
            yield self

    def _host(self, name: str, root: Path) -> Host:
        bus = Silent(name, "", root)
        objects = ObjectStore(root / "objects", name)
        return Host(
            name=name,
            root=root,
            data=root / name,
            bus=bus,
            objects=objects,
            logs=LogWriter(name, bus, objects, self.clock),
            clock=self.clock,
            keys=KeyPair.load(root / "keys" / f"{name}.key"),
            settings=PlatformSettings(home=root, data=root),
            instance="",
            mark=Mark(str(root), name, ""),
        )

    async def forget(self) -> None:
        """Empty tables, an empty stream, new instances: as on the first day."""
        self.stream, self.orders = [], 0
        self.hands.fate, self.hands.after = "well", 0
        for member in self.members.values():
            for database in member.databases:
                async with database.write() as tx:
                    for table in reversed(database.metadata.sorted_tables):
                        if database.name != "gateway" or table.name in ("outbox", "inbox", "parked", "dead_letter"):
                            await tx.execute(table.delete())
            await self.restart(member.name)

    async def restart(self, name: str) -> None:
        """The instance is killed; the next one opens its files. What the old one held stays in the hands of a sleeper."""
        member = self.members[name]
        database = member.service.loop_database or member.service.database
        member.loop = Loop(name, database, member.host.bus, member.service.subscribers, Lease(database, "reader", ids.uuid7()))
        positions = database.metadata.tables["stream_position"]
        async with database.write() as tx:
            new = {"durable": name, "organisation_id": "_", "stream_created": "", "position": 0}
            await tx.insert_new(positions, new)
            member.loop.position = await tx.scalar(sa.select(positions.c.position))
        if member.service.workers:
            workers, work = list(member.service.workers), member.host.data / "work"
            member.jobs = Jobs(member.service.database, workers, work, member.host.mark, instance=ids.uuid7())
            await member.jobs._reclaim()

    # -- the bus -----------------------------------------------------------------------------------------------------
    def say(self, message: Message, *, name: str = "") -> None:
        """A message of the gateway (an order, or a fact of its catalogue), on the stream."""
        self.orders += 1
        name = name or f"gateway-{self.orders}"
        headers = {"ce-id": name, "ce-type": message.type(), "ce-time": self.clock.now().isoformat()}
        self.stream.append(
            Published(name, message.type(), message.subject, headers, message.model_dump_json(), self.clock.now_ms())
        )

    async def publish(self, name: str, most: int = 1000) -> int:
        """A service's relay takes up to so many rows of its outbox. Returns how many."""
        database = self.members[name].service.database
        outbox = database.outbox
        async with database.write() as tx:
            rows = await tx.all(sa.select(outbox).where(outbox.c.sent.is_(False)).order_by(outbox.c.position).limit(most))
            if rows:
                await tx.execute(outbox.update().where(outbox.c.position.in_([row.position for row in rows])).values(sent=True))
        for row in rows:
            kind = ".".join(row.subject.split(".")[:4])
            self.stream.append(Published(row.id, kind, row.subject, row.headers, row.body, self.clock.now_ms()))
        return len(rows)

    def say_again(self, place: int) -> None:
        """What a relay publishes that died before it could note that it had: the same message, later in the stream."""
        self.stream.append(self.stream[place % len(self.stream)])

    def _incoming(self, sequence: int) -> Incoming:
        m = self.stream[sequence - 1]
        return Incoming(Envelope.read(m.headers, m.subject, sequence, m.at_ms), m.headers, m.body)

    def _waiting(self, name: str) -> list[int]:
        heard = {cls.type() for cls in HEARS[name]}
        position = self.members[name].loop.position
        return [n for n in range(position + 1, len(self.stream) + 1) if self.stream[n - 1].type in heard]

    async def deliver(self, name: str, most: int = 1000, *, trouble: str = "", at: int = 0) -> int:
        """The service's loop handles up to so many messages. `trouble` comes after `at` handlers of them: "crash" kills the
        instance before its commit, "breaks" makes one handler raise once. Returns how many were handed over."""
        member = self.members[name]
        batch = [self._incoming(sequence) for sequence in self._waiting(name)[:most]]
        if not batch:
            return 0
        call, left = member.loop._call, [at]

        async def troubled(tx: Any, handler: Any, message: Any, envelope: Any) -> None:
            await call(tx, handler, message, envelope)
            left[0] -= 1
            if left[0] == -1:
                raise Crash if trouble == "crash" else RuntimeError("this try breaks")

        if trouble:
            member.loop._call = troubled  # type: ignore[method-assign]
        try:
            await member.loop.take(batch)
        except Crash:
            await self.restart(name)
        finally:
            if trouble:
                member.loop.__dict__.pop("_call", None)
        return len(batch)

    async def parked(self, name: str) -> int:
        return await self.members[name].loop.run_parked()

    # -- work --------------------------------------------------------------------------------------------------------
    async def claim(self, name: str) -> bool:
        """Each worker that has room takes the next job. True when any did."""
        member = self.members[name]
        taken = False
        if member.jobs is None:
            return False
        for worker in member.jobs.workers:
            job = await member.jobs._claim(worker, member.jobs._has_room(worker))
            if job is not None:
                member.jobs._running[job.id] = (job, None)  # type: ignore[assignment]
                member.held.append((worker, job, member.jobs))
                taken = True
        return taken

    async def work(self, name: str, which: int = 0, fate: str = "well", after: int = 0) -> bool:
        """One of the attempts that were begun goes on to its end, or to its crash."""
        member = self.members[name]
        if not member.held:
            return False
        worker, job, jobs = member.held.pop(which % len(member.held))
        self.hands.fate, self.hands.after = fate, after
        task = asyncio.ensure_future(self._attempt(jobs, worker, job))
        crashed = await task
        self.hands.fate, self.hands.after = "well", 0
        if crashed and jobs is member.jobs:
            await self.restart(name)
        return True

    @staticmethod
    async def _attempt(jobs: Jobs, worker: Worker, job: Job) -> bool:
        try:
            await jobs._attempt(worker, job)
        except Crash:
            return True
        return False

    # -- time --------------------------------------------------------------------------------------------------------
    async def pass_time(self, seconds: float) -> None:
        """Time passes, and what looks at the clock looks."""
        self.clock.move(seconds)
        for name, kind, function in (
            ("webhook", "handlers", lambda part: part.runs.reap()),
            ("gate", "questions", lambda part: part.ask_overdue()),
            ("deployer", "rollouts", lambda part: part.end_silent()),
        ):
            await function(self._part(name, kind))
        for name in self.members:
            await self.parked(name)

    def _part(self, name: str, part: str) -> Any:
        """What the service's own periodic task works with."""
        for _, task in self.members[name].service.tasks:
            found = inspect.getclosurevars(task).nonlocals
            if part in found:
                return found[part]
        raise AssertionError(f"{name} has no task with {part}")

    # -- looking -----------------------------------------------------------------------------------------------------
    async def rows(self, name: str, statement: Any) -> Any:
        async with self.members[name].service.database.read() as tx:
            return await tx.all(statement)

    async def runs(self) -> list[Any]:
        from webhook.tables import runs

        return list(await self.rows("webhook", sa.select(runs).order_by(runs.c.service_id, runs.c.number)))

    async def open_runs(self) -> list[Any]:
        return [run for run in await self.runs() if run.state not in RUN_ENDED]

    async def waits(self) -> dict[str, list[str]]:
        """Run -> what will move it on: a message under way, a job, a question or request with a deadline."""
        from deployer.tables import releases as made
        from deployer.tables import requests, rollouts
        from gate.tables import questions

        found: dict[str, list[str]] = {}

        def note(run: str, what: str) -> None:
            found.setdefault(run, []).append(what)

        def about(kind: str, body: str) -> str:
            return getattr(REGISTRY[kind].model_validate_json(body), "run", "")

        for name, member in self.members.items():
            database = member.service.database
            for row in await self.rows(name, sa.select(database.outbox).where(database.outbox.c.sent.is_(False))):
                note(row.headers.get("ce-correlationid", ""), f"{name} will announce {row.headers['ce-type']}")
            if name != "gateway":
                for sequence in self._waiting(name):
                    m = self.stream[sequence - 1]
                    note(about(m.type, m.body), f"{name} will hear {m.type}")
                parked = database.metadata.tables["parked"]
                for row in await self.rows(name, sa.select(parked)):
                    note(about(".".join(row.subject.split(".")[:4]), row.body), f"{name} has parked one")
            job = database.metadata.tables["job"] if "job" in database.metadata.tables else None
            if job is not None:
                for row in await self.rows(name, sa.select(job).where(job.c.state != "ended")):
                    note(row.run, f"{name} has job {row.kind} ({row.state})")
        waiting = sa.select(questions).where(questions.c.state == "waiting", questions.c.asked_at_ms.is_not(None))
        for row in await self.rows("gate", waiting):
            note(row.run_id, "the gate waits for evidence")
        for row in await self.rows("deployer", sa.select(requests).where(requests.c.state.in_(("asked", "allowed")))):
            note(row.run_id, f"a request is {row.state}")
        placing = sa.select(made.c.run_id, rollouts.c.state).join(rollouts, rollouts.c.release_id == made.c.id)
        for row in await self.rows("deployer", placing.where(rollouts.c.state.in_(("placing", "ready")))):
            note(row.run_id, f"a release is {row.state}")
        return found

    async def settle(self) -> None:
        """Everything is published, heard and worked off, until nothing moves."""
        for _ in range(400):
            moved = 0
            for name in self.members:
                moved += await self.publish(name)
                moved += await self.deliver(name)
                moved += await self.claim(name)
                while self.members[name].held:
                    await self.work(name)
                    moved += 1
            if not moved:
                return
        raise AssertionError("it does not come to rest")

    async def until_over(self, turns: int = 40, seconds: float = 45) -> None:
        """Let it settle; then time passes until no run is open, nothing is parked and no job is left."""
        await self.settle()
        for turn in range(turns):
            if not await self.open_runs() and not await self.left():
                return
            await self.pass_time(seconds * 1.5 ** min(turn, 12))
            await self.settle()

    async def left(self) -> list[str]:
        """Parked messages and jobs that have not ended, by service."""
        left = []
        for name, member in self.members.items():
            for database in member.databases:
                for table in ("parked", "job"):
                    there = database.metadata.tables.get(table)
                    if there is not None:
                        where = there.c.state != "ended" if table == "job" else sa.true()
                        async with database.read() as tx:
                            if n := await tx.scalar(sa.select(sa.func.count()).select_from(there).where(where)):
                                left.append(f"{name}: {n} {table}")
        return left

    async def shown(self) -> dict[str, str]:
        """Run -> the state that pages show."""
        from gateway.tables.read_model import runs

        database = self.members["gateway"].service.loop_database
        assert database
        async with database.read() as tx:
            return {row.id: row.state for row in await tx.all(sa.select(runs.c.id, runs.c.state))}

    async def timelines(self) -> list[Any]:
        """Every run as pages draw it."""
        from gateway.journey import of_run
        from gateway.tables.read_model import runs

        database = self.members["gateway"].service.loop_database
        assert database
        async with database.read() as tx:
            return [await of_run(tx, row, self.clock.now_ms()) for row in await tx.all(sa.select(runs))]
