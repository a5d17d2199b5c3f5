"""What can go wrong with a release: each ends with a code and advice, leaves nothing behind, and the old one keeps serving."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest
from operator_proxy import store
from operator_proxy.clients.docker import Engine
from shared.exchange import exchange


async def fails(w: Any, image: str, number: int, *, seconds: float = 90, **changes: Any) -> Any:
    order = w.order(image, number=number, **changes)
    await w.send(order)
    began = asyncio.get_running_loop().time()
    while not (found := [fact for fact in await w.observed(order.release) if fact.phase == "failed"]):
        assert asyncio.get_running_loop().time() - began < seconds, [f.phase for f in await w.observed(order.release)]
        await asyncio.sleep(0.05)
    assert found[0].code and found[0].reason and found[0].advice
    return found[0]


async def body(w: Any, url: str) -> str:
    host = url.split("/")[2]
    port = int(host.split(":")[1])
    answer = await exchange(("127.0.0.1", port), "GET", "/", headers={"Host": host})
    return answer.body.decode().strip()


@pytest.fixture
async def serving(world: Any, images: dict[str, str]) -> Any:
    """A world in which version one serves."""
    async with world() as w:
        fact = await w.place(images["one"], number=1)
        yield w, fact.url
        assert await body(w, fact.url) == "one"
        assert [row["ImageID"] for row in await w.containers()] == [images["one"]]
        assert len(w.route_files()) == 1


async def test_container_that_exits_at_once(serving: Any, images: dict[str, str]) -> None:
    """Exit code and last lines are told, without the secret that the container wrote."""
    w, _ = serving
    secret = "tok-" + "5f2c" * 4
    fact = await fails(w, images["two"], 2, variables={"MODE": "exit", "API_TOKEN": secret})
    assert fact.code == "container.exited" and "exit code 7" in fact.reason
    assert "cannot find my configuration" in fact.advice and secret not in fact.model_dump_json()


async def test_container_that_uses_too_much_memory(world: Any, images: dict[str, str]) -> None:
    async with world(memory_mb=32) as w:
        fact = await fails(w, images["two"], 1, variables={"MODE": "eat"})
        assert fact.code == "container.out_of_memory" and "32 MiB" in fact.reason
        assert await w.containers() == [] and w.route_files() == []


async def test_container_that_never_becomes_healthy(serving: Any, images: dict[str, str]) -> None:
    w, _ = serving
    fact = await fails(w, images["two"], 2, variables={"MODE": "unhealthy"}, deadline_seconds=2)
    assert fact.code == "container.unhealthy" and "status 503" in fact.reason


async def test_container_that_does_not_listen(serving: Any, images: dict[str, str]) -> None:
    w, _ = serving
    fact = await fails(w, images["two"], 2, variables={"MODE": "deaf"}, deadline_seconds=2)
    assert fact.code == "container.unhealthy" and "nothing answers on port 8080" in fact.reason


async def test_image_removed_before_a_rollback(serving: Any) -> None:
    w, _ = serving
    fact = await fails(w, "sha256:" + "0" * 64, 2)
    assert fact.code == "image.gone"


async def test_command_that_is_not_in_the_image(serving: Any, engine: Engine) -> None:
    async def empty() -> Any:
        yield b"\0" * 1024

    image = await engine.import_image(empty(), "kiops-test-operator-proxy-empty", "1", ['ENTRYPOINT ["/nothing"]'])
    try:
        fact = await fails(serving[0], image, 2)
        assert fact.code == "container.not_startable"
    finally:
        await engine.remove_image(image)


async def test_order_with_a_smaller_fence(serving: Any, images: dict[str, str]) -> None:
    """An order that a newer one overtook is refused, even when it comes later."""
    w, _ = serving
    fact = await fails(w, images["two"], 2, fence=0)
    assert fact.code == "release.superseded_by_fence"


async def test_port_of_the_edge_taken(world: Any, images: dict[str, str]) -> None:
    """Named while it lasts; when the port is free again the next release comes into place."""
    with socket.socket() as thief:
        thief.bind(("127.0.0.1", 0))
        thief.listen()
        port = thief.getsockname()[1]
        async with world(edge_port=port) as w:
            fact = await fails(w, images["one"], 1)
            assert fact.code == "port.taken" and str(port) in fact.reason
            assert await w.containers() == []
            thief.close()
            fact = await w.place(images["one"], number=2)
            assert await body(w, fact.url) == "one"


async def test_entry_ports_taken_and_used_up(world: Any, images: dict[str, str], settings: Any) -> None:
    """A pool port that another program has is left out; when none is left, that is said."""
    with socket.socket() as thief:
        thief.bind(("127.0.0.1", settings.pool_first_port))
        thief.listen()
        async with world(pool_ports=2) as w:
            fact = await w.place(images["one"], number=1, own_port=True)
            assert fact.url == f"http://127.0.0.1:{settings.pool_first_port + 1}/"
            assert await body(w, fact.url) == "one"
            second = await fails(w, images["one"], 1, service="svc_other", own_port=True)
            assert second.code == "port.none_left"


async def test_engine_away(tmp_path: Path, images: dict[str, str], world: Any) -> None:
    """Tried again, then failed; the runtime is announced as away, and the service stays ready."""
    async with world(engine_socket=tmp_path / "nobody.sock", engine=Engine(tmp_path / "nobody.sock")) as w:
        order = w.order(images["one"], number=1)
        await w.send(order)
        async with asyncio.timeout(60):
            while True:
                async with w.service.database.read() as tx:
                    row = await store.runtime(tx, "local")
                if row is not None and not row.reachable:
                    break
                await asyncio.sleep(0.05)
        await w.service.checks["runtime"]()
        assert "does not answer" in row.reason
        assert await w.observed(order.release) == []


async def test_engine_away_for_good(tmp_path: Path, images: dict[str, str], world: Any) -> None:
    async with world(engine_socket=tmp_path / "nobody.sock", engine=Engine(tmp_path / "nobody.sock")) as w:
        fact = await fails(w, images["one"], 1)
        assert fact.code == "engine.away"


async def test_engine_that_comes_back(tmp_path: Path, engine: Engine, images: dict[str, str], world: Any) -> None:
    """An order that met no engine is obeyed when there is one."""
    place = tmp_path / "engine.sock"
    async with world(engine_socket=place, engine=Engine(place)) as w:
        order = w.order(images["one"], number=1)
        await w.send(order)
        await asyncio.sleep(0.5)
        place.symlink_to(engine.socket)
        await w.until(order.release, "healthy")


async def test_release_that_falls_ill_after_the_switch(world: Any, images: dict[str, str]) -> None:
    """Healthy, then not: by its answers, and by its end."""
    async with world() as w:
        for number, (mode, code) in enumerate((("sick-later", "container.unhealthy"), ("exit-later", "container.")), 1):
            order = w.order(images["two"], number=number, variables={"MODE": mode}, observe_seconds=20)
            await w.send(order)
            await w.until(order.release, "healthy")
            fact = await w.until(order.release, "unhealthy", "settled")
            assert fact.phase == "unhealthy" and fact.code.startswith(code) and fact.advice


async def test_release_that_stays_healthy_settles(serving: Any, images: dict[str, str]) -> None:
    w, _ = serving
    order = w.order(images["two"], number=2, observe_seconds=1)
    await w.send(order)
    fact = await w.until(order.release, "settled")
    assert fact.seconds >= 1 and fact.text == "healthy for 1 s"
    await w.place(images["one"], number=3)
