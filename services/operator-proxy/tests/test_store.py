"""Queries, on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from operator_proxy import store, tables
from operator_proxy.domain.naming import Target
from shared.clock import Clock
from shared.database import Database, open_engines

from shared import migrate

SHOP, OTHER = Target("main", "svc_shop", "dev"), Target("main", "svc_other", "dev")


@pytest.fixture(params=["sqlite", "postgresql"])
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    url, made = "", None
    if request.param == "postgresql":
        made = request.getfixturevalue("postgres")
        url = made.make("operator_proxy")
    async with open_engines("operator-proxy", tables.metadata, path=tmp_path / "x.db", url=url, clock=Clock()) as opened:
        await migrate.migrate(opened, migrate.folder("operator_proxy"))
        yield opened
    if made:
        made.drop("operator_proxy")


async def test_migrations_make_what_the_tables_say(database: Database) -> None:
    """Every column of every table can be read; and the way back leaves nothing."""
    async with database.read() as tx:
        for table in tables.metadata.tables.values():
            await tx.all(table.select())


async def test_target_remembers_its_newest_fence_and_what_serves(database: Database) -> None:
    async with database.write() as tx:
        await store.raise_fence(tx, SHOP, "local", "shop-dev.localhost", 1, 10)
        await store.now_serves(tx, SHOP, 11, release="rel_1", release_number=1, release_fence=1, run="run_1")
        await store.raise_fence(tx, SHOP, "local", "shop-dev.localhost", 2, 12)
    async with database.read() as tx:
        row: Any = await store.target(tx, SHOP)
        assert (row.fence, row.release, row.release_fence) == (2, "rel_1", 1)
        assert not await store.host_is_free(tx, "shop-dev.localhost", OTHER)
        assert await store.host_is_free(tx, "shop-dev.localhost", SHOP)
        assert await store.target(tx, OTHER) is None
        assert await store.targets_of(tx, "main", "svc_shop") == [SHOP]


async def test_known_are_the_serving_and_the_coming(database: Database) -> None:
    async with database.write() as tx:
        await store.raise_fence(tx, SHOP, "local", "h", 1, 10)
        assert await store.open_placement(tx, SHOP, "rel_1", 1, "run_1", 10)
        assert not await store.open_placement(tx, SHOP, "rel_1", 1, "run_1", 10)
        assert await store.known_releases(tx) == ({("rel_1", 1)}, {SHOP.key})
        await store.end_placement(tx, "rel_1", 1, store.FAILED, 11, "container.exited")
        assert await store.known_releases(tx) == (set(), set())
        await store.now_serves(tx, SHOP, 12, release="rel_2", release_fence=2)
        assert await store.known_releases(tx) == ({("rel_2", 2)}, set())
        await store.now_serves(tx, SHOP, 13)
        assert await store.known_releases(tx) == (set(), set())


async def test_entry_ports_are_given_once_and_kept(database: Database) -> None:
    async with database.write() as tx:
        assert await store.give_port(tx, SHOP, "local", [8641, 8642], 1) == 8641
        assert await store.give_port(tx, SHOP, "local", [8642], 2) == 8641
        assert await store.give_port(tx, OTHER, "local", [8641], 3) is None
        assert await store.give_port(tx, OTHER, "local", [8642, 8641], 4) == 8642
        await store.take_port_back(tx, SHOP)
        assert await store.given_port(tx, SHOP) is None
