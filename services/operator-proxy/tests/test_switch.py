"""A switch loses no request, in both directions, on a real engine behind a real Traefik."""

from __future__ import annotations

import asyncio
from typing import Any

from operator_proxy_props import Client, switch_under_load

RATE = 200


async def test_switch_and_rollback_lose_no_request(world: Any, images: dict[str, str]) -> None:
    """200 requests/s without retries, half of them keep-alive, 20 answers of 3 s across each switch: no error, both versions."""
    async with world() as w:
        first = await w.place(images["one"], number=1)
        client = Client(w.settings.edge_port, first.url.split("/")[2])
        done = False
        load = asyncio.create_task(client.run(RATE, lambda: done))
        await asyncio.sleep(1)
        there = await switch_under_load(w, client, images["two"], "one", 2)
        back = await switch_under_load(w, client, images["one"], "two", 3)
        done = True
        await load
        await client.rest()

        assert client.errors() == {} and client.skipped == 0
        assert client.bodies().keys() == {"one", "two"}
        assert there.requests >= 2000 and back.requests >= 2000
        assert there.straddling == back.straddling == 20
        assert (there.image_id, back.image_id) == (images["two"], images["one"])
        assert (there.fact.image_id, back.fact.image_id) == (images["two"], images["one"])
        assert [row["ImageID"] for row in await w.containers()] == [images["one"]]
        assert len(w.route_files()) == 1
