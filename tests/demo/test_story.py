"""What the demo says, and the visitor who counts; the whole story on real parts is in tests/flows."""

from __future__ import annotations

import asyncio
import contextlib
import io
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from kiops.demo import sentences
from kiops.demo.story import NotAsItMustBe, must
from kiops.demo.telling import Teller, count, took, wrapped
from kiops.demo.visitor import Asking, Visitor
from kiops.setup.screen import Screen


def scan(area: str, **changes: Any) -> dict[str, Any]:
    row = {"area": area, "state": "completed", "engines": [], "coverage": {}, "counts": {}, "data_date": None, "sample_data": False}
    return row | changes


def test_a_scan_of_the_source_is_told_by_what_was_read() -> None:
    rows = [
        scan("iac", engines=[{"name": "trivy", "rules": 27}], coverage={"files": 1}),
        scan("sast", engines=[{"name": "semgrep", "rules": 41}], coverage={"files": 3, "rules": 41}),
        scan("secrets", engines=[{"name": "gitleaks", "rules": None}], coverage={"commits": 1}),
    ]
    said = sentences.scans("sast", rows)
    assert said == "semgrep 41 rules on 3 files, gitleaks 1 commit, trivy 27 rules on 1 file: clean"
    rows[2]["counts"] = {"critical": 1, "info": 9}
    assert sentences.scans("sast", rows).endswith(": 1 critical")
    rows[0] |= {"state": "failed"}
    assert sentences.scans("sast", rows).endswith("; iac failed")


def test_a_scan_of_an_image_says_whose_data_it_was_judged_by() -> None:
    rows = [
        scan("sbom", coverage={"components": 63}),
        scan("sca", counts={"medium": 1}, data_date="2026-11-01T00:00:00Z", sample_data=True),
        scan("license", counts={"medium": 2, "info": 40}),
    ]
    assert sentences.scans("sca", rows) == "63 components; sample data of 2026-11-01: 1 medium; licences: 2 medium"
    rows[1] = scan("sca", state="no_data")
    assert sentences.scans("sca", rows) == "63 components; sca no data; no vulnerability data; licences: 2 medium"
    assert sentences.scans("sca", []) == ""


def test_a_build_and_a_verdict_in_a_sentence() -> None:
    assert sentences.build({"steps": 7, "steps_cached": 2, "size_bytes": 58_200_000}) == "7 steps, 2 from cache, 58 MB"
    assert sentences.build({"steps": 1, "steps_cached": 0, "size_bytes": None}) == "1 step"
    blocked = {
        "verdict": "block",
        "sentence": "no",
        "body": {
            "reasons": [{"effect": "block", "rule": "secrets.none", "text": "a key in prices.py:5", "pass_by": "Revoke it"}],
            "ways": ["Revoke it", "Revoke it; and more"],
        },
    }
    assert sentences.gate(blocked) == ("blocked: secrets.none, a key in prices.py:5", ["To pass: revoke it."])
    assert sentences.gate({"verdict": "pass", "sentence": "passed", "body": {}}) == ("passed", [])


def test_how_long_a_step_took() -> None:
    step = {"duration_ms": None, "started_at_ms": 100, "ended_at_ms": 350}
    assert sentences.lasted_ms(step) == 250
    assert sentences.lasted_ms(step | {"duration_ms": 7}) == 7
    assert sentences.lasted_ms(step | {"started_at_ms": None}) is None


@pytest.mark.parametrize(
    ("milliseconds", "said"), [(3, "3 ms"), (42, "0.04 s"), (2600, "2.6 s"), (250_000, "4 min 10 s"), (None, "")]
)
def test_durations_as_a_person_reads_them(milliseconds: float | None, said: str) -> None:
    assert took(milliseconds) == said


def test_words_and_lines() -> None:
    assert count(1, "layer") == "1 layer"
    assert count(4311, "request") == "4,311 requests"
    assert wrapped("one two three", 7) == ["one two", "three"]
    assert wrapped("", 7) == [""]
    with pytest.raises(NotAsItMustBe, match="otherwise"):
        must(False, "otherwise")


def test_a_step_is_a_plain_line_without_a_terminal() -> None:
    out = io.StringIO()
    teller = Teller(Screen(out))
    teller.step("gate", "blocked: " + "a long sentence " * 8, "0.04 s", "blocked")
    teller.step("sast", "clean", "", "success")
    lines = out.getvalue().splitlines()
    assert lines[0].startswith("  ✗ gate       blocked:") and lines[0].endswith("0.04 s")
    assert lines[1].startswith("               ")
    assert lines[-1] == "  ✓ sast       clean"
    assert "\x1b" not in out.getvalue()


# -- the visitor -------------------------------------------------------------------------------------------------------
@contextlib.asynccontextmanager
async def site(answer: bytes, *, closes_after: int = 0) -> AsyncIterator[tuple[str, list[int]]]:
    """A server that gives this answer, and its counts of requests by connection."""
    connections: list[int] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(0)
        mine = len(connections) - 1
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                connections[mine] += 1
                if closes_after and connections[mine] > closes_after:
                    break
                writer.write(answer)
                await writer.drain()
                if b"connection: close" in head.lower() + answer.lower():
                    break
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}/", connections
    finally:
        server.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


async def test_half_of_the_visits_keep_their_connection() -> None:
    async with site(GOOD) as (url, connections):
        visitor = Visitor(url, per_second=200, hands=4)
        visitor.start()
        await until(lambda: visitor.asked > 60)
        await visitor.stop()
    assert visitor.failed == 0
    assert dict(visitor.bodies) == {b"hello": visitor.asked}
    assert sum(1 for requests in connections if requests > 5) == 2
    assert sum(1 for requests in connections if requests == 1) > 5


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nConnection: close\r\n\r\nhel",
        b"nonsense\r\n\r\n",
    ],
)
async def test_every_kind_of_failure_is_counted(answer: bytes) -> None:
    async with site(answer, closes_after=1) as (url, _):
        visitor = Visitor(url, per_second=50, hands=1)
        visitor.start()
        await until(lambda: visitor.failed > 0)
        await visitor.stop()


async def test_a_connection_that_is_refused_or_cut_is_a_failure_and_is_not_tried_again() -> None:
    async with site(GOOD, closes_after=3) as (url, _):
        asking = Asking(url)
        for _ in range(3):
            assert await asking.get(keep=True) == (200, b"hello")
        with pytest.raises((EOFError, ConnectionError)):
            await asking.get(keep=True)
    visitor = Visitor("http://127.0.0.1:9/", per_second=100, hands=2)
    visitor.start()
    await until(lambda: visitor.failed > 0)
    await visitor.stop()
    assert visitor.failed == visitor.asked > 0
