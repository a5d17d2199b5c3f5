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
    from shared.hosting import Platform, Wire
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


ONE = "one_database"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Whatever opens a database runs on SQLite and on PostgreSQL, but for what is marked to be about something else."""
    chosen = any("database_url" in mark.args[0] for mark in metafunc.definition.iter_markers("parametrize"))
    if "database_url" in metafunc.fixturenames and "both_databases" not in metafunc.fixturenames and not chosen:
        kinds = ["sqlite"] if metafunc.definition.get_closest_marker(ONE) else ["sqlite", "postgresql"]
        metafunc.parametrize("database_url", kinds, indirect=True)


@pytest.fixture
def database_url(request: pytest.FixtureRequest, databases: Mapping[str, tuple[str, str] | None]) -> Iterator[str]:
    """An address with {database} in it: empty for SQLite files, else of a real PostgreSQL with a database per service."""
    yield from _databases(request, databases)


@pytest.fixture(params=["sqlite", "postgresql"])
def both_databases(request: pytest.FixtureRequest, databases: Mapping[str, tuple[str, str] | None]) -> Iterator[str]:
    """The same under another name, for what has an address of its own besides."""
    yield from _databases(request, databases)


def _databases(request: pytest.FixtureRequest, names: Mapping[str, tuple[str, str] | None]) -> Iterator[str]:
    if request.param == "sqlite":
        yield ""
        return
    from shared import ids

    postgres = request.getfixturevalue("postgres")
    mark = ids.uuid7()[-8:]
    for name, made_by in names.items():
        postgres.make(f"{mark}_{name}", postgres.migrated(*made_by) if made_by else "")
    yield postgres.url.format(database=mark + "_{database}")
    for name in names:
        postgres.drop(f"{mark}_{name}")


@pytest.fixture
def databases(request: pytest.FixtureRequest) -> Mapping[str, tuple[str, str] | None]:
    """The databases that a test may open, each with the package and folder of its migrations (None: empty).

    In a service's own tests its own, in those of the chassis empty ones, elsewhere all.
    """
    from shared.bus import SERVICES

    folder, *below = request.path.relative_to(request.config.rootpath).parts
    own = [name for name in SERVICES if folder != "services" or name == below[0]]
    found = {name.replace("-", "_"): (name.replace("-", "_"), "migrations") for name in own}
    if "gateway" in found:
        found["read_model"] = ("gateway", "migrations_read_model")
    return dict.fromkeys(found) if folder == "shared" else dict(found)


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
def database(tmp_path: Path, database_url: str) -> Callable[..., AbstractAsyncContextManager[Any]]:
    """A migrated database of a package: `async with database(tables.metadata, "builder") as db`."""
    from shared import migrate
    from shared.clock import Clock
    from shared.database import open_engines

    @asynccontextmanager
    async def make(metadata: Any, package: str, migrations: str = "migrations", clock: Clock | None = None) -> AsyncIterator[Any]:
        name = package.replace("_", "-")
        url = database_url.replace("{database}", migrations.removeprefix("migrations").strip("_") or package)
        async with open_engines(
            name, metadata, path=tmp_path / f"{name}-{migrations}.db", url=url, clock=clock or Clock()
        ) as opened:
            await migrate.migrate(opened, migrate.folder(package, migrations))
            yield opened

    return make
