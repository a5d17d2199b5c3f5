"""Line printed -> on an open page, and a long log opened again.

A faked build prints 10 lines a second, each with the time it was printed; a signed-in reader follows the stream that the
build's page opens. Then a build prints 200,000 lines at once; its whole log is read again when it is over, and must have every
line once, in order.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from benchmarks.common import Figure, Series, others_busy, quantile, report, rounds, run_async, until
from benchmarks.load import deliveries, send_all
from benchmarks.place import Place, Shop, opened

MANY = 200_000


def run(quick: bool) -> dict[str, Any]:
    return run_async(measure(quick))


async def measure(quick: bool) -> dict[str, Any]:
    lines = 40 if quick else 100
    middle, slowest, reopened = Series(), Series(), Series()
    gaps = 0
    async with opened() as place:
        await place.start_one(children=[], lines=lines, pause=0.1)
        shop = await place.register("shop")
        for turn in rounds(quick):
            with others_busy() as busy:
                took = await follow(place, shop, turn.number + 1, lines)
            middle.add(quantile(took, 0.5), n=len(took), others=busy.cores)
            slowest.add(quantile(took, 0.99), n=len(took), others=busy.cores)
        await place.until_quiet()
        await place.stop()
        await place.start_one(children=[], lines=MANY)
        for _ in rounds(quick):
            with others_busy() as busy:
                seconds, missing = await reopen(place, shop)
            gaps += missing
            reopened.add(seconds, n=MANY, others=busy.cores)
    return report(
        Figure("line printed -> on an open page, p99", "ms", slowest, must=120, aim=50),
        Figure("line printed -> on an open page, p50", "ms", middle),
        Figure("200,000 lines opened again", "s", reopened),
        lines_missing_or_out_of_order=gaps,
    )


@asynccontextmanager
async def signed_in(place: Place) -> AsyncIterator[httpx.AsyncClient]:
    """A browser's session."""
    async with place.api() as api:
        link = (await api.post("/login-links")).json()
    base = f"http://127.0.0.1:{place.port('gateway')}"
    path = "/" + str(link["url"]).split("/", 3)[3]
    async with httpx.AsyncClient(base_url=base, timeout=60, follow_redirects=True) as client:
        answer = await client.get(path)
        if answer.status_code != 200:
            raise RuntimeError(f"signing in: {answer.status_code}")
        yield client


async def follow(place: Place, shop: Shop, number: int, lines: int) -> list[float]:
    """Milliseconds of each line from print to page."""
    took: list[float] = []
    async with signed_in(place) as client:
        await send_all(place.port("webhook"), deliveries(shop.path, shop.secret, 1))

        async def begun() -> bool:
            return bool(place.query("webhook", "select 1 from runs where number = ? and state = 'running'", number))

        await until("the build", begun, 30)
        page = f"/services/{shop.name}/builds/{number}/live?from=0"

        async def there() -> bool:
            return (await client.get(f"/services/{shop.name}/builds/{number}")).status_code == 200

        await until("the build's page", there, 30)
        opened_at = time.time()
        async with client.stream("GET", page) as answer:
            async for text in answer.aiter_lines():
                now = time.time()
                if text.startswith("event: end"):
                    break
                if text.startswith("data: ["):
                    printed = [float(row["text"].split()[2]) for row in json.loads(text[6:]) if row["text"].startswith("printed")]
                    # What was printed before the page was open came from the store, not live.
                    took += [(now - at) * 1000 for at in printed if at > opened_at + 0.2]
    if len(took) < lines // 3:
        raise RuntimeError(f"only {len(took)} of {lines} lines were seen live")
    return took


async def reopen(place: Place, shop: Shop) -> tuple[float, int]:
    """(seconds to read the whole log of the newest build, lines missing or out of order)."""
    before = place.query("webhook", "select count(*) from runs where ended_at_ms is not null")[0][0]
    await send_all(place.port("webhook"), deliveries(shop.path, shop.secret, 1))
    await place.until_ended(before + 1, 240)
    await place.until_quiet()
    async with place.api() as api:
        run = (await api.get("/runs", params={"service": shop.name, "limit": 1})).json()["items"][0]
        began = asyncio.get_running_loop().time()
        text = (await api.get(f"/builds/{run['id']}/log", timeout=120)).text
        seconds = asyncio.get_running_loop().time() - began
    numbers = [int(line.split()[1]) for line in text.splitlines() if line.startswith("printed ")]
    return seconds, sum(found != wanted for found, wanted in zip(numbers, range(MANY), strict=False)) + MANY - len(numbers)
