"""The same SQL on SQLite and on PostgreSQL; there also two instances at once, and the way back of the migrations."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import sqlalchemy as sa
from shared.facts import builder
from shared.facts.gateway import ServiceDeleted
from shared.facts.webhook import DeliveryIgnored, PushReceived, RunFinished, RunSuperseded
from shared.orders.webhook import CancelRun, SetRule, StartRun
from shared.queries.webhook import ListDeliveries
from shared.words import RunState
from webhook import tables
from webhook.domain.runs import IMAGE_AREAS, SOURCE_AREAS

from shared import migrate

from .conftest import FIRST, SECOND, SHOP, THIRD, Props, Wired, payload
from .test_subscribers import MAIN, Road, ended, turn


async def test_pushes_repeats_refusals_and_the_ledger(props: Props) -> None:
    first = (await props.deliver(x_kiops_delivery="d-1")).json()
    again = (await props.deliver(x_kiops_delivery="d-1")).json()
    assert (again["run"], again["repeated"]) == (first["run"], True)
    assert (await props.deliver(signature="sha256=" + "0" * 64)).status_code == 401
    assert (await props.deliver(b"nonsense")).status_code == 400
    props.clock.move(1)
    await props.push(ref="refs/heads/topic")
    assert len(await props.sent(DeliveryIgnored)) == 1
    rows = (await props.ask(ListDeliveries(**MAIN))).rows
    assert rows[0].verdict == "ignored"
    assert sorted(row.verdict for row in rows) == ["ignored", "refused", "run", "unsigned"]


async def test_a_whole_run_and_its_end(props: Props) -> None:
    await props.hear(SetRule(**MAIN, branches=["main"], environments=["dev"], intent="i"))
    road = Road(props, await props.push())
    await road.scan(SOURCE_AREAS)
    await road.build()
    await road.scan(IMAGE_AREAS)
    await road.decide("dev")
    await road.put_in_place("dev")
    await road.watch("dev")
    assert await ended(props) == [(1, RunState.SUCCESS, None, "")]
    assert len(await props.rows(tables.steps)) == 12


async def test_superseded_cancelled_refused_and_deleted(props: Props) -> None:
    await props.push(after=FIRST)
    await props.push(after=SECOND, before=FIRST)
    assert [(fact.number, fact.by_number) for fact in await props.sent(RunSuperseded)] == [(1, 2)]
    second = (await props.sent(PushReceived))[1]
    await props.hear(CancelRun(**MAIN, run=second.run, by="Ada", intent="i1"))
    await props.hear(StartRun(**MAIN, executor="Ada", commit=FIRST, version="1.0", intent="i2"))
    await props.hear(StartRun(**MAIN, executor="Ada", commit=SECOND, version="1.0", intent="i3"))
    assert [answer.code for answer in props.answers] == ["", "", "run.version_taken"]
    await props.hear(ServiceDeleted(**MAIN, name_="shop", by="Ada"))
    assert [each[:2] for each in await ended(props)] == [
        (1, RunState.SUPERSEDED),
        (2, RunState.CANCELLED),
        (3, RunState.CANCELLED),
    ]
    assert (await props.deliver()).status_code == 404


async def test_the_reaper_and_retention(wired: Wired) -> None:
    async with wired(reaper_seconds=0.01, retention_seconds=0.01, run_deadline_seconds=60, keep_raw_days=1) as props:
        await props.register()
        road = Road(props, await props.push())
        await props.hear(builder.BuildStarted(**road.ids, build="bld_1"))
        props.clock.move(40 * 86_400)
        await turn(props, "reaper")
        await turn(props, "retention")
        assert [fact.code for fact in await props.sent(RunFinished)] == ["run.deadline"]
        assert [row["body"] for row in await props.rows(tables.deliveries)] == [None]


async def test_a_burst_has_every_number_once(props: Props) -> None:
    told = await asyncio.gather(*(props.deliver(payload(after=f"{n:040x}"), x_kiops_delivery=f"d{n}") for n in range(1, 41)))
    assert sorted(answer.json()["run"]["number"] for answer in told) == list(range(1, 41))


async def test_two_instances_on_one_database_agree(wired: Wired, database_url: str, tmp_path: Any) -> None:
    if not database_url:
        return  # on SQLite there is one instance: the runtime's lock on the folder
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(wired())
        other = await stack.enter_async_context(wired(name="webhook-2"))
        await one.register()
        await one.register("svc_" + "2" * 32, name_="other")
        second = (one.endpoint, one.secret)
        await one.register(SHOP)
        first = await _endpoint(one, SHOP)
        doors = []
        for props in (one, other):
            for n in range(1, 21):
                doors.append(_deliver(props, *(first if n % 2 else second), key=f"d{n}", commit=f"{n:040x}"))
        told = await asyncio.gather(*doors)
        assert {status for status, _ in told} == {202}
        runs = await one.rows(tables.runs)
        assert len(runs) == 20, "each delivery once, whichever instance took it"
        for service in (SHOP, "svc_" + "2" * 32):
            assert sorted(run["number"] for run in runs if run["service_id"] == service) == list(range(1, 11))


async def _endpoint(props: Props, service: str) -> tuple[str, str]:
    from shared.queries.webhook import AskEndpointSecret

    (row,) = [row for row in await props.rows(tables.endpoints) if row["service_id"] == service]
    found = await props.ask(AskEndpointSecret(organisation="main", endpoint=row["id"]))
    return found.path, found.secret


async def _deliver(props: Props, path: str, secret: str, *, key: str, commit: str) -> tuple[int, Any]:
    import json

    from .conftest import sign

    raw = json.dumps(payload(after=commit)).encode()
    headers = {"content-type": "application/json", "x-kiops-signature": sign(secret, raw), "x-kiops-delivery": key}
    answer = await props.client.post(path, content=raw, headers=headers)
    return answer.status_code, answer.json()


async def test_the_migrations_go_back_and_forth(props: Props) -> None:
    await props.push(after=THIRD)
    database, folder = props.service.database, migrate.folder("webhook")
    await migrate.migrate(database, folder, "")
    await migrate.migrate(database, folder)
    assert await props.rows(tables.runs) == []
    await props.register()
    assert (await props.push())["run"]["number"] == 1


async def test_the_migrations_make_the_tables_as_they_are_declared(props: Props) -> None:
    def look(connection: sa.Connection) -> dict[str, set[str]]:
        inspector = sa.inspect(connection)
        return {name: {column["name"] for column in inspector.get_columns(name)} for name in inspector.get_table_names()}

    async with props.service.database.read() as tx:
        found = await tx.connection.run_sync(look)
    found.pop("alembic_version")
    assert found == {name: {column.name for column in table.c} for name, table in tables.metadata.tables.items()}
    assert all("organisation_id" in columns for columns in found.values())
