"""A cancelled job is told of exactly once, whenever the cancel comes."""

from __future__ import annotations

import asyncio
from pathlib import Path

import sqlalchemy as sa
from shared.clock import Clock
from shared.database import Tx, open_engines
from shared.errors import KiopsError
from shared.jobs import Job, Worker
from shared.processes import Mark
from shared.tables import NAMING, chassis_tables
from shared.working import Jobs


async def test_a_job_cancelled_at_any_moment_ends_once(tmp_path: Path) -> None:
    """Cancelled while it is queued, just claimed, or running: `on_cancelled` is called once and no row stays open."""
    metadata = sa.MetaData(naming_convention=NAMING)
    chassis_tables(metadata)
    told: list[str] = []

    async def run(job: Job) -> None:
        await asyncio.sleep(30)

    async def failed(tx: Tx, job: Job, error: KiopsError) -> None:
        raise AssertionError(error)

    async def cancelled(tx: Tx, job: Job, reason: str) -> None:
        told.append(job.id)
        await tx.scalar(sa.select(1))

    async with open_engines("toy", metadata, path=tmp_path / "toy.db", url="", clock=Clock()) as database:
        async with database.write() as tx:
            await tx.connection.run_sync(metadata.create_all)
        jobs = Jobs(database, [Worker("wait", run, failed, cancelled, slots=4)], tmp_path / "work", Mark())
        serving = asyncio.create_task(jobs.serve())
        names = []
        for number in range(40):
            async with database.write() as tx:
                name = await tx.enqueue("wait", key="k", run=f"run_{number}", payload={}, deadline_seconds=60)
            names.append(name)
            # From none at all to long enough to be running.
            await asyncio.sleep((number % 8) * 0.002)
            async with database.write() as tx:
                await tx.cancel_jobs(run=f"run_{number}", reason="stopped")
        for _ in range(200):
            if not await jobs.open_jobs():
                break
            await asyncio.sleep(0.05)
        assert await jobs.open_jobs() == 0
        assert sorted(told) == sorted(names)
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
