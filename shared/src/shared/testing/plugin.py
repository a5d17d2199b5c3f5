"""Fixtures for every suite; pytest finds this module by the entry point of `shared`.

`nats` is a real nats-server of the test's own; `platform` runs services on it: `async with platform({"builder": wire}) as p`.
`database` makes a migrated database of a package without the bus.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from shared.runtime import Platform, Wire
    from shared.testing.nats import NatsServer
    from shared.testing.parts import Parts

pytest_plugins = ["shared.testing.parts"]


@pytest.fixture
def nats(tmp_path: Path, parts: Parts) -> Iterator[NatsServer]:
    """A nats-server whose store lives as long as the test."""
    from shared.testing.nats import NatsServer, binary

    if "nats-server" not in parts.present:
        parts.program(binary(), "--version", part="nats-server")

    server = NatsServer(tmp_path / "data")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def database_url() -> str:
    """Where the platform's databases are: empty for SQLite files. A suite that runs on both overrides it by `both_databases`."""
    return ""


@pytest.fixture(params=["sqlite", "postgresql"])
def both_databases(request: pytest.FixtureRequest) -> Iterator[str]:
    """An address with {database} in it, once for SQLite (empty) and once for a real PostgreSQL with a database per service."""
    if request.param == "sqlite":
        yield ""
        return
    from shared import ids
    from shared.bus import SERVICES

    postgres = request.getfixturevalue("postgres")
    mark = ids.uuid7()[-8:]
    names = [f"{mark}_{name.replace('-', '_')}" for name in (*SERVICES, "read_model")]
    for name in names:
        postgres.make(name)
    yield postgres.url.format(database=mark + "_{database}")
    for name in names:
        postgres.drop(name)


@pytest.fixture
def platform(nats: NatsServer, database_url: str) -> Callable[..., AbstractAsyncContextManager[Platform]]:
    """Run services on the test's nats-server: a function of name -> wire, and optional changes to the settings."""
    from shared.bootstrap import bootstrap
    from shared.runtime import running
    from shared.settings import PlatformSettings

    @asynccontextmanager
    async def run(wires: Mapping[str, Wire], **changes: Any) -> AsyncIterator[Platform]:
        changes.setdefault("database_url", database_url)
        settings = PlatformSettings(home=nats.root.parent, data=nats.root, **changes)
        await bootstrap(nats.url, nats.keys)
        async with running(wires, settings, bus_url=nats.url, keys=nats.keys) as platform:
            yield platform

    return run


@pytest.fixture
def database(tmp_path: Path) -> Callable[..., AbstractAsyncContextManager[Any]]:
    """A migrated SQLite database of a package: `async with database(tables.metadata, "builder") as db`."""
    from shared import migrate
    from shared.clock import Clock
    from shared.database import open_engines

    @asynccontextmanager
    async def make(metadata: Any, package: str, migrations: str = "migrations", clock: Clock | None = None) -> AsyncIterator[Any]:
        name = package.replace("_", "-")
        async with open_engines(
            name, metadata, path=tmp_path / f"{name}-{migrations}.db", url="", clock=clock or Clock()
        ) as opened:
            await migrate.migrate(opened, migrate.folder(package, migrations))
            yield opened

    return make
