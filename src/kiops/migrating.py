"""`kiops migrate`: streams and durables declared, every database at its newest migration; nothing else is started."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from kiops import catalogue
from kiops.setup.screen import Screen
from kiops.terminal import Exit, fail


def migrate(names: Sequence[str], root: Path) -> None:
    """Migrates the named services' databases (all when none is named). A service that runs is left to migrate itself."""
    if unknown := [name for name in names if name not in catalogue.NAMES]:
        fail(f"there is no service {unknown[0]}", advice=f"one of {', '.join(catalogue.NAMES)}", code="migrate.unknown",
             exit_code=Exit.ASKED_WRONGLY)  # fmt: skip
    asyncio.run(_migrate(names or catalogue.NAMES, root))


async def _migrate(names: Sequence[str], root: Path) -> None:
    from shared.bootstrap import bootstrap
    from shared.settings import PlatformSettings

    from kiops import nats

    screen = Screen()
    settings = PlatformSettings(data=root)
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    screen.begin("streams")
    if settings.bus_url:
        await bootstrap(settings.bus_url, root / "bus" / "keys", api=settings.bus_api_prefix)
    else:
        async with nats.server(root) as bus:
            await bootstrap(bus.url, bus.keys, api=settings.bus_api_prefix)
    screen.done("streams")
    for name in names:
        screen.begin(name)
        screen.done(name, await _service(name, settings, root))


async def _service(name: str, settings: object, root: Path) -> str:
    """Every folder `migrations*` of the package is a database of its own: migrations_read_model is read_model."""
    import contextlib

    import sqlalchemy as sa
    from shared.clock import Clock
    from shared.database import open_engines
    from shared.runtime import locked

    from shared import migrate as chassis

    package = chassis.folder(catalogue.package(name), ".")
    data = root / "services" / name
    at = settings.database_url.get_secret_value()  # type: ignore[attr-defined]
    told = []
    with contextlib.nullcontext() if at else locked(data, name):
        for folder in sorted(package.glob("migrations*")):
            database = folder.name.removeprefix("migrations").strip("_") or name
            url = settings.database_at(database)  # type: ignore[attr-defined]
            async with open_engines(database, sa.MetaData(), path=data / f"{database}.db", url=url, clock=Clock()) as opened:
                await chassis.migrate(opened, folder)
                told.append(f"{database} at {await chassis.at(opened)}")
    return ", ".join(told)
