"""What open pages hear."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from gateway.live import Learnt, Live
from shared.errors import Unavailable


async def collect(live: Live, count: int, **of: str) -> list[tuple[str, dict[str, Any]]]:
    found = []
    async for pair in live.follow("main", beat_seconds=5, **of):
        found.append(pair)
        if len(found) == count:
            return found
    return found


async def test_a_reader_hears_its_own_organisation_service_and_run() -> None:
    live = Live()
    everything = asyncio.create_task(collect(live, 3))
    of_run = asyncio.create_task(collect(live, 2, run="run_2"))
    await asyncio.sleep(0.01)
    live.tell(Learnt("other", "run.finished", "svc_x", "run_9", 1))
    live.tell(Learnt("main", "run.finished", "svc_a", "run_1", 2))
    live.tell(Learnt("main", "run.finished", "svc_a", "run_2", 3))
    assert [data.get("sequence") for _, data in await everything] == [0, 2, 3]
    assert (await of_run)[1] == ("learnt", {"kind": "run.finished", "service": "svc_a", "run": "run_2", "sequence": 3})


async def test_open_streams_are_counted() -> None:
    live = Live()
    following = live.follow("main")
    assert live.readers == 0 and (await anext(following))[0] == "stream-state"
    assert live.readers == 1
    await following.aclose()  # type: ignore[attr-defined]
    assert live.readers == 0


async def test_the_state_of_the_stream_is_told_first_and_when_it_changes() -> None:
    live = Live()
    heard = asyncio.create_task(collect(live, 3))
    await asyncio.sleep(0.01)
    for up in (True, False, False):
        live.set_up(up)
    await asyncio.sleep(0.01)
    live.set_up(True)
    assert await heard == [("stream-state", {"live": up, "sequence": 0}) for up in (True, False, True)]


async def test_a_reader_sees_what_came_before_its_stream() -> None:
    live = Live(sequence=7)
    assert await collect(live, 1) == [("stream-state", {"live": True, "sequence": 7})]
    live.tell(Learnt("main", "push.received", sequence=9))
    live.tell(Learnt("main", "push.received", sequence=8))
    assert (await collect(live, 1))[0][1]["sequence"] == 9


async def test_a_slow_reader_is_told_that_it_missed_something() -> None:
    live = Live()
    reader = live.follow("main", beat_seconds=5)
    await anext(reader)
    for number in range(2000):
        live.tell(Learnt("main", "x.y", sequence=number))
    live.set_up(False)
    found = []
    while not found or found[-1][1].get("sequence", 0) < 1999 or found[-1][0] == "stale":
        found.append(await anext(reader))
    assert [name for name, _ in found][:2] == ["stale", "stream-state"] and found[0][1] == {"sequence": 1999}
    assert found[1][1] == {"live": False, "sequence": 1999}, "what was let go may have told that the bus is away"
    await reader.aclose()


async def test_people_read_their_own_writes_by_the_message_or_what_it_led_to() -> None:
    live = Live()
    waiting = asyncio.create_task(live.passed("intent-1", 5))
    await asyncio.sleep(0.01)
    live.tell(Learnt("main", "push.received"), "message-7", "intent-1")
    assert await waiting
    assert await live.passed("message-7", 0)
    assert not await live.passed("message-8", 0.01)


async def test_there_is_room_for_so_many_readers() -> None:
    live = Live(streams=1)
    reader = live.follow("main")
    await anext(reader)
    with pytest.raises(Unavailable):
        live.check_room()
    await reader.aclose()
    live.check_room()
