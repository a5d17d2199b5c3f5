"""Switches a service to and fro under load: what a client without retries saw at 200 requests a second.

Needs a Docker engine and Traefik's binary; makes its own images and removes them. Breaks when a request was lost.
"""

from __future__ import annotations

import asyncio
import importlib.util
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from operator_proxy import cleanup
from operator_proxy.clients.docker import Engine
from shared.platform import platform_id

from benchmarks.common import Figure, Series, others_busy, report, rounds

PROPS = Path(__file__).parents[1] / "services/operator-proxy/tests/props.py"
spec = importlib.util.spec_from_file_location("operator_proxy_props", PROPS)
assert spec and spec.loader
props = importlib.util.module_from_spec(spec)
sys.modules["operator_proxy_props"] = props
spec.loader.exec_module(props)

LABEL = "kiops-benchmark-switch"
RATE = 200.0


async def measure(switches: int, rate: float) -> dict[str, object]:
    settings = props.settings_for()
    engine = Engine(settings.engine_socket)
    edges = {image["Id"] for image in await engine.images("kiops.role=edge")}
    images = await props.make_images(engine, ["one", "two"], LABEL)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        try:
            async with props.world(root, settings) as world:
                return await _run(world, images, switches, rate)
        finally:
            await cleanup.remove_all(platform_id(root), keep_edge_image=True)
            for image in await engine.images(LABEL):
                await engine.remove_image(image["Id"])
            for image in await engine.images("kiops.role=edge"):
                if image["Id"] not in edges:
                    await cleanup.remove_unused_image(engine, image["Id"])


async def _run(world: props.World, images: dict[str, str], switches: int, rate: float) -> dict[str, object]:
    first = await world.place(images["one"], number=1)
    client, done = props.Client(world.settings.edge_port, first.url.split("/")[2]), False
    load = asyncio.create_task(client.run(rate, lambda: done))
    await asyncio.sleep(1)
    began, seen = time.monotonic(), []
    for count in range(switches):
        before, after = ("one", "two") if count % 2 == 0 else ("two", "one")
        switched = await props.switch_under_load(world, client, images[after], before, count + 2)
        seen.append({"stages_ms": switched.fact.stages_ms, "requests": switched.requests, "straddling": switched.straddling,
                     "image_as_planned": switched.image_id == images[after]})  # fmt: skip
    done = True
    await load
    await client.rest()
    quick = sorted(1000 * (answer.ended - answer.sent) for answer in client.answered if not answer.slow)
    spread = {"p50": round(quick[len(quick) // 2], 1), "p99": round(quick[int(len(quick) * 0.99)], 1), "most": round(quick[-1])}
    return {
        "requests": len(client.answered),
        "per_second": round(len(quick) / (time.monotonic() - began + 1)),
        "not_sent": client.skipped,
        "errors": dict(client.errors()),
        "bodies": dict(client.bodies()),
        "milliseconds": spread,
        "switches": seen,
    }


def run(quick: bool) -> dict[str, Any]:
    """The switches' own figures; a lost or unsent request breaks it."""
    slow, middle, wrong = Series(), Series(), Series()
    seen: list[dict[str, object]] = []
    for _ in rounds(quick, 1):
        with others_busy() as busy:
            found = asyncio.run(measure(2 if quick else 6, RATE))
        seen.append(found)
        spread = found["milliseconds"]
        assert isinstance(spread, dict)
        number = int(str(found["requests"]))
        middle.add(spread["p50"], n=number, others=busy.cores)
        slow.add(spread["p99"], n=number, others=busy.cores)
        wrong.add(sum(found["errors"].values()) + int(str(found["not_sent"])), n=number)  # type: ignore[attr-defined]
    return report(
        Figure("requests lost while switching", "", wrong, must=0, aim=0),
        Figure("a request while switching, p50", "ms", middle),
        Figure("a request while switching, p99", "ms", slow),
        switches=seen,
    )
