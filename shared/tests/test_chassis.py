"""The chassis on a real nats-server: nothing lost, nothing twice, order kept, work done once."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
import time
from pathlib import Path

import pytest
import sqlalchemy as sa
from shared.facts.builder import BuildSucceeded
from shared.processes import leftovers

spec = importlib.util.spec_from_file_location("chassis_toys", Path(__file__).with_name("toys.py"))
toys = importlib.util.module_from_spec(spec)
sys.modules.setdefault("chassis_toys", toys)
spec.loader.exec_module(toys)


@pytest.mark.slow
async def test_two_services_exchange_facts(platform, tmp_path):
    """200 pushes announced by one become 200 built by the other, each once, in order."""
    stamps = tmp_path / "stamps"
    async with platform({"webhook": toys.webhook, "builder": toys.builder_wire(stamps)}) as p:
        webhook, builder = (p.services[name].service.database for name in ("webhook", "builder"))
        for first in range(0, 60, 5):
            async with webhook.write() as tx:
                for number in range(first, first + 5):
                    await tx.put(toys.push(number, f"svc_{number % 3}"), correlation=f"run_{number}")

        async def done():
            return len(await toys.effects(webhook)) == 60

        await toys.until(done)
        assert [row.number for row in await toys.effects(builder)] == list(range(60))
        assert sorted(stamps.read_text().split()[1::2]) == ["1"] * 60
        await toys.until(p.settled)
        assert await p.failing() == {}


@pytest.mark.slow
async def test_a_message_that_breaks_waits_with_its_key_and_nothing_else_does(platform, tmp_path):
    """The first tries of one push break (in its batch, alone, once more): later ones of its key queue, others go on."""
    broken = toys.push(1, "svc_a").run
    async with platform({"webhook": toys.webhook, "builder": toys.builder_wire(tmp_path / "s", {broken: 3})}) as p:
        webhook, builder = (p.services[name].service.database for name in ("webhook", "builder"))
        async with webhook.write() as tx:
            for number, service in ((1, "svc_a"), (2, "svc_b"), (3, "svc_a")):
                await tx.put(toys.push(number, service))

        async def done():
            return len(await toys.effects(builder)) == 3

        await toys.until(done)
        rows = [row.number for row in await toys.effects(builder)]
        assert rows[0] == 2 and rows.index(1) < rows.index(3)


async def test_what_cannot_be_read_stops_nothing_behind_it(platform, nats, tmp_path):
    """A malformed message becomes a dead letter with its code; the next is handled."""
    async with platform({"webhook": toys.webhook, "builder": toys.builder_wire(tmp_path / "s")}) as p:
        webhook, builder = (p.services[name] for name in ("webhook", "builder"))
        await webhook.host.bus.request("kiops.webhook.push.received.main.svc_a", b"{not json", headers={"Nats-Msg-Id": "x"})
        async with webhook.service.database.write() as tx:
            await tx.put(toys.push(1))

        async def done():
            return len(await toys.effects(builder.service.database)) == 1

        await toys.until(done)
        assert (await builder.loop.aside.counts())["dead_letter"] == 1


@pytest.mark.slow
async def test_the_bus_going_away_loses_nothing(platform, nats, tmp_path):
    """nats-server is killed and started again: what was announced meanwhile arrives, once."""
    stamps = tmp_path / "stamps"
    async with platform({"webhook": toys.webhook, "builder": toys.builder_wire(stamps)}) as p:
        webhook = p.services["webhook"].service.database
        for number in range(20):
            if number == 5:
                nats.kill()
            if number == 15:
                nats.start()
            async with webhook.write() as tx:
                await tx.put(toys.push(number))
            await asyncio.sleep(0.05)

        async def done():
            return len(await toys.effects(webhook)) == 20

        await toys.until(done)
        assert [row.number for row in await toys.effects(webhook)] == list(range(20))


@pytest.mark.slow
async def test_a_job_of_a_stopped_instance_is_done_by_the_next(platform, nats, tmp_path):
    """An instance that stops in the middle gives its job back; the next does it with a newer token; no child is left."""
    stamps = tmp_path / "stamps"
    slow = toys.builder_wire(stamps, sleep=2.0)
    async with platform({"webhook": toys.webhook, "builder": slow}) as p:
        async with p.services["webhook"].service.database.write() as tx:
            await tx.put(toys.push(1))

        async def child():
            return bool(leftovers(str(nats.root.resolve()), "builder"))

        await toys.until(child)
    assert leftovers(str(nats.root.resolve()), "builder") == []
    assert not stamps.exists()
    async with platform({"webhook": toys.webhook, "builder": slow}) as p:
        database = p.services["webhook"].service.database

        async def done():
            return len(await toys.effects(database)) == 1

        await toys.until(done)
    assert stamps.read_text().split()[1] == "2"


async def test_cancel_stops_the_work_within_moments(platform, nats, tmp_path):
    """A cancelled job's child is gone within two seconds and the job ends as cancelled."""
    async with platform({"webhook": toys.webhook, "builder": toys.builder_wire(tmp_path / "s", sleep=30)}) as p:
        builder = p.services["builder"]
        async with p.services["webhook"].service.database.write() as tx:
            await tx.put(toys.push(1))

        async def child():
            return bool(leftovers(str(nats.root.resolve()), "builder"))

        await toys.until(child)
        began = time.monotonic()
        async with builder.service.database.write() as tx:
            assert await tx.cancel_jobs(run=toys.push(1).run, reason="by a person") == 1

        async def gone():
            return not leftovers(str(nats.root.resolve()), "builder")

        await toys.until(gone)
        assert time.monotonic() - began < 2

        async def ended():
            return await builder.jobs.open_jobs() == 0

        await toys.until(ended)


