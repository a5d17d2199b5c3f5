"""200 pushes at once, superseding off: how long until the last one's first process has started, and what it costs in memory.

To one service (whose builds never run beside each other) and to 20, with a faked build: the child that stands for Git writes when
it began. The floor is 200 such children, as many at once as builder runs builds. Memory is the platform's proportional
memory (children included) while it works, less what it was idle.
"""

from __future__ import annotations

import asyncio
from typing import Any

from benchmarks import faked
from benchmarks.common import Figure, Series, others_busy, report, rounds, run_async, until
from benchmarks.load import Delivery, deliveries, send_all
from benchmarks.place import Place, Shop, opened

PUSHES, SHOPS, AT_ONCE = 200, 20, 2


def run(quick: bool) -> dict[str, Any]:
    return run_async(measure(quick))


async def measure(quick: bool) -> dict[str, Any]:
    last = {part: Series() for part in ("floor", "one", "twenty")}
    grown = Series()
    async with opened() as place:
        await place.start_one(children=["fetch"])
        shops = [await place.register(f"shop-{number}") for number in range(SHOPS)]
        await send_all(place.port("webhook"), spread(shops, 20), 16)
        await place.until_ended(20)
        await place.until_quiet()
        ended = 20
        for turn in rounds(quick):
            for part in turn.order("floor", "one", "twenty"):
                with others_busy() as busy:
                    if part == "floor":
                        seconds = await children(place, turn.number)
                    else:
                        ended += PUSHES
                        pushes = spread(shops if part == "twenty" else shops[:1], PUSHES)
                        seconds, more = await burst(place, pushes, ended)
                        grown.add(more)
                last[part].add(seconds, n=PUSHES, others=busy.cores)
        states = {state for _, state, _, _ in await place.until_ended(ended)}
    return report(
        Figure("burst of 200 to one service, faked build: last one has started", "s", last["one"], last["floor"], 4, 2.7),
        Figure("burst of 200 to 20 services, faked build: last one has started", "s", last["twenty"], last["floor"], 4, 2.7),
        Figure("memory in a burst of 200, above idle", "MB", grown, must=150),
        states=sorted(states),
    )


def spread(shops: list[Shop], count: int) -> list[Delivery]:
    """So many pushes, in turn to each service."""
    each = -(-count // len(shops))
    of_shop = [deliveries(shop.path, shop.secret, each) for shop in shops]
    return [push for row in zip(*of_shop, strict=True) for push in row][:count]


async def burst(place: Place, pushes: list[Delivery], ended: int) -> tuple[float, float]:
    """(seconds until the last one has started, memory in MB above idle)."""
    idle, most = place.memory_mb(), 0.0
    sent = await send_all(place.port("webhook"), pushes, 50)
    if sent.refused:
        raise RuntimeError(f"{len(sent.refused)} were refused, the first: {sent.refused[0]}")

    async def started() -> bool:
        nonlocal most
        most = max(most, place.memory_mb())
        stamped = place.stamped("fetch")
        return all(push.commit in stamped for push in pushes)

    await until("the last start", started, 120, 0.1)
    stamped = place.stamped("fetch")
    await place.until_ended(ended)
    await place.until_quiet()
    return max(stamped[push.commit] for push in pushes) - sent.began, max(0.0, most - idle)


async def children(place: Place, turn: int) -> float:
    """Seconds for the same number of children alone."""
    left = iter(range(PUSHES))

    async def work() -> None:
        for number in left:
            await faked.child("floor", f"{turn}-{number}", place.stamps)

    began = asyncio.get_running_loop().time()
    await asyncio.gather(*(work() for _ in range(AT_ONCE)))
    return asyncio.get_running_loop().time() - began
