"""Durable accept: from the first byte sent to the whole 202, and how many a second at 16 connections.

By webhook alone in its process, and by the one process with all seven awake, against a bare uvicorn that checks the HMAC and
appends with fdatasync. One at a time the one process has worked the run before off; at 16 connections what was accepted is
being built meanwhile. The same client and the same deliveries of 7.6 KB for all three. Nothing is lost: every commit that was
answered 202 has exactly one run in webhook's database at the end.
"""

from __future__ import annotations

from typing import Any

from benchmarks.common import Figure, Series, others_busy, quantile, report, rounds, run_async
from benchmarks.load import Sent, deliveries, send_all
from benchmarks.place import Place, Shop, bare_server, opened

PARTS = ("floor", "alone", "one")


def run(quick: bool) -> dict[str, Any]:
    return run_async(measure(quick))


async def measure(quick: bool) -> dict[str, Any]:
    single = {"floor": 150, "alone": 150, "one": 20} if quick else {"floor": 400, "alone": 400, "one": 80}
    many = {"floor": 800, "alone": 800, "one": 200} if quick else {"floor": 3000, "alone": 3000, "one": 800}
    took = {part: Series() for part in PARTS}
    rate = {part: Series() for part in PARTS}
    p99 = {part: Series() for part in PARTS}
    acked: set[str] = set()
    async with opened() as alone, opened() as one:
        shops = {}
        for place in (alone, one):
            await place.start_one()
            shops[id(place)] = await place.register("shop")
        await alone.stop()
        await alone.start(["webhook"])
        async with bare_server(alone.folder, shops[id(alone)].secret) as bare:
            for turn in rounds(quick):
                for part in turn.order(*PARTS):
                    place = one if part == "one" else alone
                    shop = shops[id(place)]
                    port = bare if part == "floor" else place.port("webhook")
                    rest = one if part == "one" else None
                    slow, fast = await load(port, shop, single[part], many[part], rest, took[part], rate[part], p99[part])
                    if part != "floor":
                        check(slow, fast)
                        acked |= {*slow.accepted, *fast.accepted}
                    if part == "one":
                        await one.until_quiet(600)
        lost, doubled = count(alone, one, acked)
    return report(
        Figure("durable accept p50, webhook alone", "ms", took["alone"], took["floor"], 3.5, 2.2, judged="ratio"),
        Figure("durable accept p50, one process", "ms", took["one"], took["floor"], 6, 4, judged="ratio"),
        Figure("accepts/s at 16 connections, webhook alone", "/s", rate["alone"], rate["floor"], 1200, 2000, better="more"),
        Figure("accepts/s at 16 connections, one process", "/s", rate["one"], rate["floor"], 700, 1250, better="more"),
        Figure("durable accept p99, webhook alone", "ms", p99["alone"], p99["floor"]),
        Figure("durable accept p99, one process", "ms", p99["one"], p99["floor"]),
        acknowledged=len(acked),
        lost=lost,
        doubled=doubled,
    )


async def load(
    port: int, shop: Shop, single: int, many: int, rest: Place | None, took: Series, rate: Series, p99: Series
) -> tuple[Sent, Sent]:
    """One at a time (with `rest`, each when the run before is over there), then 16 at once."""
    slow, fast = Sent(), deliveries(shop.path, shop.secret, many)
    warmed = await send_all(port, deliveries(shop.path, shop.secret, 10))
    with others_busy() as busy:
        if rest is None:
            slow = await send_all(port, deliveries(shop.path, shop.secret, single))
        else:
            for push in deliveries(shop.path, shop.secret, single):
                await rest.until_quiet(60)
                sent = await send_all(port, [push])
                slow.took_ms += sent.took_ms
                slow.accepted |= sent.accepted
                slow.refused += sent.refused
    took.add(quantile(slow.took_ms, 0.5), n=single, others=busy.cores)
    p99.add(quantile(slow.took_ms, 0.99), n=single, others=busy.cores)
    with others_busy() as busy:
        quickly = await send_all(port, fast, 16)
    rate.add(quickly.per_second, n=many, others=busy.cores)
    slow.accepted |= warmed.accepted
    return slow, quickly


def check(*sent: Sent) -> None:
    for each in sent:
        if each.refused:
            raise RuntimeError(f"{len(each.refused)} were refused, the first: {each.refused[0]}")


def count(alone: Place, one: Place, acked: set[str]) -> tuple[int, int]:
    """(acknowledged without a run, acknowledged with more than one)."""
    runs: dict[str, int] = {}
    for place in (alone, one):
        for (commit,) in place.query("webhook", "select commit_id from runs"):
            runs[commit] = runs.get(commit, 0) + 1
    return sum(commit not in runs for commit in acked), sum(runs.get(commit, 0) > 1 for commit in acked)
