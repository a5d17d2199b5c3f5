"""Keys for the bus: as files, as nats-server's configuration, and replaced beneath a connection."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from shared.bootstrap import bootstrap
from shared.bus import Bus
from shared.errors import Broken, Unavailable
from shared.keeper import Server
from shared.permissions import make_keys, server_config, with_keys
from shared.queries.every import AskStanding, Standing
from shared.subscribers import Answers
from shared.testing.nats import NatsServer

from shared import seeds


async def until(what: str, holds: Callable[[], object | Awaitable[object]], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while True:
        found = holds()
        if asyncio.iscoroutine(found):
            found = await found
        if found:
            return
        assert time.monotonic() < end, f"{what} did not come to hold within {seconds:g} s"
        await asyncio.sleep(0.02)


# -- files -----------------------------------------------------------------------------------------------------------------
def test_a_key_takes_the_place_of_another_and_both_are_accepted_until_the_former_is_forgotten(tmp_path: Path) -> None:
    first = make_keys(tmp_path)["gate"]
    assert len(first) == 1
    seeds.prepare(tmp_path, "gate")
    (_, coming) = make_keys(tmp_path)["gate"]
    seeds.prepare(tmp_path, "gate")
    assert make_keys(tmp_path)["gate"] == [*first, coming], "one that waits is not made again"
    seeds.replace(tmp_path, "gate", 1000)
    assert [(key.public, key.state) for key in seeds.accepted(tmp_path, "gate")] == [(coming, "in use"), (first[0], "former")]
    assert seeds.public(seeds.read(tmp_path / "gate.nk")) == coming
    seeds.forget_former(tmp_path, "gate")
    assert make_keys(tmp_path)["gate"] == [coming]
    assert all(path.stat().st_mode & 0o077 == 0 for path in tmp_path.iterdir())
    assert len(make_keys(tmp_path)["builder"]) == 1


def test_two_that_make_a_key_at_once_have_the_same(tmp_path: Path) -> None:
    make_keys(tmp_path)
    before = (tmp_path / "gate.nk").read_bytes()
    seeds.write(tmp_path / "gate.nk", b"another", again=False)
    assert (tmp_path / "gate.nk").read_bytes() == before
    assert not list(tmp_path.glob("*.new"))


def test_a_seed_that_others_can_read_or_that_is_none_is_refused_without_being_shown(tmp_path: Path) -> None:
    make_keys(tmp_path)
    path = tmp_path / "gate.nk"
    path.chmod(0o640)
    with pytest.raises(Broken) as readable:
        seeds.read(path)
    assert readable.value.code == "bus.key_readable"
    path.chmod(0o600)
    half = path.read_text()[:30]
    path.write_text(half)
    with pytest.raises(Broken) as unusable:
        seeds.read(path)
    assert unusable.value.code == "bus.key_unusable" and half not in str(unusable.value)


def test_the_configuration_has_a_user_per_accepted_key_and_is_changed_in_place(tmp_path: Path) -> None:
    one = server_config(make_keys(tmp_path), tmp_path / "store", 4222) + 'http: "127.0.0.1:8222"\n'
    seeds.prepare(tmp_path, "gate")
    both = with_keys(one, make_keys(tmp_path))
    old, new = make_keys(tmp_path)["gate"]
    users = [line for line in both.splitlines() if "nkey:" in line]
    assert sum(old in line or new in line for line in users) == 2 and len(users) == len(one.split("nkey:"))
    a_user = both[both.index(old) : both.index("# gate", both.index(old))]
    assert a_user.replace(old, new) in both, "the new key has the rights of the old one"
    assert both.endswith('http: "127.0.0.1:8222"\n')
    seeds.replace(tmp_path, "gate", 1)
    seeds.forget_former(tmp_path, "gate")
    assert with_keys(both, make_keys(tmp_path)) == one.replace(old, new)
    with pytest.raises(ValueError, match="no place"):
        with_keys("accounts { }", make_keys(tmp_path))


# -- connections -----------------------------------------------------------------------------------------------------------
@asynccontextmanager
async def connected(nats: NatsServer, service: str, answers: Answers | None = None) -> AsyncIterator[Bus]:
    bus = Bus(service, nats.url, nats.keys / f"{service}.nk")
    bus.answers = answers or bus.answers
    await bus.open()
    try:
        yield bus
    finally:
        await bus.close()


async def reload(nats: NatsServer) -> None:
    server = Server(nats.keys, nats.root / "bus" / "nats.conf", nats.url)
    async with server.keeper() as keeper:
        server.write()
        await keeper.reload()


@pytest.mark.slow
async def test_a_replaced_key_is_signed_in_with_and_what_is_asked_meanwhile_is_answered(nats: NatsServer) -> None:
    """Questions go on without a pause, and one that was asked before the change is answered after it."""
    may_answer = asyncio.Event()
    on = Answers()

    @on(AskStanding)
    async def standing(query: AskStanding) -> Standing:
        if query.organisation == "slow":
            await may_answer.wait()
        return Standing(position=7)

    async with connected(nats, "gate", on) as gate, connected(nats, "gateway") as gateway:
        key = gate.key
        slow = asyncio.create_task(gateway.ask(AskStanding(organisation="slow", asked="gate"), timeout_seconds=30))
        await until("the slow question is heard", lambda: gate._busy)
        answered, over = 0, False

        async def ask_on() -> None:
            nonlocal answered
            while not over:
                assert (await gateway.ask(AskStanding(organisation="main", asked="gate"), timeout_seconds=10)).position == 7
                answered += 1

        asking = asyncio.create_task(ask_on())
        for name, bus in (("gate", gate), ("gateway", gateway)):
            former = bus.broker
            seeds.prepare(nats.keys, name)
            await reload(nats)
            seeds.replace(nats.keys, name, 1)
            await until(f"{name} has signed in anew", lambda bus=bus, former=former: bus.broker is not former)
        assert gate.key != key and gate.key == make_keys(nats.keys)["gate"][0]
        assert gate._retiring and gateway._retiring, "both former connections wait for the slow question"
        may_answer.set()
        assert (await slow).position == 7
        await until("the former connections have ended", lambda: not gate._retiring and not gateway._retiring)
        for name in ("gate", "gateway"):
            seeds.forget_former(nats.keys, name)
        await reload(nats)
        seen = answered
        await until("questions go on", lambda: answered > seen + 5 or asking.done())
        over = True
        await asking
        assert gate.connections == 1 and gateway.connections == 1, "nobody lost a connection"


@pytest.mark.slow
async def test_who_is_shut_out_comes_back_when_its_seed_is_right_again(nats: NatsServer, tmp_path: Path) -> None:
    """The key is taken out beneath the connection: the client is thrown away and one with the file's key takes its place."""
    await bootstrap(nats.url, nats.keys)
    right = make_keys(tmp_path / "elsewhere")["gate"][0]
    async with connected(nats, "gate") as gate:
        server = Server(nats.keys, nats.root / "bus" / "nats.conf", nats.url)
        seeds.write(server.config, server.config.read_bytes().replace(gate.key.encode(), right.encode()))
        async with server.keeper() as keeper:
            await keeper.reload()
        await until("the connection is lost", lambda: not gate.connected)
        with pytest.raises(Unavailable):
            await gate.api_call("STREAM.INFO.EVENTS", timeout_seconds=1)
        seeds.write(gate.seed, b"nothing that is a key")
        await until("that was looked at", lambda: gate.broker is None)
        seeds.write(gate.seed, (tmp_path / "elsewhere" / "gate.nk").read_bytes())
        await until("it is connected with the right key", lambda: gate.connected)
        assert gate.key == right
        assert (await gate.api_call("STREAM.INFO.EVENTS"))["config"]["name"] == "EVENTS"


