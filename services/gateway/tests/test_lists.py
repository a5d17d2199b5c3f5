"""Lists of a long history: what a filter leaves, page after page, found by index and written as the API's models say."""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import gateway_journeys as journeys
import pytest
import sqlalchemy as sa
from gateway.api import builds as api_builds
from gateway.api import models as m
from gateway.api import people as api_people
from gateway.api import runs as api_runs
from gateway.api import services as api_services
from gateway.api import verdicts as api_verdicts
from gateway.api.paging import written
from gateway.store import audits, builds, releases, runs
from gateway.store.lists import Shown
from gateway.tables import read_model
from shared.database import Database
from test_projections import project

SERVICES = ("svc_a", "svc_b")
RUNS = api_runs._SHOWN


@pytest.fixture
async def read(database: Any) -> Any:
    async with database(read_model.metadata, "gateway", "migrations_read_model") as opened:
        yield opened


def history() -> list[dict[str, Any]]:
    """Runs of two services: most on main and well, some elsewhere or not, several born in the same millisecond."""
    rows = []
    for number in range(1, 121):
        for service in SERVICES:
            state = "failed" if number % 20 == 0 else "blocked" if number % 25 == 0 else "success"
            rows.append(
                {
                    "id": f"run_{number:04d}{service}",
                    "organisation_id": "main",
                    "service_id": service,
                    "number": number,
                    "state": state,
                    "trigger": "api" if number % 30 == 0 else "webhook",
                    "branch": "work" if number % 12 == 0 else "main",
                    "plan": ["source", "build"],
                    "environments": [],
                    "steps": {"source": state, "bällt": "\U0001f600"},
                    "born_at_ms": 1_795_250_000_000 + number // 4,
                }
            )
    return rows


@pytest.fixture
async def long(read: Database) -> Database:
    async with read.write() as tx:
        await tx.execute(read_model.runs.insert(), history())
    return read


STATES = ((), ("failed",), ("success",), ("failed", "blocked"))
FILTERS = [
    {"service_id": service, "states": states, "branch": branch, "trigger": trigger}
    for service, states, branch, trigger in itertools.product(("", "svc_b"), STATES, ("", "work"), ("", "api"))
]


@pytest.mark.slow
@pytest.mark.parametrize("asked", FILTERS, ids=lambda asked: "-".join(str(value) for value in asked.values() if value) or "all")
async def test_pages_of_runs_are_what_the_filters_leave_newest_first(long: Database, asked: dict[str, Any]) -> None:
    wanted = [
        row
        for row in history()
        if asked["service_id"] in ("", row["service_id"])
        and (not asked["states"] or row["state"] in asked["states"])
        and asked["branch"] in ("", row["branch"])
        and asked["trigger"] in ("", row["trigger"])
    ]
    wanted.sort(key=lambda row: (row["born_at_ms"], row["id"]), reverse=True)
    found: list[str] = []
    before: tuple[int, str] | None = None
    async with long.read() as tx:
        while True:
            rows = await runs.listed(tx, RUNS, "main", before=before, limit=7, **asked)
            found += [row.id for row in rows]
            if len(rows) < 7:
                break
            before = (rows[-1].born_at_ms, rows[-1].id)
        assert found == [row["id"] for row in wanted]
        assert not await runs.listed(tx, RUNS, "another", limit=7, **asked | {"service_id": ""})


@asynccontextmanager
async def overheard(read: Database) -> AsyncIterator[list[str]]:
    """The texts, values written in, of what the one connection for reading runs meanwhile."""
    said: list[str] = []
    connection: Any = await read._reader.connect()
    connection.driver.set_trace_callback(said.append)
    await connection.close()
    yield said
    connection.driver.set_trace_callback(None)


def plans(read: Database, statements: Sequence[str]) -> list[str]:
    with read._reader.sync_engine.connect() as connection:
        driver = connection.connection.driver_connection
        return [row[3] for text in statements if text.startswith("SELECT") for row in driver.execute(f"explain query plan {text}")]


@pytest.mark.one_database
@pytest.mark.parametrize("figures", [False, True], ids=["without figures", "with figures"])
async def test_no_list_is_sorted_or_searched_through(long: Database, figures: bool) -> None:
    """On SQLite, whether or not its planner has figures of the tables: each is read in the order of an index."""
    if figures:
        async with long.write() as tx:
            await tx.execute(sa.text("analyze"))
    async with overheard(long) as seen:
        for asked in FILTERS:
            async with long.read() as tx:
                await runs.listed(tx, RUNS, "main", before=(2, "x"), limit=7, **asked)
                await runs.listed(tx, RUNS, "main", limit=7, **asked)
        async with long.read() as tx:
            for of, state in itertools.product(("", "svc_a"), ("", "failed")):
                await builds.listed(tx, api_builds._SHOWN, "main", service_id=of, state=state, before="x")
                await builds.decisions_listed(tx, api_verdicts._DECISIONS, "main", service_id=of, before="x")
            for environment in ("", "production"):
                shown = Shown(read_model.releases, m.ReleaseOut.model_fields)
                await releases.listed(tx, shown, "svc_a", environment=environment, before="x")
            for category, actor in itertools.product(("", "sign-in"), ("", "ada")):
                await audits.listed(tx, api_people._AUDIT, "main", category=category, actor=actor, before=9)
    found = plans(long, seen)
    assert len(found) > 90
    assert not [line for line in found if not line.startswith("SEARCH") or "TEMP B-TREE" in line]


async def test_rows_go_out_as_their_models_say(read: Database) -> None:
    """Nothing checks a list on its way out: so here each row is held against the model that the document shows."""
    story = journeys.registered()
    journeys.good_push(story, 1, 1)
    journeys.blocked_push(story, 2, 60)
    await project(read, story.told)
    cases: list[tuple[Shown, type[m.Out]]] = [
        (api_runs._SHOWN, m.RunOut),
        (api_builds._SHOWN, m.BuildOut),
        (api_services._SHOWN, m.ServiceOut),
        (api_verdicts._SCANS, m.ScanOut),
        (api_verdicts._FINDINGS, m.FindingOut),
        (api_verdicts._DECISIONS, m.DecisionOut),
        (Shown(read_model.releases, m.ReleaseOut.model_fields), m.ReleaseOut),
        (api_people._AUDIT, m.AuditOut),
    ]
    row = {
        "id": "au_1",
        "organisation_id": "main",
        "sequence": 9,
        "actor": "Zoë",
        "detail": 'said "yes"\n',
        "at_ms": 1_795_250_000_000,
    }
    async with read.write() as tx:
        await tx.execute(read_model.audit.insert(), row)
    for shown, model in cases:
        async with read.read() as tx:
            rows = await tx.all(sa.select(*shown.columns).order_by(*shown.table.primary_key))
            whole = await tx.all(sa.select(shown.table).order_by(*shown.table.primary_key))
        answered = json.loads(written(shown, rows).body)
        assert answered["items"], shown.table.name
        assert answered["items"] == [model.model_validate(row).model_dump(mode="json") for row in whole]
        assert [list(item) for item in answered["items"]] == [list(model.model_fields)] * len(whole)
