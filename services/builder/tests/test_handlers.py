"""Use cases on a real small database: what is queued, refused, told, kept."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import shared.facts
import sqlalchemy as sa
from builder import store, tables
from builder.domain.build import BuildRequest, BuildState, Ticket, Timing
from builder.domain.steps import Built
from builder.errors import BuildError
from builder.handlers import Handlers
from builder.jobs import Credentials, clean_up, named
from builder.settings import BuilderSettings
from shared.clock import HeldClock
from shared.database import Database
from shared.engine import EngineAway
from shared.errors import Broken
from shared.facts import builder as facts
from shared.queries.gateway import LeaseCredential, SealedCredential
from shared.sealing import KeyPair, seal

COMMIT = "9f3c1ab7d20e4c55a8b6f1e0d9c8b7a6f5e4d3c2"


class EngineStore:
    """An image store that holds what it is told, keeps what is in use, and can be away."""

    def __init__(self, *images: str) -> None:
        self.images, self.in_use, self.away = set(images), set[str](), False

    async def exists(self, image_id: str) -> bool:
        if self.away:
            raise EngineAway("/x.sock", "refused")
        return image_id in self.images

    async def remove(self, image_id: str) -> bool:
        if image_id in self.in_use or not await self.exists(image_id):
            return False
        self.images.discard(image_id)
        return True


@pytest.fixture
def clock() -> HeldClock:
    return HeldClock()


@pytest.fixture
async def db(database: Any, clock: HeldClock) -> AsyncIterator[Database]:
    async with database(tables.metadata, "builder", clock=clock) as opened:
        yield opened


@pytest.fixture
def handlers(clock: HeldClock) -> Handlers:
    return Handlers(BuilderSettings(), clock, EngineStore("sha256:1"))


def request(number: int = 1, **changes: Any) -> BuildRequest:
    values = {"organisation": "main", "service": "svc_1", "service_name": "shop", "run": f"run_{number}", "number": number}
    return BuildRequest(**{**values, "commit": COMMIT, "repository_url": "/x.git", **changes})


async def told(db: Database) -> list[tuple[str, dict[str, Any]]]:
    """(name, body) of what was announced, in order."""
    async with db.read() as tx:
        rows = await tx.all(sa.select(db.outbox.c.subject, db.outbox.c.body).order_by(db.outbox.c.position))
    return [(".".join(row.subject.split(".")[2:4]), json.loads(row.body)) for row in rows]


async def build(db: Database, number: int = 1) -> Any:
    async with db.read() as tx:
        return await store.build_of_run(tx, f"run_{number}")


async def tickets(db: Database) -> list[Ticket]:
    async with db.read() as tx:
        table = tables.metadata.tables["job"]
        return [Ticket.read(row.payload) for row in await tx.all(sa.select(table.c.payload).order_by(table.c.number))]


async def test_a_push_is_queued_once(db: Database, handlers: Handlers) -> None:
    for _ in range(2):
        async with db.write() as tx:
            await handlers.queue_build(tx, request())
    (ticket,) = await tickets(db)
    assert [name for name, _ in await told(db)] == ["build.queued"]
    row = await build(db)
    assert (row.state, row.version, row.id) == ("queued", "20261121-083320-9f3c1ab", ticket.build)


async def test_two_builds_in_one_second_have_two_versions(db: Database, handlers: Handlers) -> None:
    for number in (1, 2):
        async with db.write() as tx:
            await handlers.queue_build(tx, request(number))
    assert (await build(db, 1)).version != (await build(db, 2)).version
    assert [body["waits_for"] for _, body in await told(db)] == ["", "build #1 of this service"]


async def test_slots_that_are_taken_are_waited_for(db: Database, handlers: Handlers) -> None:
    async with db.write() as tx:
        for number in (1, 2, 3):
            await handlers.queue_build(tx, request(number, service=f"svc_{number}"))
            for ticket in await tickets(db) if number == 3 else ():
                await handlers.begin(tx, ticket, 1)
    for ticket in await tickets(db):
        async with db.write() as tx:
            await handlers.begin(tx, ticket, 1)
    async with db.write() as tx:
        await handlers.queue_build(tx, request(4, service="svc_4"))
    assert (await told(db))[-1][1]["waits_for"] == "a free slot: 3 of 2 builds are running"


async def test_a_refused_version_ends_the_build_and_a_failed_one_uses_none_up(db: Database, handlers: Handlers) -> None:
    async with db.write() as tx:
        await handlers.queue_build(tx, request(1, version="1.0"))
        await handlers.queue_build(tx, request(2, version="1.0", commit="b" * 40))
    name, body = (await told(db))[-1]
    assert (name, body["code"], body["stage"]) == ("build.failed", "build.version_taken", "analyse")
    assert (await build(db, 2)).state == BuildState.FAILED
    assert len(await tickets(db)) == 1
    (ticket,) = await tickets(db)
    async with db.write() as tx:
        await handlers.fail(tx, ticket, "build", BuildError("build.failed", "no"), Timing(1))
        await handlers.queue_build(tx, request(3, version="1.0", commit="b" * 40))
    assert (await build(db, 3)).state == BuildState.QUEUED


async def test_what_is_announced_looks_like_the_examples(db: Database, handlers: Handlers) -> None:
    async with db.write() as tx:
        await handlers.queue_build(tx, request())
    (ticket,) = await tickets(db)
    timing = Timing(4100, {"clone": 231}, "builder/log.ndjson", 63)
    async with db.write() as tx:
        await handlers.begin(tx, ticket, 1)
        await handlers.fetched(tx, ticket, files=6, duration_ms=212, author="Ada", message="Greet")
        await handlers.succeed(tx, ticket, Built("sha256:1", None, 58, 7, 2), "scratch", timing)
        await handlers.fail(tx, ticket, "build", BuildError("build.failed", "no", "look"), timing)
        await handlers.cancelled(tx, ticket, "cancelled by Ada", timing)
    announced = await told(db)
    assert len(announced) == 6
    examples = Path(shared.facts.__file__).parent / "examples"
    for name, body in announced:
        example = json.loads((examples / f"{name}.v1.json").read_text())
        assert set(body) == set(example), name
        assert {key: type(value) for key, value in body.items()} == {key: type(value) for key, value in example.items()}, name


async def test_every_fact_of_the_builder_has_an_example_it_can_read() -> None:
    examples = Path(shared.facts.__file__).parent / "examples"
    owned = [cls for cls in vars(facts).values() if getattr(cls, "owner", "") == "builder"]
    assert len(owned) == 6
    for cls in owned:
        assert cls.model_validate_json((examples / f"{cls.name}.v1.json").read_text()).subject


async def test_a_deleted_services_builds_end(db: Database, handlers: Handlers) -> None:
    async with db.write() as tx:
        await handlers.know_service(tx, "svc_1", "main", "shop")
        await handlers.queue_build(tx, request())
        await handlers.forget_service(tx, "svc_1")
    async with db.read() as tx:
        assert await store.cancel_reason(tx, (await tickets(db))[0].build) == "the service was deleted"


async def test_images_that_nothing_needs_go(db: Database, clock: HeldClock) -> None:
    """Kept: a service's newest images, what the last 10 releases of an environment need, what a container uses."""
    engine = EngineStore(*(f"sha256:{number}" for number in range(1, 16)), "sha256:other")
    engine.in_use = {"sha256:3"}
    handlers = Handlers(BuilderSettings(), clock, engine)
    for number in range(1, 16):
        clock.move(60)
        async with db.write() as tx:
            await handlers.queue_build(tx, request(number))
        ticket = (await tickets(db))[-1]
        async with db.write() as tx:
            await handlers.succeed(tx, ticket, Built(f"sha256:{number}"), "scratch", Timing(1))
    async with db.write() as tx:
        await handlers.know_service(tx, "svc_1", "main", "shop")
        for number in range(12):
            await handlers.know_release(
                tx,
                release=f"rel_{number}",
                organisation="main",
                service="svc_1",
                environment="env_1",
                image_id="sha256:1" if number < 2 else "sha256:2",
                ready_at_ms=number,
            )
    engine.away = True
    assert await clean_up(db, engine, clock, 10) == []
    engine.away = False
    assert await clean_up(db, engine, clock, 10) == ["sha256:1", "sha256:4", "sha256:5"]
    assert engine.images == {"sha256:2", "sha256:3", "sha256:other", *(f"sha256:{number}" for number in range(6, 16))}
    assert await clean_up(db, engine, clock, 10) == []
    async with db.write() as tx:
        await handlers.forget_service(tx, "svc_1")
    await clean_up(db, engine, clock, 10)
    assert engine.images == {"sha256:3", "sha256:other"}


