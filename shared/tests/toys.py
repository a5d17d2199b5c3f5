"""Two toy services that exchange a fact, for the chassis' own tests: webhook announces pushes, builder works on them."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from pathlib import Path

import sqlalchemy as sa
from shared.bus import HEARS
from shared.database import Tx
from shared.errors import KiopsError
from shared.facts.builder import BuildSucceeded
from shared.facts.webhook import PushReceived
from shared.hosting import Host, Service
from shared.jobs import Job, Worker
from shared.processes import run_child
from shared.subscribers import Envelope, Subscribers
from shared.tables import NAMING, Serial, chassis_tables
from shared.words import Trigger


def tables() -> sa.MetaData:
    metadata = sa.MetaData(naming_convention=NAMING)
    chassis_tables(metadata)
    sa.Table(
        "effect",
        metadata,
        sa.Column("position", Serial, primary_key=True, autoincrement=True),
        sa.Column("id", sa.Text, unique=True),
        sa.Column("number", sa.Integer),
    )
    return metadata


def push(number: int, service: str = "svc_a") -> PushReceived:
    return PushReceived(
        organisation="main",
        service=service,
        run=f"run_{service}_{number}",
        number=number,
        service_name="a",
        trigger=Trigger.WEBHOOK,
        commit="0" * 40,
    )


def rest(on: Subscribers, name: str) -> Subscribers:
    """Hear the rest of what the contract table says, and do nothing with it."""
    for cls in HEARS[name]:
        if cls.type() not in on.table:

            async def nothing(tx: Tx, message: object, envelope: Envelope) -> None:
                return None

            on(cls)(nothing)
    return on


@asynccontextmanager
async def opened(host: Host):
    from shared.database import open_engines

    metadata = tables()
    url = host.settings.database_url.get_secret_value().replace("{database}", host.name)
    async with open_engines(host.name, metadata, path=host.data / "toy.db", url=url, clock=host.clock) as database:
        async with database.write() as tx:
            await tx.connection.run_sync(metadata.create_all)
        yield database


@asynccontextmanager
async def webhook(host: Host):
    async with opened(host) as database:
        on = Subscribers()

        @on(BuildSucceeded)
        async def built(tx: Tx, message: BuildSucceeded, envelope: Envelope) -> None:
            await tx.execute(tx.database.metadata.tables["effect"].insert().values(id=message.run, number=message.number))

        yield Service("webhook", database, subscribers=rest(on, "webhook"))


def builder_wire(stamps: Path, breaks: dict[str, int] | None = None, sleep: float = 0.0):
    """A builder whose work is a real child that appends `<run> <token>` to a file of its own."""
    left = dict(breaks or {})

    @asynccontextmanager
    async def wire(host: Host):
        async with opened(host) as database:
            on = Subscribers()

            @on(PushReceived, key=lambda m: m.service)
            async def queue(tx: Tx, message: PushReceived, envelope: Envelope) -> None:
                if left.get(message.run, 0):
                    left[message.run] -= 1
                    raise RuntimeError("this try breaks")
                await tx.execute(tx.database.metadata.tables["effect"].insert().values(id=message.run, number=message.number))
                await tx.enqueue(
                    "build", key=message.service, run=message.run, payload=message.model_dump(mode="json"), deadline_seconds=30
                )

            async def run(job: Job) -> None:
                script = f'sleep {sleep}; echo "$1 $2" >> "$3"'
                await run_child(["/bin/sh", "-c", script, "sh", job.run, str(job.token), str(stamps)], job=job, timeout_seconds=30)
                async with job.finish() as tx:
                    await tx.put(
                        BuildSucceeded(
                            organisation=job.organisation,
                            service=job.key,
                            build=job.id,
                            run=job.run,
                            number=job.payload["number"],
                            image="x",
                            image_id="sha256:0",
                        )
                    )

            async def failed(tx: Tx, job: Job, error: KiopsError) -> None:
                raise AssertionError(error)

            worker = Worker("build", run, failed, slots=3, serial_per_key=True)
            yield Service("builder", database, subscribers=rest(on, "builder"), workers=[worker])

    return wire


async def until(condition, seconds: float = 20) -> None:
    """Wait until an async condition holds; fail after the time."""
    end = asyncio.get_running_loop().time() + seconds
    while not await condition():
        assert asyncio.get_running_loop().time() < end, "it did not come to hold in time"
        await asyncio.sleep(0.02)


async def effects(database) -> list:
    table = database.metadata.tables["effect"]
    async with database.read() as tx:
        return await tx.all(sa.select(table).order_by(table.c.position))
