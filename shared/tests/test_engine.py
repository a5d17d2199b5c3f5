"""The line to a container engine: where it leads, what a broken one is called, and a connection that is taken over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from shared.engine import EngineAway, EngineLine, read_place, refusal
from shared.exchange import Answer


@asynccontextmanager
async def saying(path: Path, answer: bytes) -> AsyncIterator[None]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    async with await asyncio.start_unix_server(serve, str(path)):
        yield


async def test_a_real_engine_answers(docker_engine: Any) -> None:
    answer = await EngineLine(docker_engine.url).ask("GET", "/version")
    assert answer.status == 200 and b"ApiVersion" in answer.body
    assert (await EngineLine(Path(docker_engine.socket)).ask("GET", "/nothing-like-it")).status == 404


async def test_a_real_engine_hands_its_connection_over(docker_engine: Any) -> None:
    """The preface of HTTP/2 goes in, and settings, the first frame of HTTP/2, come back."""
    connection = await EngineLine(Path(docker_engine.socket)).takeover("/grpc")
    assert connection is not None
    with connection:
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(connection, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")
        async with asyncio.timeout(10):
            head = await loop.sock_recv(connection, 9)
    assert head[3] == 4


@pytest.mark.parametrize(
    "address", ["unix:///nowhere/engine.sock", "tcp://127.0.0.1:9", "ssh://host", "nothing", Path("/nowhere/engine.sock")]
)
async def test_an_engine_that_is_away_is_named(address: str | Path) -> None:
    line = EngineLine(address, setting="SHOP_ENGINE")
    with pytest.raises(EngineAway) as caught:
        await line.ask("GET", "/version", timeout_seconds=2)
    assert caught.value.code == "engine.away" and str(address) in caught.value.message
    assert "SHOP_ENGINE" in caught.value.advice and "kiops doctor" in caught.value.advice


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0-OpenSSH\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"])
async def test_an_answer_that_is_none_is_an_engine_away(tmp_path: Path, answer: bytes) -> None:
    async with saying(tmp_path / "sock", answer):
        with pytest.raises(EngineAway):
            await EngineLine(tmp_path / "sock").ask("GET", "/")


async def test_a_silent_engine_is_given_up(tmp_path: Path) -> None:
    async with await asyncio.start_unix_server(lambda reader, writer: asyncio.sleep(5), str(tmp_path / "sock")):
        with pytest.raises(EngineAway):
            await EngineLine(tmp_path / "sock").ask("GET", "/", timeout_seconds=0.2)


async def test_a_connection_that_is_not_handed_over(tmp_path: Path) -> None:
    async with saying(tmp_path / "sock", b"HTTP/1.1 404 Not Found\r\n\r\n"):
        assert await EngineLine(tmp_path / "sock").takeover("/grpc") is None
    for path, answer in ((tmp_path / "mute", b""), (tmp_path / "cut", b"HTTP/1.1 101")):
        async with saying(path, answer):
            with pytest.raises(EngineAway):
                await EngineLine(path).takeover("/grpc")
    with pytest.raises(EngineAway):
        await EngineLine(tmp_path / "nobody").takeover("/grpc")


def test_addresses_of_engines() -> None:
    assert read_place("unix:///run/x.sock") == Path("/run/x.sock")
    assert read_place("tcp://host") == ("host", 2375) and read_place("tcp://h:1") == ("h", 1)
    for wrong in ("", "unix://", "tcp://", "ssh://host", "/run/x.sock"):
        with pytest.raises(ValueError):
            read_place(wrong)


def test_a_refusal_is_the_engines_own_words() -> None:
    assert refusal(Answer(409, {}, b'{"message": "in use"}')) == "in use"
    assert refusal(Answer(500, {}, b" plain \n")) == "plain"
    assert refusal(Answer(500, {}, b'["x"]')) == '["x"]' and refusal(Answer(500)) == ""
