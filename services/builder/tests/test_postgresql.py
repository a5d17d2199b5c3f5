"""The same builder on PostgreSQL: migrations, queue, build, retention."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from builder import store
from builder.jobs import clean_up
from shared.facts.webhook import RunCancelled


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_builds_on_postgresql(road: Any, repository: Any, busybox: Path, sleeper: Any) -> None:
    base = "FROM scratch\nCOPY busybox /bin/busybox\n"
    first = repository.commit("One", Dockerfile=base, busybox=busybox)
    second = repository.commit("Two", Dockerfile=base + sleeper.line)
    async with road() as r:
        database = r.builder.service.database
        assert database.is_postgresql
        built = [await r.over(await r.push(first, number)) for number in (1, 2)]
        assert [fact.name for fact in built] == ["build.succeeded"] * 2
        run = await r.push(second, 3)
        await sleeper.running()
        await r.tell(RunCancelled(organisation="main", service="svc_shop", run=run, number=3, by="Ada"))
        assert (await r.over(run)).name == "build.cancelled"
        await sleeper.gone()
        images = r.builder.service.workers[0].run.__self__.images  # type: ignore[attr-defined]
        assert await clean_up(database, images, r.builder.host.clock, kept=1) == [built[0].image_id]
        assert await images.exists(built[1].image_id)
        async with database.read() as tx:
            assert (await store.build_of_run(tx, "run_1")).image_removed_at_ms
