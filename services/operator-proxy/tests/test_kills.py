"""A process that is killed with -9 in any moment of a switch: the next one ends it right, no request is lost, nothing is left."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from operator_proxy_props import Client, World

HERE = Path(__file__).parent


async def _phase(world: World, killed: asyncio.subprocess.Process, phase: str) -> None:
    assert killed.stdout
    while (line := (await killed.stdout.readline()).decode().strip()) != phase:
        assert line, "the process ended by itself"


def at(phase: str) -> Callable[..., Awaitable[None]]:
    async def moment(world: World, killed: asyncio.subprocess.Process) -> None:
        await _phase(world, killed, phase)

    return moment


async def container_made(world: World, killed: asyncio.subprocess.Process) -> None:
    while len(await world.containers()) < 2:
        await asyncio.sleep(0.002)


async def candidate_written(world: World, killed: asyncio.subprocess.Process) -> None:
    while not any("candidate" in name for name in world.route_files()):
        await asyncio.sleep(0.001)


async def route_renamed(world: World, killed: asyncio.subprocess.Process) -> None:
    folder = world.root / "services/operator-proxy/edge/routes"
    (file,) = [folder / name for name in world.route_files() if "candidate" not in name]
    before = file.stat().st_ino
    while file.stat().st_ino == before:
        await asyncio.sleep(0.0005)


MOMENTS = {
    "starting": at("starting"),
    "container made": container_made,
    "probing": at("probing"),
    "candidate written": candidate_written,
    "route renamed": route_renamed,
    "switched": at("switched"),
    "draining": at("draining"),
}


@pytest.mark.parametrize("name", MOMENTS)
async def test_killed_in_the_middle_of_a_switch(name: str, root: Path, settings: Any, world: Any, images: dict[str, str]) -> None:
    async with world() as w:
        first = await w.place(images["one"], number=1)
    order = w.order(images["two"], number=2)
    client, done = Client(settings.edge_port, first.url.split("/")[2]), False
    load = asyncio.create_task(client.run(50, lambda: done))
    killed = await asyncio.create_subprocess_exec(
        sys.executable,
        str(HERE / "until_killed.py"),
        str(HERE / "props.py"),
        str(root),
        json.dumps(settings.model_dump(mode="json")),
        order.model_dump_json(),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        await asyncio.wait_for(MOMENTS[name](w, killed), 90)
    finally:
        killed.kill()
        await killed.wait()

    async with world() as w:
        healthy = await w.until(order.release, "healthy")
        assert healthy.attempt == 2
        await asyncio.sleep(0.3)
        done = True
        await load
        await client.rest()
        assert client.errors() == {}
        assert client.answered[-1].body == "two"
        assert [row["ImageID"] for row in await w.containers()] == [images["two"]]
        assert [name for name in w.route_files() if "candidate" in name] == [] and len(w.route_files()) == 1
        (kept,) = await w.containers()
        inspected = await w.engine.inspect(kept["Id"])
        assert inspected["HostConfig"]["RestartPolicy"]["Name"] == "unless-stopped"
        await w.until(order.release, "settled")
    assert list((root / "services/operator-proxy/edge/new").glob("*")) == []
    assert not list((root / "services/operator-proxy/work").glob("*"))