async def test_an_engine_that_is_away_is_no_answer(handlers: Handlers, clock: HeldClock) -> None:
    assert (await handlers.image_exists("sha256:1")).exists
    assert not (await handlers.image_exists("sha256:2")).exists
    engine = EngineStore()
    engine.away = True
    answer = await Handlers(BuilderSettings(), clock, engine).image_exists("sha256:1")
    assert (answer.error, answer.exists) == ("engine.away", False) and answer.advice


async def test_a_credential_is_opened_with_our_key_alone(tmp_path: Path) -> None:
    keys = KeyPair.load(tmp_path / "builder.key")

    class Gateway:
        def __init__(self, value: dict[str, str]) -> None:
            self.sealed = seal(json.dumps(value), keys.public)

        async def ask(self, query: LeaseCredential) -> SealedCredential:
            assert (query.asker, query.credential) == ("builder", "crd_1")
            return SealedCredential(sealed=self.sealed)

    token = await Credentials(Gateway({"username": "ada", "password": "pa55"}), keys).lease("main", "crd_1")  # type: ignore[arg-type]
    assert (token.username, token.password, token.private_key) == ("ada", "pa55", "")
    head = "-----BEGIN " + "OPENSSH PRIVATE KEY-----"
    key = await Credentials(Gateway({"username": "", "password": head}), keys).lease("main", "crd_1")  # type: ignore[arg-type]
    assert (key.password, key.private_key) == ("", head)
    assert "pa55" not in repr(token) and head not in repr(key)


def test_the_chassis_words_become_words_of_builds() -> None:
    assert named(Broken("job.deadline", "did not end within 5 s and was stopped")).code == "build.deadline"
    assert named(Broken("job.queue_deadline", "waited")).code == "build.queue_deadline"
    assert named(Broken("job.broken", "KeyError: x")).code == "job.broken"


async def test_settings_have_a_sentence_each() -> None:
    for name, (_, sentence) in BuilderSettings().shown().items():
        assert name.startswith("BUILDER_") and sentence.endswith("."), name
