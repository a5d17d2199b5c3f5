"""Facts become rows; told again they become the same rows, one by one or in one batch, on SQLite as on PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import gateway_journeys as journeys
import pytest
import sqlalchemy as sa
from gateway.journey import of_run
from gateway.projections.batch import Projector
from gateway.store import runs as run_store
from gateway.subscribers import PROJECTIONS
from gateway.tables import read_model
from gateway_journeys import Story
from shared.bus import HEARS
from shared.database import Database, Tx
from shared.inbox import Incoming

CHASSIS = {"outbox", "lease", "stream_position", "inbox", "parked", "dead_letter"}


@pytest.fixture
async def read(database: Any) -> Any:
    async with database(read_model.metadata, "gateway", "migrations_read_model") as opened:
        yield opened


async def project(read: Database, told: Iterable[Any], batch: int = 1000) -> None:
    rows = list(told)
    for start in range(0, len(rows), batch):
        async with read.write() as tx:
            await project_in(tx, rows[start : start + batch])


async def project_in(tx: Tx, told: Iterable[Any]) -> None:
    await Projector(PROJECTIONS).project(tx, [Incoming(envelope, {}, message.model_dump_json()) for message, envelope in told])


async def everything(read: Database) -> dict[str, list[Any]]:
    async with read.read() as tx:
        return {
            name: sorted(map(repr, (dict(row._mapping) for row in await tx.all(sa.select(table)))))
            for name, table in read_model.metadata.tables.items()
            if name not in CHASSIS
        }


async def clear(read: Database) -> None:
    async with read.write() as tx:
        for name, table in read_model.metadata.tables.items():
            if name not in CHASSIS:
                await tx.execute(table.delete())


async def one(read: Database, table: sa.Table, **where: Any) -> Any:
    async with read.read() as tx:
        rows = await tx.all(sa.select(table).filter_by(**where))
    assert len(rows) == 1, rows
    return rows[0]


def whole_story() -> Story:
    story = journeys.registered()
    journeys.good_push(story, 1, 1)
    journeys.blocked_push(story, 2, 60)
    journeys.good_push(story, 3, 2, 120)
    journeys.rolled_back(story, 4, 3, "rel_1", 180)
    return story


def test_every_fact_has_a_projection() -> None:
    assert set(PROJECTIONS) == set(HEARS["gateway"])


async def test_every_example_becomes_rows(read: Database, examples: dict[str, Any]) -> None:
    """What any service announces can be projected, whatever came before it."""
    assert {type(message) for message in examples.values()} == set(PROJECTIONS), "a fact has no example yet"
    story = Story()
    first = ("service.registered", "push.received", "run.started")
    story.tell(*(examples[name] for name in first))
    story.tell(*(message for name, message in examples.items() if name not in first))
    await project(read, story.told)
    once = await everything(read)
    assert all(
        once[name]
        for name in ("services", "runs", "run_steps", "builds", "scans", "decisions", "releases", "deploys", "audit", "deliveries")
    )
    await clear(read)
    await project(read, story.told, batch=1)
    assert await everything(read) == once


async def test_any_single_example_is_borne_alone(read: Database, examples: dict[str, Any]) -> None:
    """A stream that was cut begins in the middle: no projection may break on what it never heard of."""
    for message in examples.values():
        await project(read, Story().tell(message).told)
        await clear(read)


@pytest.mark.slow
async def test_told_again_they_make_the_same_rows(read: Database) -> None:
    told = whole_story().told
    await project(read, told)
    once = await everything(read)
    await clear(read)
    for batch in (1, 7):
        await project(read, told, batch=batch)
        assert await everything(read) == once
        await clear(read)


@pytest.mark.heavy
@pytest.mark.one_database
async def test_the_same_rows_on_postgresql(read: Database, postgres: Any) -> None:
    from shared.clock import Clock
    from shared.database import open_engines

    from shared import migrate

    told = whole_story().told
    await project(read, told)
    url = postgres.make("read_model")
    from pathlib import Path

    async with open_engines("read-model", read_model.metadata, path=Path("none"), url=url, clock=Clock()) as other:
        await migrate.migrate(other, migrate.folder("gateway", "migrations_read_model"))
        await project(other, told, batch=5)
        assert await everything(other) == await everything(read)


async def test_a_good_push_is_a_run_with_every_step_told(read: Database) -> None:
    story = journeys.registered()
    journeys.good_push(story, 1, 1)
    await project(read, story.told)
    run = await one(read, read_model.runs, id="run_1")
    assert run.state == "success" and run.verdict == "pass" and run.image == "shop:1"
    assert run.steps == dict.fromkeys(journeys.PLAN, "success")
    assert run.finished_at_ms - run.born_at_ms == 23_500 and run.deployed_at_ms - run.born_at_ms == 13_500
    build = await one(read, read_model.builds, id="bld_1")
    assert (build.state, build.size_bytes, build.steps_cached, build.files) == ("success", 58_000_000, 2, 6)
    async with read.read() as tx:
        line = await of_run(tx, run, journeys.START + 10**9)
    assert line.wall_ms == 23_500 == sum(each.counts_ms for each in line.segments)
    assert line.deployed_after_ms == 13_500
    waited = {each.text: each.counts_ms for each in line.segments if each.kind == "wait"}
    assert waited["for a build slot: build #11 of this service"] == 2000
    assert [each.step for each in line.segments if each.kind == "work" and not each.critical] == ["sast"]


async def test_what_serves_is_known_of_service_and_environment(read: Database) -> None:
    story = journeys.registered()
    journeys.good_push(story, 1, 1)
    await project(read, story.told)
    service = await one(read, read_model.services, id="svc_shop")
    assert (service.state, service.state_environment) == ("running", "development")
    assert (service.deployed_version, service.deployed_commit, service.deployed_run_number) == ("2026-1", journeys.COMMIT, 1)
    assert service.deployed_at_ms == journeys.START + 13_500
    assert (service.risk_state, service.risk_medium, service.risk_critical) == ("known", 1, 0)
    place = await one(read, read_model.environments, service_id="svc_shop", name="development")
    assert (place.release_id, place.release_number, place.executor, place.url) == ("rel_1", 1, "Ada", "http://127.0.0.1:8641/")
    release = await one(read, read_model.releases, id="rel_1")
    assert (release.state, release.settled_healthy, release.verdict) == ("serving", True, "pass")


async def test_a_blocked_run_changes_nothing_that_serves(read: Database) -> None:
    story = journeys.registered()
    journeys.good_push(story, 1, 1)
    journeys.blocked_push(story, 2, 60)
    await project(read, story.told)
    run = await one(read, read_model.runs, id="run_2")
    assert (run.state, run.ended_step, run.verdict) == ("blocked", "gate", "block")
    assert run.steps["gate"] == "blocked" and run.steps["deploy"] == run.steps["operate"] == "skipped"
    assert run.steps["sast"] == "warning"
    service = await one(read, read_model.services, id="svc_shop")
    assert service.state == "blocked" and service.deployed_release_number == 1
    deploy = await one(read, read_model.deploys, id="req_2")
    assert deploy.state == "blocked"
    decision = await one(read, read_model.decisions, id="dec_2")
    assert decision.body["reasons"][0]["rule"] == "secrets.none"


async def test_findings_are_new_existing_fixed_and_reopened(read: Database) -> None:
    story = journeys.registered()
    for number, begin, found in (
        (1, 0, [journeys.OLD]),
        (2, 60, [journeys.OLD, journeys.SECRET]),
        (3, 120, []),
        (4, 180, [journeys.OLD]),
    ):
        story.at(begin)
        journeys.push(story, number)
        journeys.scanned(story, number, begin + 1, ["sast", "secrets", "iac"], begin + 3, sast=found)
    await project(read, story.told)
    async with read.read() as tx:
        rows = await tx.all(sa.select(read_model.findings).order_by(read_model.findings.c.run_id, read_model.findings.c.rank))
    assert [(row.run_id, row.finding_id, row.novelty, row.first_number) for row in rows] == [
        ("run_1", "f-old", "new", 1),
        ("run_2", "f-secret", "new", 2),
        ("run_2", "f-old", "existing", 1),
        ("run_4", "f-old", "reopened", 1),
    ]
    secret = await one(read, read_model.current_findings, finding_id="f-secret")
    assert (secret.state, secret.fixed_number) == ("fixed", 3)
    old = await one(read, read_model.current_findings, finding_id="f-old")
    assert (old.state, old.fixed_number, old.last_number) == ("open", None, 4)


async def test_a_failed_scan_resolves_nothing(read: Database) -> None:
    from shared.facts.scanner import ScanFailed

    story = journeys.registered()
    journeys.push(story, 1)
    journeys.scanned(story, 1, 1, ["sast"], 3, sast=[journeys.OLD])
    story.at(60)
    journeys.push(story, 2)
    story.tell(
        ScanFailed(
            organisation="main",
            service="svc_shop",
            run="run_2",
            number=2,
            scan="scn_x",
            area="sast",
            code="scan.engine",
            reason="It died.",
        )
    )
    await project(read, story.told)
    assert (await one(read, read_model.current_findings, finding_id="f-old")).state == "open"
    service = await one(read, read_model.services, id="svc_shop")
    assert (service.risk_state, service.risk_medium) == ("part", 1)
    step = await one(read, read_model.run_steps, run_id="run_2", step="sast")
    assert (step.state, step.code) == ("failed", "scan.engine")


async def test_a_rollback_brings_the_old_release_back_as_a_new_one(read: Database) -> None:
    await project(read, whole_story().told)
    run = await one(read, read_model.runs, id="run_4")
    assert (run.trigger, run.state, list(run.steps)) == ("rollback", "success", ["gate", "deploy", "operate"])
    assert run.version == "2026-4"
    states = {number: (await one(read, read_model.releases, number=number)).state for number in (1, 2, 3)}
    assert states == {1: "served", 2: "rolled_back", 3: "serving"}
    release = await one(read, read_model.releases, number=3)
    assert (release.back_to_id, release.back_to_number, release.came_back) == ("rel_1", 1, ["image"])
    assert (await one(read, read_model.environments, name="development")).release_number == 3


async def test_a_cancelled_run_has_no_step_left_open(read: Database) -> None:
    from shared.facts.webhook import RunCancelled

    story = journeys.registered()
    journeys.push(story, 1)
    story.at(1)
    journeys.built(story, 1, 1)
    story.told = story.told[:-2]  # the clone goes on
    story.at(5).tell(RunCancelled(organisation="main", service="svc_shop", run="run_1", number=1, by="admin"))
    journeys.finished(story, 1, "cancelled")
    await project(read, story.told)
    run = await one(read, read_model.runs, id="run_1")
    assert (run.state, run.cancelled_by, run.reason) == ("cancelled", "admin", "Cancelled by admin.")
    assert set(run.steps.values()) == {"cancelled"}
    async with read.read() as tx:
        assert all(row.ended_at_ms for row in await run_store.steps(tx, ["run_1"]))
        assert all(row.ended_at_ms for row in await run_store.waits(tx, ["run_1"]))


async def test_a_runtime_that_does_not_answer_shows_on_its_services(read: Database) -> None:
    from shared.facts.operator_proxy import RuntimeChanged

    story = journeys.registered()
    journeys.good_push(story, 1, 1)
    story.at(90).tell(
        RuntimeChanged(
            organisation="main", runtime="local", label="This machine", runtime_kind="docker", reachable=False, reason="no answer"
        )
    )
    await project(read, story.told)
    assert (await one(read, read_model.services, id="svc_shop")).state == "unreachable"


@pytest.mark.one_database
async def test_a_long_stream_is_folded(read: Database) -> None:
    """100 runs of one service in batches of 1,000: every row is written once a batch, whatever many facts moved it."""
    story = journeys.registered()
    for number in range(1, 101):
        journeys.good_push(story, number, number, number * 30)
    changed = 0
    for start in range(0, len(story.told), 1000):
        async with read.write() as tx:
            driver = (await tx.connection.get_raw_connection()).driver_connection
            before = driver.total_changes
            await project_in(tx, story.told[start : start + 1000])
            changed += driver.total_changes - before
    async with read.read() as tx:
        rows = sum(
            [await tx.scalar(sa.select(sa.func.count()).select_from(table)) for table in read_model.metadata.tables.values()]
        )
    assert rows > 3000 and changed < rows * 1.1
    service = await one(read, read_model.services, id="svc_shop")
    assert (service.last_run_number, service.deployed_release_number) == (100, 100)


async def test_a_body_of_an_older_or_newer_writer_is_read(read: Database) -> None:
    """Fields that are missing have their contract's value, fields and codes that are not known yet do no harm."""
    story = journeys.registered()
    journeys.push(story, 1)
    message, envelope = story.told[-1]
    body = json.loads(message.model_dump_json()) | {"trigger": "by_pigeon", "number": "1", "of_tomorrow": {"a": [1]}}
    del body["author"], body["environments"]
    await project(read, story.told[:-1])
    async with read.write() as tx:
        await Projector(PROJECTIONS).project(tx, [Incoming(envelope, {}, json.dumps(body))])
    run = await one(read, read_model.runs, id="run_1")
    assert (run.trigger, run.number, run.author, run.environments) == ("other", 1, "", [])
    del body["run"]
    with pytest.raises(ValueError, match="run"):
        async with read.write() as tx:
            await Projector(PROJECTIONS).project(tx, [Incoming(envelope, {}, json.dumps(body))])
