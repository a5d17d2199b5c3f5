"""`kiops keys`: what is rotated, what stays when somebody does not come, and going on after that."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from shared.bus import Bus
from shared.errors import Broken, Rejected, Unavailable
from shared.keeper import Server
from shared.permissions import BOOTSTRAP, KEEPER, make_keys
from shared.testing.nats import NatsServer

from kiops import app, nats, provision, rotating
from kiops.rotating import Rotated, find_server, rotate
from shared import seeds


@asynccontextmanager
async def gate_of(where: Server) -> AsyncIterator[Bus]:
    bus = Bus("gate", where.url, where.keys / "gate.nk")
    await bus.open()
    try:
        yield bus
    finally:
        await bus.close()


def place(nats: NatsServer) -> Server:
    return find_server(nats.root, None, nats.url)


async def turned(server: Server, *names: str, seconds: float = 60, force: bool = False) -> list[Rotated]:
    return await rotate(server, names, seconds=seconds, force=force)


@pytest.mark.slow
async def test_who_does_not_come_keeps_its_former_key_and_the_next_call_goes_on(nats: NatsServer) -> None:
    server = place(nats)
    first = make_keys(server.keys)
    # The command line's own keys have no service to wait for.
    done, late = await turned(server, BOOTSTRAP, "gate", seconds=0.5)
    assert not done.waiting and done.former == first[BOOTSTRAP]
    assert late.waiting and late.why == "it is not connected"
    second = make_keys(server.keys)
    assert second["gate"][1:] == first["gate"] and len(second[BOOTSTRAP]) == 1

    async with gate_of(server) as gate:
        assert gate.key == second["gate"][0]
        (moved,) = await turned(server, "gate")
        assert not moved.waiting and moved.key == gate.key, "it went on with the key that was made before"
        assert make_keys(server.keys)["gate"] == [gate.key] and gate.connections == 0
    # A leak: out with it, whoever is there or not, also with the newer one of two.
    (late,) = await turned(server, "gate", seconds=0)
    assert late.waiting and len(make_keys(server.keys)["gate"]) == 2
    (forced,) = await turned(server, "gate", seconds=0, force=True)
    assert not forced.waiting and forced.key not in (late.key, second["gate"][0])
    assert make_keys(server.keys)["gate"] == [forced.key]


@pytest.mark.slow
async def test_a_connection_with_the_former_key_holds_it(nats: NatsServer, tmp_path: Path) -> None:
    """Another instance, on another machine, whose file was not replaced: nothing is taken from it."""
    server = place(nats)
    elsewhere = tmp_path / "gate.nk"
    seeds.write(elsewhere, (server.keys / "gate.nk").read_bytes())
    other = Bus("gate", nats.url, elsewhere)
    async with gate_of(server) as gate:
        await other.open()
        (late,) = await turned(server, "gate", seconds=0.5)
        assert late.waiting and late.why == "kiops-gate still has the former key"
        assert other.connected and other.connections == 0
        seeds.write(elsewhere, (server.keys / "gate.nk").read_bytes())
        (done,) = await turned(server, "gate")
        assert not done.waiting and gate.key == other.key == done.key
    await other.close()


@pytest.mark.slow
async def test_interrupted_anywhere_it_is_brought_to_its_end(nats: NatsServer) -> None:
    server = place(nats)
    async with gate_of(server) as gate:
        seeds.prepare(server.keys, "gate")  # killed after this
        coming = make_keys(server.keys)["gate"][1]
        (done,) = await turned(server, "gate")
        assert done.key == coming == gate.key
        seeds.prepare(server.keys, "gate")
        server.write()  # killed before nats-server was told, after the seed was put in place
        seeds.replace(server.keys, "gate", 1)
        (done,) = await turned(server, "gate")
        assert done.key == gate.key != coming and make_keys(server.keys)["gate"] == [done.key]


async def test_the_keeper_replaces_its_own_key(nats: NatsServer) -> None:
    server = place(nats)
    before = make_keys(server.keys)[KEEPER]
    (done,) = await turned(server, KEEPER)
    assert not done.waiting and make_keys(server.keys)[KEEPER] == [done.key] != before
    async with server.keeper() as keeper:
        assert set(await keeper.connected()) == {done.key}


async def test_a_configuration_that_is_not_taken_changes_nothing(nats: NatsServer) -> None:
    server = place(nats)
    async with gate_of(server) as gate:
        kept = server.config.read_text()
        server.config.write_text(kept + "\nnot { a configuration")
        with pytest.raises(Broken) as broken:
            await turned(server, "gate")
        assert broken.value.code == "keys.not_read" and make_keys(server.keys)["gate"][0] == gate.key
        server.config.write_text("of another kind")
        with pytest.raises(Broken) as other:
            await turned(server, "gate")
        assert other.value.code == "keys.config"
        assert gate.connected and gate.connections == 0


async def test_one_rotation_at_a_time(nats: NatsServer) -> None:
    server = place(nats)
    waiting = asyncio.create_task(turned(server, "gate", seconds=60))
    async with asyncio.timeout(30):
        while not server.keys.joinpath("gate.former").exists():
            await asyncio.sleep(0.01)
    with pytest.raises(Rejected) as busy:
        await turned(server, "builder")
    assert busy.value.code == "keys.busy"
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)


@pytest.mark.slow
async def test_our_own_nats_server_that_dies_meanwhile_starts_with_all_accepted_keys(tmp_path: Path) -> None:
    """The launcher writes its configuration from the same keys: who has moved and who has not both come back."""
    root = tmp_path / "data"
    async with nats.server(root) as ours:
        server = find_server(root, None, "")
        assert server.url == ours.url
        async with gate_of(server) as gate:
            (done,) = await turned(server, "gate")
            former = make_keys(server.keys)["builder"]
            (late,) = await turned(server, "builder", seconds=0)
            assert late.waiting and done.key == gate.key
            first = ours.pid
            os.kill(first, signal.SIGKILL)
            async with asyncio.timeout(30):
                while ours.pid in (0, first) or not gate.connected or not gate.connections:
                    await asyncio.sleep(0.02)
            text = (root / "bus" / "nats.conf").read_text()
            assert all(key in text for key in (done.key, late.key, *former)) and done.former[0] not in text


@pytest.mark.slow
async def test_without_a_server_the_next_start_has_the_new_key(tmp_path: Path) -> None:
    root = tmp_path / "data"
    async with nats.server(root):
        pass
    server = find_server(root, None, "")
    assert server.url == ""
    (done,) = await turned(server, "gate")
    assert not done.waiting
    async with nats.server(root):
        async with gate_of(find_server(root, None, "")) as gate:
            assert gate.key == done.key
    with pytest.raises(Unavailable) as away:
        await turned(Server(server.keys, server.config, "nats://127.0.0.1:1"), "gate")
    assert away.value.code == "keys.no_bus" and make_keys(server.keys)["gate"][0] == done.key


def told(words: Sequence[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    code = 0
    try:
        app.run(["keys", *words])
    except SystemExit as ended:
        code = int(ended.code or 0)
    out, err = capsys.readouterr()
    return code, out, err


def test_the_commands_say_what_they_did_and_never_a_secret(
    nats: NatsServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KIOPS_BUS_URL", nats.url)
    data = ["--data", str(nats.root)]
    code, out, _ = told(["rotate", "--service", BOOTSTRAP, *data], capsys)
    assert code == 0 and f"{BOOTSTRAP}   has a new key" in out
    code, out, err = told(["rotate", "--service", "gate", "--service", KEEPER, "--wait", "0", "--json", *data], capsys)
    rows = {row["service"]: row for row in map(json.loads, out.splitlines())}
    assert code == 3 and "keys.not_moved" in err and "gate: it is not connected" in err
    assert (rows["gate"]["state"], rows[KEEPER]["state"]) == ("waiting", "done")
    code, listed, _ = told(["list", *data], capsys)
    assert code == 0 and all(name in listed for name in rotating.NAMES) and "former" in listed
    for path in nats.keys.glob("*.nk"):
        assert path.read_text().strip() not in out + err + listed
    for words, said in (
        (["rotate"], "keys.nothing_named"),
        (["rotate", "--service", "kitchen"], "keys.unknown_service"),
        (["list", "--data", str(nats.root / "nowhere")], "keys.none"),
    ):
        code, _, err = told(words, capsys)
        assert code in (2, 3) and said in err


def test_the_containers_configuration_has_every_accepted_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`kiops provision keys` runs at every `docker compose up`, in the middle of a rotation too."""
    root, bus = tmp_path / "data", tmp_path / "bus"
    bus.mkdir()

    def provisioned() -> str:
        provision.keys(root, bus=bus, postgres=None, database_host="postgres")
        return (bus / "nats.conf").read_text()

    first = provisioned()
    assert provisioned() == first
    seeds.prepare(root / "bus" / "keys", "gate")
    seeds.replace(root / "bus" / "keys", "gate", 1)
    new, old = make_keys(root / "bus" / "keys")["gate"]
    assert old in first and old in provisioned() and new in provisioned()
    seeds.forget_former(root / "bus" / "keys", "gate")
    assert provisioned() == first.replace(old, new)
    assert (bus / "nats.conf").stat().st_mode & 0o077 == 0
