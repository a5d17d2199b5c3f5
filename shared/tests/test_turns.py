"""Deliveries go first; messages are slowed down by it, not stopped."""

from __future__ import annotations

import asyncio

from shared.turns import PAUSE_SECONDS, PORTION, Turns


async def test_all_at_once_when_nobody_waits() -> None:
    turns = Turns()
    assert [await turns.portion(200) for _ in range(3)] == [200, 200, 200]


async def test_small_portions_one_after_another_while_somebody_waits() -> None:
    turns, loop = Turns(), asyncio.get_running_loop()
    with turns.first():
        began = loop.time()
        told = await asyncio.gather(*(turns.portion(200) for _ in range(6)))
        assert loop.time() - began >= 5 * PAUSE_SECONDS * 0.9, "six loops share the portions of one process"
    assert told == [PORTION] * 6


async def test_a_loop_goes_on_as_soon_as_nobody_waits() -> None:
    turns = Turns()
    with turns.first():
        assert await turns.portion(4) == 4
        turns._free_at = asyncio.get_running_loop().time() + 3600
        waiting = [asyncio.ensure_future(turns.portion(200)) for _ in range(3)]
        await asyncio.sleep(0)
        assert not any(each.done() for each in waiting)
    assert await asyncio.wait_for(asyncio.gather(*waiting), 20) == [200, 200, 200]


async def test_a_loop_that_is_stopped_while_it_waits_stops() -> None:
    turns = Turns()
    with turns.first():
        turns._free_at = asyncio.get_running_loop().time() + 3600
        waiting = asyncio.ensure_future(turns.portion(200))
        await asyncio.sleep(0)
        waiting.cancel()
        assert isinstance((await asyncio.gather(waiting, return_exceptions=True))[0], asyncio.CancelledError)
