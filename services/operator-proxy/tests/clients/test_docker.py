"""The engine's client against a real engine, and its refusals as engines word them."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from operator_proxy.clients import connections
from operator_proxy.clients.docker import Engine, about, log_lines
from operator_proxy.errors import EngineBusy, EngineRefused, ImageGone, NotStartable, PortTaken
from shared.engine import EngineAway
from shared.exchange import Answer


@pytest.fixture
def worded(tmp_path: Path) -> Any:
    """An engine that refuses with these words."""

    def refuse(status: int, message: str) -> Engine:

        class Worded(Engine):
            async def _exchange(self, method: str, target: str, **kwargs: Any) -> Answer:
                if target == "/version":
                    return Answer(200, {}, b'{"ApiVersion": "1.41"}')
                return Answer(status, {}, json.dumps({"message": message}).encode())

        return Worded(tmp_path)

    return refuse


FAILED = "driver failed programming external connectivity on endpoint kiops-edge (ab12)"
TAKEN = [
    f"{FAILED}: Bind for 127.0.0.1:8641 failed: port is already allocated",
    f"{FAILED}: Error starting userland proxy: listen tcp4 127.0.0.1:8641: bind: address already in use",
    f"failed to set up container networking: {FAILED}: failed to bind host port 127.0.0.1:8641/tcp: address already in use",
    f"{FAILED}: Bind for [::1]:8641 failed: port is already allocated",
]


@pytest.mark.parametrize("message", TAKEN)
async def test_a_taken_port_is_named(worded: Any, message: str) -> None:
    with pytest.raises(PortTaken) as caught:
        await worded(500, message).start("x")
    assert caught.value.detail["port"] == 8641


async def test_a_command_that_is_not_there_is_named(worded: Any) -> None:
    message = 'OCI runtime create failed: exec: "/nothing": stat /nothing: no such file or directory: unknown'
    with pytest.raises(NotStartable):
        await worded(400, message).start("x", "shop-1")


async def test_refusals_are_of_two_kinds(worded: Any) -> None:
    with pytest.raises(EngineBusy):
        await worded(500, "no space left on device").start("x")
    with pytest.raises(EngineRefused):
        await worded(400, "invalid value").start("x")
    with pytest.raises(ImageGone):
        await worded(404, "No such image: sha256:0").create("x", {"Image": "sha256:0"})


async def test_nobody_there_is_an_engine_away(tmp_path: Path) -> None:
    with pytest.raises(EngineAway) as caught:
        await Engine(tmp_path / "nobody.sock").about()
    assert caught.value.advice


async def test_engine_says_what_it_is(engine: Engine) -> None:
    said = await engine.about()
    assert said.name in ("Docker", "Podman") and said.version[0].isdigit() and "run" in said.abilities


def test_abilities_follow_the_engine() -> None:
    old = about({"Version": "20.10.24+dfsg1", "ApiVersion": "1.41"}, {"MemoryLimit": True, "CpuCfsQuota": True})
    assert old.words == "Docker 20.10.24 with BuildKit" and old.abilities == ("run", "switch", "build", "limits")
    assert "build_limits" in about({"Version": "29.7.2", "ApiVersion": "1.52"}, {}).abilities
    podman = about({"Version": "4.3.1", "ApiVersion": "1.41", "Components": [{"Name": "Podman Engine"}]}, {})
    assert podman.words == "Podman 4.3.1" and "build" not in podman.abilities


async def test_life_of_a_container(engine: Engine, images: dict[str, str]) -> None:
    """Made, found by its label, started, read, measured, stopped, removed; each again is harmless."""
    labels = {"kiops-test-operator-proxy": "life"}
    container = await engine.create("kiops-test-life", {"Image": images["one"], "Labels": labels})
    try:
        assert container and await engine.create("kiops-test-life", {"Image": images["one"]}) is None
        await engine.start(container)
        await engine.keep_running(container)
        (row,) = await engine.containers("kiops-test-operator-proxy=life")
        assert row["Id"] == container and row["ImageID"] == images["one"]
        async with asyncio.timeout(30):
            while not (lines := await engine.log_tail(container)):
                await asyncio.sleep(0.05)
        assert lines == ["listening one"]
        assert await engine.memory_bytes(container) > 1_000_000
        inspected = await engine.inspect(container)
        assert inspected and connections.of_container(container, inspected["State"]["Pid"], {8080}) == 0
        await engine.stop(container, 1)
        await engine.stop(container, 1)
        assert await engine.memory_bytes(container) == 0
    finally:
        await engine.remove(container or "kiops-test-life")
    await engine.remove(container)
    await engine.stop(container, 1)
    assert await engine.inspect(container) is None and await engine.log_tail(container) == []


def test_log_frames_are_joined() -> None:
    raw = b"\x01\0\0\0\0\0\0\x06one\ntw" + b"\x02\0\0\0\0\0\0\x02o\n"
    assert log_lines(raw) == ["one", "two"]
    assert log_lines(b"a terminal's plain text\n") == ["a terminal's plain text"]


def test_connections_are_counted_by_port_and_state(tmp_path: Path) -> None:
    table = (
        "  sl  local_address rem_address   st\n"
        "   0: 00000000:1F90 00000000:0000 0A 0\n"
        "   1: 0200000A:1F90 0300000A:D431 01 0\n"
        "   2: 0200000A:1F91 0300000A:D432 01 0\n"
        "   3: 0200000A:1F90 0300000A:D433 06 0\n"
    )
    assert connections.open_connections(table, {8080}) == 1
    (tmp_path / "7" / "net").mkdir(parents=True)
    (tmp_path / "7" / "net" / "tcp").write_text(table)
    (tmp_path / "7" / "cgroup").write_text("0::/system.slice/docker-abc.scope\n")
    assert connections.of_container("abc", 7, {8080, 8081}, tmp_path) == 2
    assert connections.of_container("another", 7, {8080}, tmp_path) is None
    assert connections.of_container("abc", 8, {8080}, tmp_path) is None