@pytest.mark.slow
async def test_a_taken_over_attempt_writes_nothing(platform, tmp_path):
    """When the row's token has moved on, the older attempt's results are refused."""
    async with platform({"webhook": toys.webhook, "builder": toys.builder_wire(tmp_path / "s", sleep=0.6)}) as p:
        builder, webhook = p.services["builder"], p.services["webhook"]
        async with webhook.service.database.write() as tx:
            await tx.put(toys.push(1))

        async def running():
            return bool(builder.jobs.running)

        await toys.until(running)
        job = builder.service.database.metadata.tables["job"]
        async with builder.service.database.write() as tx:
            # Much further ahead would be an end that another clock has written: over at once.
            until = await builder.service.database.now_ms(tx) + 60_000
            await tx.execute(job.update().values(token=9, holder="another", lease_until_ms=until))

        async def refused():
            return not builder.jobs.running

        await toys.until(refused)
        assert await toys.effects(webhook.service.database) == []
        outbox = builder.service.database.outbox
        async with builder.service.database.read() as tx:
            assert (
                await tx.scalar(sa.select(sa.func.count()).where(outbox.c.headers["ce-type"].as_string() == BuildSucceeded.type()))
                == 0
            )


async def test_a_position_of_another_stream_is_told_not_read(platform, nats, tmp_path):
    """A stream made anew under an old position: the service is not ready and says why, instead of hiding messages."""
    wires = {"webhook": toys.webhook, "builder": toys.builder_wire(tmp_path / "s")}
    async with platform(wires) as p:
        async with p.services["webhook"].service.database.write() as tx:
            await tx.put(toys.push(1))
        await toys.until(p.settled)
    nats.stop()
    import shutil

    shutil.rmtree(nats.root / "bus" / "store")
    nats.start()
    async with platform(wires) as p:

        async def told():
            return "not the one this database knows" in (await p.failing()).get("builder", {}).get("stream", "")

        await toys.until(told)


@pytest.mark.parametrize("name", ["webhook", "builder"])
async def test_a_second_instance_on_the_same_files_is_refused_and_on_one_postgresql_waits(platform, database_url, tmp_path, name):
    """SQLite: the folder's lock names the owner. PostgreSQL: the second runs, and reads only after the first has gone."""
    from shared.errors import Broken

    wires = {"webhook": toys.webhook, "builder": toys.builder_wire(tmp_path / "s")}
    async with platform(wires):
        if not database_url:
            with pytest.raises(Broken, match="running already"):
                async with platform({name: wires[name]}):
                    pass
            return
        async with platform({name: wires[name]}) as second:
            await asyncio.sleep(1)
            assert not second.services[name].loop.bound
