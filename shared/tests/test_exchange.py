"""One exchange: whole answers, cut answers, no answers, on a server that says what each test tells it to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from shared.exchange import Malformed, exchange


@asynccontextmanager
async def saying(answer: bytes, *, wait_seconds: float = 0) -> AsyncIterator[tuple[tuple[str, int], list[bytes]]]:
    heard: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read(100_000))
        await asyncio.sleep(wait_seconds)
        writer.write(answer)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[:2], heard


@pytest.mark.parametrize(
    ("answer", "status", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 200, b"hello"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n", 200, b"hello"),
        (b"HTTP/1.0 404 Not Found\r\n\r\nuntil the end", 404, b"until the end"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok", 201, b"ok"),
    ],
)
async def test_reads_every_framing(answer: bytes, status: int, body: bytes) -> None:
    async with saying(answer) as (place, _):
        got = await exchange(place, "GET", "/x")
        assert (got.status, got.body) == (status, body)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
    ],
)
async def test_refuses_what_is_no_whole_answer(answer: bytes) -> None:
    async with saying(answer) as (place, _):
        with pytest.raises(Malformed):
            await exchange(place, "GET", "/")


async def test_keeps_no_more_of_the_body_than_asked() -> None:
    async with saying(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789") as (place, _):
        assert (await exchange(place, "GET", "/", max_bytes=4)).body == b"0123"


async def test_sends_streams_in_chunks() -> None:
    async def parts() -> AsyncIterator[bytes]:
        yield b"abc"
        yield b"de"

    async with saying(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") as (place, heard):
        await exchange(place, "POST", "/load", body=parts(), headers={"Host": "engine"})
        assert b"Transfer-Encoding: chunked" in heard[0] and b"Host: engine\r\n" in heard[0]


async def test_waits_no_longer_than_it_may() -> None:
    async with saying(b"HTTP/1.1 200 OK\r\n\r\n", wait_seconds=5) as (place, _):
        with pytest.raises(TimeoutError):
            await exchange(place, "GET", "/", timeout_seconds=0.1)


async def test_says_that_nobody_is_there(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        await exchange(tmp_path / "nobody.sock", "GET", "/")


# -- a body that is handed on as it comes ------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "framing",
    [b"Content-Length: 12\r\n\r\nhello, world", b"Transfer-Encoding: chunked\r\n\r\n7\r\nhello, \r\n5\r\nworld\r\n0\r\n\r\n"],
)
async def test_hands_a_long_body_on_without_keeping_it(framing: bytes) -> None:
    parts: list[bytes] = []

    async def keep(part: bytes) -> None:
        parts.append(part)

    async with saying(b"HTTP/1.1 200 OK\r\n" + framing) as (place, _):
        got = await exchange(place, "GET", "/", into=keep, max_bytes=3)
    assert (got.status, got.body, b"".join(parts)) == (200, b"", b"hello, world")


async def test_a_refusal_is_not_taken_for_the_body() -> None:
    parts: list[bytes] = []

    async def keep(part: bytes) -> None:
        parts.append(part)

    async with saying(b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\ngone") as (place, _):
        got = await exchange(place, "GET", "/", into=keep)
    assert (got.status, got.body, parts) == (404, b"gone", [])


@pytest.mark.slow
async def test_a_long_body_may_take_its_time_once_it_has_begun() -> None:
    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na")
        await asyncio.sleep(1.5)
        writer.write(b"b")
        writer.close()

    parts: list[bytes] = []

    async def keep(part: bytes) -> None:
        parts.append(part)

    async with await asyncio.start_server(slow, "127.0.0.1", 0) as server:
        place = server.sockets[0].getsockname()[:2]
        await exchange(place, "GET", "/", into=keep, timeout_seconds=1)
        assert b"".join(parts) == b"ab"
        with pytest.raises(TimeoutError):
            await exchange(place, "GET", "/", timeout_seconds=0.3)


async def test_a_body_that_is_cut_short_is_told_though_it_was_handed_on() -> None:
    async def keep(part: bytes) -> None:
        pass

    async with saying(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nshort") as (place, _):
        with pytest.raises(Malformed):
            await exchange(place, "GET", "/", into=keep)
