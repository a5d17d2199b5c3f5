"""Step -> step: from the last thing a build's child does to the first instruction of the image scan's child.

In between: the image gets its name, the build's end and its fact are written durably by builder, the fact is published, scanner
reads it, stores a job, claims it and starts a process. One run at a time, in the one process with all seven. The floor is the
start of that child alone.
"""

from __future__ import annotations

from typing import Any

from benchmarks.common import Figure, Series, others_busy, quantile, report, rounds, run_async
from benchmarks.load import deliveries, send_all
from benchmarks.place import Place, Shop, opened
from benchmarks.push_to_process import floors


def run(quick: bool) -> dict[str, Any]:
    return run_async(measure(quick))


async def measure(quick: bool) -> dict[str, Any]:
    pushes = 20 if quick else 80
    series = {part: Series() for part in ("floor", "product")}
    slowest = Series()
    async with opened() as place:
        await place.start_one(children=["build", "scan"])
        shop = await place.register("shop")
        await gaps(place, shop, 5)
        for turn in rounds(quick):
            for part in turn.order("floor", "product"):
                with others_busy() as busy:
                    took = await (gaps(place, shop, pushes) if part == "product" else floors(place, turn.number, pushes))
                series[part].add(quantile(took, 0.5), n=pushes, others=busy.cores)
                if part == "product":
                    slowest.add(quantile(took, 0.99), n=pushes, others=busy.cores)
    return report(
        Figure("step -> step, p50", "ms", series["product"], series["floor"], 20, 10),
        Figure("step -> step, p99", "ms", slowest),
    )


async def gaps(place: Place, shop: Shop, pushes: int) -> list[float]:
    before = place.query("webhook", "select count(*) from runs where ended_at_ms is not null")[0][0]
    seen = set(place.stamped("scan"))
    for number, push in enumerate(deliveries(shop.path, shop.secret, pushes), 1):
        await send_all(place.port("webhook"), [push])
        await place.until_ended(before + number, 60)
    built, scanned = place.stamped("build"), place.stamped("scan")
    return [(at - built[run]) * 1000 for run, at in scanned.items() if run not in seen]
