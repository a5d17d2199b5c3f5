"""Switches a service to and fro under load, and prints what a client without retries saw.

    python benchmarks/switch.py [--switches 4] [--rate 200]

Needs a Docker engine and Traefik's binary; makes its own images and removes them. Exit code 1 when a request was lost.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import json
import sys
import tempfile
import time
from pathlib import Path

from operator_proxy import cleanup
from operator_proxy.clients.docker import Engine
from shared.platform import platform_id

PROPS = Path(__file__).parents[1] / "services/operator-proxy/tests/props.py"
spec = importlib.util.spec_from_file_location("operator_proxy_props", PROPS)
assert spec and spec.loader
props = importlib.util.module_from_spec(spec)
sys.modules["operator_proxy_props"] = props
spec.loader.exec_module(props)

LABEL = "kiops-benchmark-switch"


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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--switches", type=int, default=4, help="how many switches")
    parser.add_argument("--rate", type=float, default=200, help="requests per second")
    asked = parser.parse_args()
    found = asyncio.run(measure(asked.switches, asked.rate))
    print(json.dumps(found, indent=1))
    return 1 if found["errors"] or found["not_sent"] else 0


if __name__ == "__main__":
    sys.exit(main())
