"""The edge outlives the process, what nobody knows is removed, and a whole platform can be taken away."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

from operator_proxy import cleanup
from operator_proxy.clients.docker import Engine
from operator_proxy.clients.edge import Edge
from operator_proxy_props import Client
from shared.exchange import exchange
from shared.facts.gateway import ServiceDeleted
from shared.orders.operator_proxy import RemoveTarget
from shared.platform import platform_id


async def until(condition: Any, seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(0.05)


async def answering(w: Any) -> bool:
    edge = Edge(w.engine, w.settings, w.platform, w.root / "services/operator-proxy/edge")
    return await edge.answering()


async def test_edge_is_recognised_at_the_next_start(world: Any, images: dict[str, str]) -> None:
    """Same container, not restarted, and no request fails while the platform is away and comes back."""
    async with world() as w:
        fact = await w.place(images["one"], number=1)
        before = await w.engine.inspect(f"kiops-{w.platform}-edge")
        client, done = Client(w.settings.edge_port, fact.url.split("/")[2]), False
        load = asyncio.create_task(client.run(50, lambda: done))
    await asyncio.sleep(0.5)
    async with world() as w:
        await asyncio.sleep(1.5)
        done = True
        await load
        await client.rest()
        after = await w.engine.inspect(f"kiops-{w.platform}-edge")
        assert (after["Id"], after["State"]["StartedAt"]) == (before["Id"], before["State"]["StartedAt"])
        assert client.errors() == {} and client.bodies() == {"one": len(client.answered)}


async def test_edge_that_was_removed_comes_back_with_its_routes(world: Any, images: dict[str, str]) -> None:
    async with world() as w:
        fact = await w.place(images["one"], number=1, own_port=True)
        await w.engine.remove(f"kiops-{w.platform}-edge")
        assert not await answering(w)
        await until(lambda: answering(w))
        port = int(fact.url.rstrip("/").rsplit(":", 1)[1])
        assert (await exchange(("127.0.0.1", port), "GET", "/")).body == b"one\n"


async def test_runtime_is_announced_once(world: Any) -> None:
    async with world() as w:

        async def facts() -> list[Any]:
            async with w.service.database.read() as tx:
                rows = await tx.all(w.service.database.outbox.select())
            return [row for row in rows if "runtime.changed" in row.subject]

        async def announced() -> bool:
            return bool(await facts())

        await until(announced)
        await asyncio.sleep(2.5)
        (row,) = await facts()
        assert row.subject == "kiops.operator-proxy.runtime.changed.main.local"
        assert '"label":"This machine"' in row.body and '"reachable":true' in row.body


async def test_leftovers_are_swept(world: Any, images: dict[str, str]) -> None:
    """A container and routes of releases that nobody knows go; what serves stays."""
    async with world() as w:
        await w.place(images["one"], number=1)
        (kept,) = await w.containers()
        labels = kept["Labels"] | {"kiops.release": "rel_lost", "kiops.fence": "0"}
        await w.engine.create(f"kiops-{w.platform}-lost", {"Image": images["two"], "Labels": labels})
        edge = Edge(w.engine, w.settings, w.platform, w.root / "services/operator-proxy/edge")
        (route,) = edge.routes()
        edge.write(replace(route, candidate=True))
        edge.write(replace(route, key="lost", release="rel_lost"))

        async def swept() -> bool:
            return len(await w.containers()) == 1 and w.route_files() == [route.file]

        await until(swept)
        assert (await w.containers())[0]["Id"] == kept["Id"]


async def test_target_is_removed_with_everything_it_has(world: Any, images: dict[str, str]) -> None:
    async with world() as w:
        fact = await w.place(images["one"], number=1, own_port=True)
        await w.place(images["one"], number=1, service="svc_other", fence=1)
        await w.send(
            RemoveTarget(organisation="main", service="svc_shop", runtime="local", environment="development", service_name="shop")
        )
        await w.until(fact.release, "gone")
        assert [row["Labels"]["kiops.service"] for row in await w.containers()] == ["svc_other"]
        assert len(w.route_files()) == 1
        again = await w.place(images["two"], number=2, own_port=True)
        assert again.url == fact.url


async def test_deleted_service_keeps_running_unless_it_is_to_go(world: Any, images: dict[str, str]) -> None:
    async with world() as w:
        fact = await w.place(images["one"], number=1)
        await w.send(ServiceDeleted(organisation="main", service="svc_shop", remove_running=False))
        await asyncio.sleep(1)
        assert len(await w.containers()) == 1
        await w.send(ServiceDeleted(organisation="main", service="svc_shop", remove_running=True))
        await w.until(fact.release, "gone")
        assert await w.containers() == []


async def test_services_that_would_have_the_same_host_get_different_ones(world: Any, images: dict[str, str]) -> None:
    async with world() as w:
        one = await w.place(images["one"], number=1, service="svc_a", service_name="a-b", environment="c")
        two = await w.place(images["two"], number=1, service="svc_b", service_name="a", environment="b-c")
        for fact, body in ((one, b"one\n"), (two, b"two\n")):
            host = fact.url.split("/")[2]
            answer = await exchange(("127.0.0.1", w.settings.edge_port), "GET", "/", headers={"Host": host})
            assert answer.body == body


async def test_probe_shows_nothing_to_people(world: Any, images: dict[str, str]) -> None:
    """Neither the release in answers, nor the word in what the container is asked."""
    async with world() as w:
        fact = await w.place(images["one"], number=1)
        host = fact.url.split("/")[2]
        answer = await exchange(("127.0.0.1", w.settings.edge_port), "GET", "/headers", headers={"Host": host})
        assert "x-kiops-answered-by" not in answer.headers and b"x-kiops" not in answer.body
        edge = Edge(w.engine, w.settings, w.platform, w.root / "services/operator-proxy/edge")
        (route,) = edge.routes()
        probed = await exchange(
            ("127.0.0.1", w.settings.edge_port), "GET", "/headers", headers={"Host": host, "X-Kiops-Probe": route.word}
        )
        assert probed.headers["x-kiops-answered-by"] == route.answered_by and route.word.encode() not in probed.body


async def test_container_is_limited(world: Any, images: dict[str, str]) -> None:
    async with world() as w:
        fact = await w.place(images["one"], number=1)
        limits = (await w.engine.inspect(fact.container))["HostConfig"]
        assert limits["Memory"] == 1024 * 2**20 and limits["CpuQuota"] == 200_000 and limits["PidsLimit"] == 1024
        assert limits["SecurityOpt"] == ["no-new-privileges"] and limits["PortBindings"] in (None, {})


async def test_everything_of_a_platform_is_removed(root: Path, world: Any, images: dict[str, str], engine: Engine) -> None:
    async with world() as w:
        await w.place(images["one"], number=1)
        await w.place(images["one"], number=1, service="svc_other")
        there = await cleanup.there(w.platform, socket=engine.socket)
        assert there.edge and there.edge_memory_mb > 1 and len(there.running) == 2
    platform = platform_id(root)
    only = await cleanup.remove_all(platform, service="svc_other", socket=engine.socket)
    assert only.containers == [f"kiops-{platform}-other-development-1"] and only.networks == []
    rest = await cleanup.remove_all(platform, keep_edge_image=True, socket=engine.socket)
    assert len(rest.containers) == 2 and rest.networks == [f"kiops-{platform}"]
    there = await cleanup.there(platform, socket=engine.socket)
    assert not there.edge and there.running == {}
