"""PostgreSQL is killed under everything that runs on it: each part of a service goes on by itself when it is back."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from shared.testing.parts import Parts
from shared.testing.postgres import Postgres, PostgresMissing

spec = importlib.util.spec_from_file_location("chassis_toys", Path(__file__).with_name("toys.py"))
toys = importlib.util.module_from_spec(spec)
sys.modules.setdefault("chassis_toys", toys)
spec.loader.exec_module(toys)

CRASHES, PUSHES = 4, 20


@pytest.fixture
def own_postgres(parts: Parts) -> Iterator[Postgres]:
    """One that nobody else uses, for it is killed."""
    try:
        cluster = Postgres.create()
    except PostgresMissing as problem:
        parts.absent("PostgreSQL", str(problem))
    try:
        for name in ("webhook", "builder"):
            cluster.make(name)
        yield cluster
    finally:
        cluster.remove()


@pytest.mark.slow
@pytest.mark.one_database
async def test_workers_relay_and_loop_outlive_a_postgresql_that_crashes(platform, own_postgres: Postgres, tmp_path: Path) -> None:
    """Killed in the middle of their transactions, again and again: no part has ended, nothing is lost or done twice."""
    stamps = tmp_path / "stamps"
    wires = {"webhook": toys.webhook, "builder": toys.builder_wire(stamps, sleep=0.02)}
    short = {"lease_seconds": 2.0, "heartbeat_seconds": 0.3, "role_lease_seconds": 1.0}
    async with platform(wires, database_url=own_postgres.url, **short) as p:
        webhook, builder = (p.services[name] for name in ("webhook", "builder"))
        pushed = 0
        for crash in range(CRASHES):
            async with webhook.service.database.write() as tx:
                for number in range(pushed, pushed + PUSHES):
                    await tx.put(toys.push(number, f"svc_{number % 5}"))
            pushed += PUSHES
            wanted = pushed - PUSHES + 3 * crash  # each time at another moment of the work

            async def some(wanted: int = wanted) -> bool:
                return stamps.exists() and len(stamps.read_text().splitlines()) > wanted

            await toys.until(some, 60)
            own_postgres.kill()
            await asyncio.to_thread(own_postgres.start)

            async def all_told(pushed: int = pushed) -> bool:
                assert not webhook.stuck() and not builder.stuck(), (webhook.stuck(), builder.stuck())
                try:
                    return len(await toys.effects(webhook.service.database)) == pushed
                except Exception:
                    return False  # it is starting, and its pool is still full of connections to the one that was

            await toys.until(all_told, 60)
        assert sorted(row.number for row in await toys.effects(webhook.service.database)) == list(range(pushed))
        done = [tuple(line.split()) for line in stamps.read_text().splitlines()]
        assert len(done) == len(set(done)), "a job was done twice under one token"
        await toys.until(p.settled, 30)


async def test_folders_of_attempts_that_were_killed_are_removed(platform, nats, tmp_path: Path) -> None:
    """What a killed instance left of an attempt goes at the next start: here of a job that has ended, and of an unknown one."""
    wires = {"webhook": toys.webhook, "builder": toys.builder_wire(tmp_path / "stamps")}
    async with platform(wires) as p:
        builder = p.services["builder"]
        async with p.services["webhook"].service.database.write() as tx:
            await tx.put(toys.push(1))

        async def done() -> bool:
            return (tmp_path / "stamps").exists() and await builder.jobs.open_jobs() == 0

        await toys.until(done)
        async with builder.service.database.read() as tx:
            ended = await tx.scalar(builder.jobs.table.select())
    work = nats.root / "services" / "builder" / "work"
    for name in (f"{ended}-1", "job_nobody-3"):
        (work / name / "source").mkdir(parents=True)
    async with platform(wires):

        async def clean() -> bool:
            return not list(work.glob("*"))

        await toys.until(clean)