async def test_a_client_that_was_closed_for_good_is_made_anew(nats: NatsServer) -> None:
    await bootstrap(nats.url, nats.keys)
    async with connected(nats, "gate") as gate:
        before = gate.client
        await before.close()
        await until("there is another", lambda: gate.connected and gate.broker and gate.client is not before)
        assert (await gate.api_call("STREAM.INFO.EVENTS"))["config"]["name"] == "EVENTS"
        assert gate.connections >= 1, "who reads must bind again"


@pytest.mark.slow
async def test_a_new_key_that_nobody_accepts_leaves_the_old_connection_alone(nats: NatsServer) -> None:
    await bootstrap(nats.url, nats.keys)
    async with connected(nats, "gate") as gate:
        key = gate.key
        seeds.prepare(nats.keys, "gate")
        seeds.replace(nats.keys, "gate", 1)
        with pytest.raises(Unavailable) as refused:
            await Bus("gate", nats.url, nats.keys / "gate.nk").open()
        assert refused.value.code == "bus.refused"
        await until("it was tried", lambda: "[bus.refused]" in gate.trouble)
        assert gate.connected and gate.key == key
        assert (await gate.api_call("STREAM.INFO.EVENTS"))["config"]["name"] == "EVENTS"
        await reload(nats)
        await until("it is accepted now", lambda: gate.key != key)


@pytest.mark.slow
async def test_a_followed_log_goes_on_over_the_new_connection(nats: NatsServer) -> None:
    import json

    await bootstrap(nats.url, nats.keys)
    async with connected(nats, "builder") as builder, connected(nats, "gateway") as gateway:

        async def say(number: int, end: bool = False) -> None:
            body = {"from": number, "lines": [] if end else [[0, "build", 1, f"line {number}"]], "progress": None, "end": end}
            await builder.publish_log("log.builder.main.job_1", json.dumps(body).encode())

        heard: list[int] = []

        async def follow() -> None:
            async for message in gateway.read_log("builder", "main", "job_1"):
                heard.extend(message["from"] for _ in message["lines"])

        following = asyncio.create_task(follow())
        for number in range(20):
            await say(number)
        await until("the beginning is heard", lambda: len(heard) >= 10)
        seeds.prepare(nats.keys, "gateway")
        await reload(nats)
        seeds.replace(nats.keys, "gateway", 1)
        former = gateway.broker
        number = 20
        while gateway.broker is former or gateway._retiring:
            await say(number)
            number += 1
            await asyncio.sleep(0.01)
        seeds.forget_former(nats.keys, "gateway")
        await reload(nats)
        await say(number)
        await say(number + 1, end=True)
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait_for(following, 30)
        assert heard == list(range(number + 1)), "every line once, in order"
