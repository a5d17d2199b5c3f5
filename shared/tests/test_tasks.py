"""Tasks end even when a cancel is swallowed, and who waits for them is cancelled when he is told to be."""

from __future__ import annotations

import asyncio

import pytest

from shared import tasks


async def test_a_task_that_swallows_a_cancel_is_cancelled_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "AGAIN_SECONDS", 0.02)
    heard = 0

    async def deaf() -> None:
        nonlocal heard
        while heard < 3:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                heard += 1

    task = asyncio.create_task(deaf())
    await asyncio.sleep(0)
    await tasks.end(task, None)
    assert task.done() and heard == 3


async def test_what_ended_before_is_passed_over_and_what_broke_is_not_told_again() -> None:
    async def broken() -> None:
        raise ValueError("once")

    task = asyncio.create_task(broken())
    await asyncio.wait({task})
    told: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context))
    await tasks.end(task)
    del task
    await asyncio.sleep(0)
    assert told == []


async def test_who_waits_for_the_end_is_cancelled_himself() -> None:
    release = asyncio.Event()

    async def slow() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await release.wait()

    inner = asyncio.create_task(slow())
    await asyncio.sleep(0)
    outer = asyncio.create_task(tasks.end(inner))
    await asyncio.sleep(0.01)
    outer.cancel()
    with pytest.raises(asyncio.CancelledError):
        await outer
    assert not inner.done()
    release.set()
    await asyncio.gather(inner, return_exceptions=True)
