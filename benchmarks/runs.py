"""Whole runs a second, from the delivery to the run's end, with one child process as the build step: one process, and seven.

Each run has the steps source, sast, build, sca and gate (no environment, so that nothing is deployed); 20 services; the pushes come
over 16 connections as fast as they are accepted. Runs a second is their number by the time from the first byte to the end of the
last one. The floor is the same number of children alone. Every acknowledged push must have one run that succeeded.
"""

from __future__ import annotations

import asyncio
from typing import Any

from benchmarks import faked
from benchmarks.burst import spread
from benchmarks.common import Figure, Series, others_busy, report, rounds, run_async
from benchmarks.load import send_all
from benchmarks.place import Place, Shop, opened

SHOPS = 20


def run(quick: bool) -> dict[str, Any]:
    return run_async(measure(quick))


async def measure(quick: bool) -> dict[str, Any]:
    count = 150 if quick else 500
    rate = {part: Series() for part in ("floor", "one", "seven")}
    lost = 0
    async with opened() as one, opened() as seven:
        await one.start_one(children=["build"])
        shops = {"one": [await one.register(f"shop-{number}") for number in range(SHOPS)]}
        await seven.start_seven(children=["build"])
        shops["seven"] = [await seven.register(f"shop-{number}") for number in range(SHOPS)]
        for turn in rounds(quick):
            for part in turn.order("floor", "one", "seven"):
                with others_busy() as busy:
                    if part == "floor":
                        value = await children(one, turn.number, count)
                    else:
                        value, missing = await whole(one if part == "one" else seven, shops[part], count)
                        lost += missing
                rate[part].add(value, n=count, others=busy.cores)
    return report(
        Figure("runs/s end to end, faked build, one process", "/s", rate["one"], rate["floor"], 40, 75, better="more"),
        Figure("runs/s end to end, faked build, seven processes", "/s", rate["seven"], rate["floor"], 60, 120, better="more"),
        lost=lost,
    )


async def whole(place: Place, shops: list[Shop], count: int) -> tuple[float, int]:
    """(runs a second, acknowledged pushes without one run that succeeded)."""
    before = place.query("webhook", "select count(*) from runs")[0][0]
    sent = await send_all(place.port("webhook"), spread(shops, count), 16)
    if sent.refused:
        raise RuntimeError(f"{len(sent.refused)} were refused, the first: {sent.refused[0]}")
    rows = [row for row in await place.until_ended(before + count) if row[0] in sent.accepted]
    last = max(ended for _, _, _, ended in rows) / 1000
    won = [commit for commit, state, _, _ in rows if state == "success"]
    missing = len(sent.accepted) - len(set(won)) + len(won) - len(set(won))
    await place.until_quiet()
    return count / (last - sent.began), missing


async def children(place: Place, turn: int, count: int) -> float:
    """Children a second, two at once as builder does."""
    left = iter(range(count))

    async def work() -> None:
        for number in left:
            await faked.child("floor", f"{turn}-{number}", place.stamps)

    began = asyncio.get_running_loop().time()
    await asyncio.gather(work(), work())
    return count / (asyncio.get_running_loop().time() - began)
