"""kill -9 -> accepting again: from the kill to the first 202 of the process that was started at once in its place.

The one process with all seven, and webhook alone, each on a data folder with some history; nats-server stays. What was
acknowledged before the kill must still be known (it is answered as a repeat).
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from typing import Any

from benchmarks.common import Figure, Series, others_busy, report, rounds, run_async
from benchmarks.load import Connection, deliveries, send_all
from benchmarks.place import Place, Shop, opened


def run(quick: bool) -> dict[str, Any]:
    return run_async(measure(quick))


async def measure(quick: bool) -> dict[str, Any]:
    took = {"one": Series(), "alone": Series()}
    forgotten = 0
    async with opened() as one, opened() as alone:
        shops: dict[str, Shop] = {}
        for name, place in (("one", one), ("alone", alone)):
            await place.start_one(children=[])
            shops[name] = await place.register("shop")
        await alone.stop()
        await alone.start(["webhook"])
        for turn in rounds(quick):
            for part in turn.order("one", "alone"):
                with others_busy() as busy:
                    seconds, lost = await again(one if part == "one" else alone, shops[part])
                took[part].add(seconds, others=busy.cores)
                forgotten += lost
    return report(
        Figure("kill -9 -> accepting again, one process", "s", took["one"], must=3, aim=1),
        Figure("kill -9 -> accepting again, webhook alone", "s", took["alone"], must=3, aim=1),
        forgotten=forgotten,
    )


async def again(place: Place, shop: Shop) -> tuple[float, int]:
    """(seconds, acknowledged deliveries that are not known any more)."""
    known = deliveries(shop.path, shop.secret, 30)
    sent = await send_all(place.port("webhook"), known, 8)
    names = next(iter(place.processes))
    process, port = place.processes[names]
    began = time.monotonic()
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    place.spawn(names, children=[])
    seconds = await first_answer(port, deliveries(shop.path, shop.secret, 1)[0].request, began)
    repeats = await send_all(port, [push for push in known if push.commit in sent.accepted], 8)
    lost = sum(not json.loads(body)["repeated"] for body in repeats.bodies.values())
    await place.ready(names)
    return seconds, lost + len(sent.accepted) - len(repeats.accepted)


async def first_answer(port: int, request: bytes, began: float) -> float:
    while time.monotonic() - began < 60:
        try:
            line = await Connection.open(port)
            status, _ = await line.send(request)
            line.close()
            if status == 202:
                return time.monotonic() - began
        except OSError:
            pass
        await asyncio.sleep(0.01)
    raise TimeoutError("no delivery was accepted within 60 s of the kill")
