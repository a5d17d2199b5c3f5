"""Push accepted -> builder's first process began, one push at a time, against the floor of starting that process alone.

Real: nats-server, all seven services in one process on SQLite, HTTP on loopback, signed deliveries, a child process. The child is
bash, which writes the time it began to run; Git, BuildKit and the scan engines do nothing here. Accepted is when the sender has
read the 202. The floor is `run_child` of the same program by itself. Wall clock of one machine, microseconds (EPOCHREALTIME).
"""

from __future__ import annotations

import time
from typing import Any

from benchmarks import faked
from benchmarks.common import Figure, Series, others_busy, quantile, report, rounds, run_async, until
from benchmarks.load import deliveries, send_all
from benchmarks.place import Place, Shop, opened


def run(quick: bool) -> dict[str, Any]:
    return run_async(measure(quick))


async def measure(quick: bool) -> dict[str, Any]:
    pushes = 30 if quick else 100
    series = {part: Series() for part in ("floor", "product")}
    slowest = Series()
    async with opened() as place:
        await place.start_one(children=["fetch"])
        shop = await place.register("shop")
        await waits(place, shop, 5)
        for turn in rounds(quick):
            for part in turn.order("floor", "product"):
                with others_busy() as busy:
                    took = await (waits(place, shop, pushes) if part == "product" else floors(place, turn.number, pushes))
                series[part].add(quantile(took, 0.5), n=pushes, others=busy.cores)
                if part == "product":
                    slowest.add(quantile(took, 0.99), n=pushes, others=busy.cores)
    name = "push accepted -> first build process"
    return report(
        Figure(f"{name}, p50", "ms", series["product"], series["floor"], 40, 16),
        Figure(f"{name}, p99", "ms", slowest),
    )


async def waits(place: Place, shop: Shop, pushes: int) -> list[float]:
    """Milliseconds of each push; the run before is over when the next one is sent."""
    took = []
    before = place.query("webhook", "select count(*) from runs where ended_at_ms is not null")[0][0]
    for number, push in enumerate(deliveries(shop.path, shop.secret, pushes), 1):
        sent = await send_all(place.port("webhook"), [push])
        await place.until_ended(before + number, 60)
        began = place.stamped("fetch")[push.commit]
        took.append((began - sent.accepted[push.commit]) * 1000)
    return took


async def floors(place: Place, turn: int, count: int) -> list[float]:
    """Milliseconds from the wish to the first instruction of the same child."""
    wished = {}
    for number in range(count):
        name = f"floor-{turn}-{number}"
        wished[name] = time.time()
        await faked.child("floor", name, place.stamps)

    async def written() -> bool:
        return len(place.stamped("floor")) >= count

    await until("the floor's children", written, 10)
    began = place.stamped("floor")
    return [(began[name] - at) * 1000 for name, at in wished.items()]
