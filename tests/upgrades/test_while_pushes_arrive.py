"""Upgrade and go back under a running platform: the release that runs goes on with a newer schema, and no push is lost."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

import pytest
import sqlalchemy as sa
from shared.clock import Clock
from shared.database import open_engines

from shared import migrate
from tests.flows.conftest import ENDED, Town, town  # noqa: F401
from tests.upgrades.test_rows import FOLDERS, LATER

TABLES = {"webhook": "runs", "builder": "builds", "scanner": "scans", "gate": "decisions", "deployer": "releases"}
TABLES |= {"operator_proxy": "placements", "gateway": "intents", "read_model": "runs"}


def later(folder: Path, to: Path) -> tuple[str, Path, str]:
    """The database of a folder of migrations, that folder with one release more, and the newest revision of this release."""
    database = "read_model" if folder.name.endswith("read_model") else folder.parent.name
    more = to / database
    (more / "versions").mkdir(parents=True)
    every = migrate.revisions(folder / "versions")
    for _, file in every:
        (more / "versions" / file.name).write_bytes(file.read_bytes())
    (more / "versions" / "2999-01-01-0001_note.py").write_text(LATER.format(table=TABLES[database]))
    return database, more, every[-1][0]


@pytest.mark.slow
async def test_pushes_arrive_while_every_database_is_upgraded_and_taken_back(town: Town, tmp_path: Path) -> None:  # noqa: F811
    await town.register(supersede=False)
    settings = town.platform.settings
    pushed: list[int] = []
    over = asyncio.Event()

    async def push() -> None:
        while not over.is_set() or len(pushed) < 4:
            answer = await town.push()
            assert answer.status_code == 202, answer.text
            pushed.append(answer.json()["run"]["number"])
            # Two ahead of what is done: one is always on its way, and none waits long.
            await town.until("the run before last", partial(_ended, town, pushed[-1] - 2), 90)

    before = await town.push()
    assert before.status_code == 202
    pushing = asyncio.create_task(push())
    releases = [later(folder, tmp_path / "later") for folder in FOLDERS]
    try:
        for back in (False, True):
            for database, folder, newest in releases:
                service = "gateway" if database == "read_model" else database.replace("_", "-")
                file = settings.root / "services" / service / f"{database.replace('_', '-')}.db"
                if database == "read_model":
                    file = file.with_name("read_model.db")
                async with open_engines(
                    database, sa.MetaData(), path=file, url=settings.database_at(database), clock=Clock()
                ) as opened:
                    assert await migrate.at(opened) == ("2999-01-01-0001" if back else newest), database
                    await migrate.migrate(opened, folder, newest if back else "head")
                    assert await migrate.at(opened) == (newest if back else "2999-01-01-0001"), database
            await town.until("a push after the last migration", partial(_more, pushed, len(pushed)), 90)
    finally:
        over.set()
        await pushing
    assert pushed == list(range(2, len(pushed) + 2)), "a number was lost or given twice"
    for number in (1, *pushed):
        await town.until(f"the end of run {number}", partial(_ended, town, number), 90)


async def _ended(town: Town, number: int) -> bool:  # noqa: F811
    run = await town.run(number) if number > 0 else {"state": "success"}
    assert run.get("state", "success") not in ENDED - {"success"}, run
    return run.get("state") == "success"


async def _more(pushed: list[int], than: int) -> bool:
    return len(pushed) > than
