"""The one-process form on real tools, killed with -9 in a build and in a switch: the run ends right and nothing is left over."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import httpx
import pytest
from shared.platform import platform_id
from shared.testing.parts import DockerEngine

from kiops.chaos.city import ENDED
from tests.processes.one import One, process_lines


@pytest.fixture
def tools(gitleaks: Path, semgrep: Path, trivy: Path, traefik: Path, git: Path) -> None:
    """The engines and the edge, as set up for a person."""


async def test_a_crash_in_a_build_and_one_in_a_switch(
    tmp_path: Path, docker_engine: DockerEngine, busybox_image: str, tools: None
) -> None:
    one = One(tmp_path, docker_engine, busybox_image)
    one.prepare()
    one.start()
    try:
        await one.ready()
        await one.register()
        await crash_in_a_build(one)
        await crash_in_a_switch(one)
        await one.stop()
        assert one.children() == []
    finally:
        await one.stop()
        from operator_proxy.cleanup import remove_all

        await remove_all(platform_id(one.root), keep_edge_image=True, socket=Path(docker_engine.socket))
        for image in one.images():
            docker_engine.remove_image(image)
    assert one.containers() == []


async def crash_in_a_build(one: One) -> None:
    """Killed while the image's RUN is at work: the build is done again, the run succeeds, the first try leaves nothing."""
    seconds = f"3.{os.getpid() % 1000:03d}7"
    commit = one.commit("first", float(seconds), 0)
    await one.run(commit)

    async def building() -> bool:
        return any(line == f"sleep {seconds}" for line in process_lines())

    await one.until("the RUN of the build", building)
    one.kill()
    await asyncio.sleep(1)
    assert not any(line == f"sleep {seconds}" for line in process_lines()), "the RUN's process outlived us"
    one.start()
    await one.ready()
    run = await ended(one)
    assert run["state"] == "success", run
    await nothing_left(one, b"first", images=1)


async def crash_in_a_switch(one: One) -> None:
    """Killed while the new release stands beside the old one: people get answers all the time, and the new one in the end."""
    before = await one.newest()
    commit = one.commit("second", 0, 1.5)
    asking = asyncio.create_task(ask_for_ever(one))
    await one.run(commit)

    async def probing() -> bool:
        return len([row for row in one.containers() if row["Labels"].get("kiops.release")]) == 2

    await one.until("two containers beside each other", probing)
    one.kill()
    await asyncio.sleep(0.5)
    one.start()
    await one.ready()
    run = await ended(one)
    assert (run["state"], run["number"]) == ("success", before["number"] + 1), run
    await nothing_left(one, b"second", images=2)
    asking.cancel()
    answers = (await asyncio.gather(asking, return_exceptions=True))[0]
    assert isinstance(answers, asyncio.CancelledError), f"somebody was not served: {answers!r}"


async def ended(one: One) -> dict:
    async def over() -> dict | None:
        run = await one.newest()
        return run if run["state"] in ENDED else None

    return await one.until("the run's end", over)


async def address(one: One) -> str:
    async with one.api() as api:
        places = (await api.get("/services/corner-shop/environments")).json()["items"]
    return places[0]["url"]


async def ask_for_ever(one: One) -> None:
    """People who ask for the page all the time; whether KIOPS lives is nothing to them."""
    url = await address(one)
    async with httpx.AsyncClient(timeout=10) as client:
        while True:
            answer = await client.get(url)
            assert answer.status_code == 200 and answer.text in ("first", "second"), (answer.status_code, answer.text)
            await asyncio.sleep(0.02)


async def nothing_left(one: One, body: bytes, images: int) -> None:
    """One release's container and the edge; one route; the images of the releases; no folder, no job, no leftover child."""

    async def clean() -> bool:
        releases = [row for row in one.containers() if row["Labels"].get("kiops.release")]
        routes = [path for path in one.routes() if path.name != "edge.yml"]
        return len(releases) == 1 and len(one.containers()) == 2 and len(routes) == 1 and not one.work_folders()

    end = time.monotonic() + 20
    while not await clean():
        assert time.monotonic() < end, ([row["Names"] for row in one.containers()], one.routes(), one.work_folders())
        await asyncio.sleep(0.2)
    assert len(set(one.images())) == images
    async with httpx.AsyncClient() as client:
        assert (await client.get(await address(one))).content == body
