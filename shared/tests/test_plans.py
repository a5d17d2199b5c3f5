"""Statements that are run by a Plan give what SQLAlchemy gives; those that cannot be are left to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from shared.sqlite import Engine
from shared.testing.postgres import Postgres
from sqlalchemy.dialects import postgresql, sqlite

from shared import postgres as on_postgresql

metadata = sa.MetaData()
things = sa.Table(
    "things",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.String, nullable=False, unique=True),
    sa.Column("done", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("about", sa.JSON),
    sa.Column("made", sa.DateTime),
    sa.Column("parent", sa.Integer),
)
made_by_python = sa.Table(
    "counted", metadata, sa.Column("id", sa.Integer, primary_key=True), sa.Column("n", sa.Integer, default=lambda: 7)
)

parent = things.alias("parent_thing")
RUN_BY_A_PLAN: list[tuple[Any, Any]] = [
    (sa.select(things), None),
    (sa.select(things).where(things.c.name == "two"), None),
    (sa.select(things).where(things.c.id == sa.bindparam("wanted")), {"wanted": 2}),
    (sa.select(things.c.name, things.c.done).where(things.c.done.is_(True)).order_by(things.c.id.desc()).limit(1), None),
    (sa.select(things.c.about).where(things.c.id == 1), None),
    (sa.select(things.c.id, parent.c.id, parent.c.name.label("id_of")).join(parent, parent.c.id == things.c.parent), None),
    (sa.select(parent.c.id.label("name"), things.c.name.label("id")).join(parent, parent.c.id == things.c.parent), None),
    (sa.select(sa.func.count()).select_from(things), None),
    (sa.select(sa.case((things.c.done, "yes"), else_="no").label("said"), sa.literal(3)).limit(2).offset(1), None),
    (sa.select(things.c.name).where(sa.exists().where(parent.c.id == things.c.parent)), None),
    (sa.union_all(sa.select(things.c.name), sa.select(parent.c.name)), None),
    (sa.select(things.c.id).where(things.c.id == 99), None),
    (sa.insert(things), {"id": 4, "name": "four", "done": True, "about": {"a": [1, None]}, "made": None, "parent": 1}),
    (sa.insert(things).values(name="five", parent=2).returning(things.c.id, things.c.done), None),
    (sa.insert(things), [{"id": 6, "name": "six", "about": None}, {"id": 7, "name": "seven", "about": [2]}]),
    (
        things.update().where(things.c.id == sa.bindparam("wanted")).values(about=sa.bindparam("about", type_=sa.JSON)),
        {"wanted": 1, "about": {}},
    ),
    (things.update().values(parent=sa.case((things.c.id == 1, things.c.parent), else_=9)).returning(things.c.parent), None),
    (things.delete().where(things.c.name == "two"), None),
    (things.delete().where(things.c.name == "nobody"), None),
]
ONLY_SQLITE: list[tuple[Any, Any]] = [
    (sqlite.insert(things).on_conflict_do_nothing(), {"name": "one"}),
    (sqlite.insert(things).values(name="one").on_conflict_do_update(index_elements=["name"], set_={"parent": 3}), None),
]
ONLY_POSTGRESQL: list[tuple[Any, Any]] = [
    (postgresql.insert(things).on_conflict_do_nothing(), {"id": 9, "name": "one"}),
    (postgresql.insert(things).values(id=9, name="one").on_conflict_do_update(index_elements=["name"], set_={"parent": 3}), None),
    (sa.select(sa.func.sum(things.c.id), sa.func.avg(things.c.id), sa.extract("epoch", sa.func.now()) > 1000), None),
    (sa.select(things.c.id).where(things.c.name == "one").with_for_update(skip_locked=True), None),
    (sa.select(sa.func.pg_advisory_xact_lock_shared(sa.func.hashtext(sa.bindparam("key", type_=sa.String)))), {"key": "é"}),
]
LEFT_TO_SQLALCHEMY: list[tuple[Any, Any]] = [
    (sa.select(things.c.name).where(things.c.id.in_([1, 3])), None),
    (sa.select(things.c.name).where(things.c.id.in_(sa.bindparam("some", expanding=True))), {"some": [2]}),
    (sa.insert(made_by_python), {"id": 1}),
    (sa.text("select name from things where id = :wanted"), {"wanted": 2}),
    (sa.text("delete from things"), None),
]


def three(connection: sa.Connection) -> None:
    connection.execute(
        things.insert(),
        [
            {"id": 1, "name": "one", "done": True, "about": {"é": [1, 2.5, None, "x"]}, "parent": None},
            {"id": 2, "name": "two", "done": False, "about": None, "parent": 1},
            {"id": 3, "name": "three", "done": True, "about": "text", "parent": 2},
        ],
    )


async def prepared(path: Path) -> Engine:
    engine = Engine(path, writes=True)
    connection = await engine.connect()
    async with connection.begin():
        await connection.run_sync(metadata.create_all)
        await connection.run_sync(three)
    await connection.close()
    return engine


async def by_us(engine: Any, statement: Any, parameters: Any) -> tuple[Any, ...]:
    connection = await engine.connect()
    try:
        async with connection.begin():
            done = await connection.execute(statement, parameters)
            after = (await connection.execute(sa.select(things).order_by(things.c.id))).all()
            return [tuple(row) for row in done.all()], [row._fields for row in done.all()], done.rowcount, [tuple(r) for r in after]
    finally:
        await connection.close()


def by_sqlalchemy(engine: sa.Engine, statement: Any, parameters: Any) -> tuple[Any, ...]:
    with engine.begin() as connection:
        return theirs_on(connection, statement, parameters)


def theirs_on(connection: sa.Connection, statement: Any, parameters: Any) -> tuple[Any, ...]:
    done = connection.execute(statement, parameters)
    rows = done.all() if done.returns_rows else []
    # RETURNING counts as it is read; SQLAlchemy asks SQLite before.
    changed = len(rows) if done.returns_rows and statement.is_dml else done.rowcount
    after = connection.execute(sa.select(things).order_by(things.c.id))
    return [tuple(row) for row in rows], [row._fields for row in rows], changed, [tuple(row) for row in after]


@pytest.mark.parametrize("number", range(len(RUN_BY_A_PLAN) + len(ONLY_SQLITE) + len(LEFT_TO_SQLALCHEMY)))
async def test_a_statement_gives_what_sqlalchemy_gives(tmp_path: Path, number: int) -> None:
    statement, parameters = (RUN_BY_A_PLAN + ONLY_SQLITE + LEFT_TO_SQLALCHEMY)[number]
    ours = await prepared(tmp_path / "ours.db")
    theirs = await prepared(tmp_path / "theirs.db")
    first = parameters[0] if isinstance(parameters, list) else parameters
    found = ours.plans.find(statement, first, isinstance(parameters, list))
    assert (found is not None) == (number < len(RUN_BY_A_PLAN + ONLY_SQLITE)), statement
    for _ in range(2):  # the second time from what was kept
        try:
            expected = by_sqlalchemy(theirs.sync_engine, statement, parameters)
        except sa.exc.IntegrityError:
            with pytest.raises(sa.exc.IntegrityError):
                await by_us(ours, statement, parameters)
            break
        assert await by_us(ours, statement, parameters) == expected
    await ours.dispose()
    await theirs.dispose()


async def test_a_row_is_read_by_name_by_place_and_by_column(tmp_path: Path) -> None:
    engine = await prepared(tmp_path / "rows.db")
    connection = await engine.connect()
    row = (await connection.execute(sa.select(things.c.name, things.c.id.label("number")).where(things.c.id == 2))).first()
    assert row is not None
    assert (row.name, row.number, row[1], row._mapping["name"], row._mapping[things.c.name]) == ("two", 2, 2, "two", "two")
    assert row._asdict() == {"name": "two", "number": 2} and not hasattr(row, "id")
    name, number = row
    assert (name, number) == ("two", 2)
    await connection.close()
    await engine.dispose()


async def test_an_error_is_sqlalchemys_and_holds_no_value(tmp_path: Path) -> None:
    engine = await prepared(tmp_path / "errors.db")
    connection = await engine.connect()
    with pytest.raises(sa.exc.IntegrityError) as refused:
        async with connection.begin():
            await connection.execute(things.insert(), {"name": "one", "about": {"secret": "s3cr3t"}})
    assert "UNIQUE" in str(refused.value) and "s3cr3t" not in str(refused.value)
    assert refused.value.orig.sqlite_errorname == "SQLITE_CONSTRAINT_UNIQUE"
    with pytest.raises(sa.exc.OperationalError):
        async with connection.begin():
            await connection.execute(sa.select(sa.table("nowhere", sa.column("x"))))
    async with connection.begin():
        assert (await connection.execute(sa.select(sa.func.count()).select_from(things))).scalar() == 3
    await connection.close()
    await engine.dispose()


async def test_what_sqlalchemy_ran_is_committed_and_rolled_back_with_the_rest(tmp_path: Path) -> None:
    engine = await prepared(tmp_path / "mixed.db")
    reader = Engine(tmp_path / "mixed.db", writes=False)

    async def names() -> list[str]:
        connection = await reader.connect()
        try:
            return [row.name for row in await connection.execute(sa.select(things.c.name).order_by(things.c.id))]
        finally:
            await connection.close()

    connection = await engine.connect()
    with pytest.raises(ZeroDivisionError):
        async with connection.begin():
            await connection.execute(sa.text("update things set name = 'gone' where id = 1"))
            await connection.execute(things.delete().where(things.c.id == 2))
            raise ZeroDivisionError
    assert await names() == ["one", "two", "three"]
    for durable in (True, False, True):
        async with connection.begin(durable=durable):
            await connection.execute(things.delete().where(things.c.name == "two"))
            await connection.execute(sa.text("update things set name = 'un' where id = 1"))
        assert await names() == ["un", "three"]
    await connection.close()
    await reader.dispose()
    await engine.dispose()


async def test_readers_keep_their_view_and_are_used_again(tmp_path: Path) -> None:
    writer = await prepared(tmp_path / "views.db")
    reader = Engine(tmp_path / "views.db", writes=False)
    count = sa.select(sa.func.count()).select_from(things)
    many = [await reader.connect() for _ in range(5)]
    assert [(await each.execute(count)).scalar() for each in many] == [3] * 5
    writing = await writer.connect()
    async with writing.begin():
        await writing.execute(things.delete())
    assert [(await each.execute(count)).scalar() for each in many] == [3] * 5, "each has the view that it began with"
    for each in many:
        await each.close()
    again = await reader.connect()
    assert again.sync_connection in {each.sync_connection for each in many}
    assert (await again.execute(count)).scalar() == 0
    with pytest.raises(sa.exc.OperationalError):
        async with again.begin():  # a reader has begun already
            pass
    await writing.close()
    await writer.dispose()
    await reader.dispose()


# ---- PostgreSQL ------------------------------------------------------------------------------------------------------
@pytest.fixture
async def served(postgres: Postgres) -> AsyncIterator[on_postgresql.Engine]:
    """The three things in a database of PostgreSQL."""
    postgres.make("plans")
    engine = on_postgresql.Engine(postgres.url.format(database="plans"))
    try:
        yield engine
    finally:
        await engine.dispose()
        postgres.drop("plans")


async def afresh(engine: on_postgresql.Engine) -> None:
    connection = await engine.connect()
    async with connection.begin():
        await connection.run_sync(metadata.drop_all)
        await connection.run_sync(metadata.create_all)
        await connection.run_sync(three)
    await connection.close()


async def test_a_statement_on_postgresql_gives_what_sqlalchemy_gives(served: on_postgresql.Engine) -> None:
    planned = RUN_BY_A_PLAN + ONLY_POSTGRESQL
    for number, (statement, parameters) in enumerate(planned + LEFT_TO_SQLALCHEMY):
        many = isinstance(parameters, list)
        found = served.plans.find(statement, parameters[0] if many else parameters, many)
        assert (found is not None) == (number < len(planned)), statement
        told: list[Any] = []
        await afresh(served)
        for ours in (False, True, True):  # the last time from what was kept
            if ours:
                await afresh(served)
            try:
                if ours:
                    told.append(await by_us(served, statement, parameters))
                else:
                    async with served._engine.begin() as connection:
                        told.append(await connection.run_sync(lambda sync: theirs_on(sync, statement, parameters)))  # noqa: B023
            except sa.exc.IntegrityError as error:
                told.append(str(error.orig))
        assert told[0][:2] == told[1][:2] == told[2][:2] and told[0][3:] == told[1][3:] == told[2][3:], statement
        if not many:  # SQLAlchemy does not count those either
            assert told[0] == told[1] == told[2], statement


async def test_an_error_of_postgresql_is_sqlalchemys_and_holds_no_value(served: on_postgresql.Engine) -> None:
    await afresh(served)
    connection = await served.connect()
    with pytest.raises(sa.exc.IntegrityError) as refused:
        async with connection.begin():
            await connection.execute(things.insert(), {"id": 9, "name": "one", "about": {"secret": "s3cr3t"}})
    assert refused.value.orig.sqlstate == "23505" and "s3cr3t" not in str(refused.value)
    with pytest.raises(sa.exc.ProgrammingError):
        async with connection.begin():
            await connection.execute(sa.select(sa.table("nowhere", sa.column("x"))))
    with pytest.raises(ZeroDivisionError):
        async with connection.begin():
            await connection.execute(sa.text("update things set name = 'gone' where id = 1"))
            await connection.execute(things.delete().where(things.c.id == 2))
            raise ZeroDivisionError
    async with connection.begin():
        await connection.execute(sa.text("update things set name = 'un' where id = 1"))
        assert [row.name for row in await connection.execute(sa.select(things.c.name).order_by(things.c.id))] == [
            "un",
            "two",
            "three",
        ]
    await connection.close()
    again = await served.connect()
    assert again is connection, "it was given back in order"
    assert (await again.execute(sa.select(sa.func.count()).select_from(things))).scalar() == 3
    await again.close()


async def test_who_falls_asleep_in_a_transaction_keeps_nobody_waiting(served: on_postgresql.Engine, postgres: Postgres) -> None:
    """Its session is ended: the row is free, what it had done is undone, and its connection is not used again."""
    await afresh(served)
    change = things.update().where(things.c.id == 1)
    sleepy = on_postgresql.Engine(postgres.url.format(database="plans"), asleep_seconds=0.5)
    asleep, awake = await sleepy.connect(), await served.connect()
    with pytest.raises(sa.exc.DBAPIError) as told:
        async with asleep.begin():
            await asleep.execute(change.values(name="asleep"))
            async with awake.begin():
                await awake.execute(change.values(parent=9))  # waits for that
            await asleep.execute(change.values(name="awake again"))
    assert told.value.connection_invalidated
    await asleep.close()
    found = await awake.execute(sa.select(things.c.name, things.c.parent).where(things.c.id == 1))
    assert [tuple(row) for row in found] == [("one", 9)]
    await awake.close()
    again = await sleepy.connect()
    assert again is not asleep and (await again.execute(sa.select(sa.func.count()).select_from(things))).scalar() == 3
    await again.close()
    await sleepy.dispose()


async def test_a_table_that_changed_is_read_anew(served: on_postgresql.Engine) -> None:
    """A statement that was prepared before a migration is refused once, and prepared again by every connection."""
    await afresh(served)
    wanted = sa.select(things.c.parent).order_by(things.c.id)
    both = [await served.connect() for _ in range(2)]
    for each in both:
        assert [row.parent for row in await each.execute(wanted)] == [None, 1, 2]
    async with both[0].begin():
        await both[0].execute(sa.text("alter table things alter column parent type varchar using 'p' || parent"))
    with pytest.raises(sa.exc.DBAPIError):
        await both[1].execute(wanted)
    for each in both:
        await each.close()
    for _ in range(2):
        connection = await served.connect()
        assert [row.parent for row in await connection.execute(wanted)] == [None, "p1", "p2"]
        both.append(connection)
    for each in both[2:]:
        await each.close()


async def test_connections_are_used_again_and_those_of_no_use_are_not(
    served: on_postgresql.Engine, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = sa.select(sa.literal_column("pg_backend_pid()"))

    async def pid() -> int:
        connection = await served.connect()
        try:
            return int((await connection.execute(one)).scalar())
        finally:
            await connection.close()

    first = await pid()
    assert await pid() == first
    connection = await served.connect()
    with pytest.raises(sa.exc.DBAPIError) as gone:
        await connection.execute(sa.text("select pg_terminate_backend(pg_backend_pid())"))
    assert gone.value.connection_invalidated
    await connection.close()
    second = await pid()
    assert second != first
    # The server ends it while nobody uses it.
    killer = on_postgresql.Engine(postgres.url.format(database="plans"))
    other = await killer.connect()
    await other.execute(sa.text(f"select pg_terminate_backend({second})"))
    async with asyncio.timeout(10):
        while not served._free[0].driver.is_closed():
            await asyncio.sleep(0.01)
    third = await pid()
    assert third not in (first, second)
    # One that rested is asked first.
    monkeypatch.setattr(on_postgresql, "REST_SECONDS", -1.0)
    assert await served._free[0].answers() is False, "a question that gets no time is no answer"
    assert await pid() != third
    monkeypatch.undo()
    # There are so many and no more; who waits gets the next that is free.
    monkeypatch.setattr(on_postgresql, "ROOM_SECONDS", 0.05)
    taken = [await served.connect() for _ in range(on_postgresql.CONNECTIONS)]
    with pytest.raises(OSError, match="in use"):
        await served.connect()
    await taken.pop().close()
    taken.append(await served.connect())
    # What is not needed is closed after a while, what was in use when all were closed as it comes back.
    monkeypatch.setattr(on_postgresql, "KEPT_SECONDS", 0.0)
    for each in taken[:4]:
        await each.close()
    assert len(served._free) < 4
    await served.dispose()
    for each in taken[4:]:
        await each.close()
    assert served._free == []
    await other.close()
    await killer.dispose()


async def test_a_cancel_in_a_transaction_rolls_it_back(served: on_postgresql.Engine) -> None:
    await afresh(served)
    inside = asyncio.Event()

    async def change() -> None:
        connection = await served.connect()
        try:
            async with connection.begin():
                await connection.execute(things.delete())
                inside.set()
                await connection.execute(sa.text("select pg_sleep(60)"))
        finally:
            await connection.close()

    task = asyncio.create_task(change())
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    connection = await served.connect()
    assert (await connection.execute(sa.select(sa.func.count()).select_from(things))).scalar() == 3
    await connection.close()


async def test_a_cancel_at_any_moment_spoils_nothing_for_the_next(served: on_postgresql.Engine, postgres: Postgres) -> None:
    """What the next transaction commits is there for everybody: it is no part of one that was cancelled while it began or ended."""
    await afresh(served)
    other = on_postgresql.Engine(postgres.url.format(database="plans"))
    watching = await other.connect()
    count = sa.select(sa.func.count()).select_from(things).where(things.c.id >= 100)

    async def insert(number: int) -> None:
        connection = await served.connect()
        try:
            async with connection.begin():
                await connection.execute(things.insert(), {"id": number, "name": f"n{number}"})
                await connection.execute(sa.text("select 1"))
        finally:
            await connection.close()

    moments = 120
    for turns in range(moments):
        task = asyncio.create_task(insert(turns - 1000))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await insert(100 + turns)
        assert (await watching.execute(count)).scalar() == turns + 1, turns
    assert len(served._free) == 1 and not served._free[0].driver.is_in_transaction()
    assert served._room._value == on_postgresql.CONNECTIONS
    await watching.close()
    await other.dispose()
