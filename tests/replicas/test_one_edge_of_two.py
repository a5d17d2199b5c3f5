"""Two operator-proxies on one PostgreSQL, one real engine and one real edge: one dies, the other goes on, nobody notices.

`kiops chaos` and test_two_of_everything.py swap the hands of the operator-proxy; here nothing is.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from operator_proxy import cleanup
from operator_proxy.clients.docker import Engine
from operator_proxy.domain.naming import Target
from operator_proxy.domain.routes import Route
from shared.bus import Bus
from shared.facts.operator_proxy import ReleaseObserved
from shared.orders.operator_proxy import ApplyRelease
from shared.platform import platform_id
from shared.testing.nats import binary
from shared.testing.parts import DockerEngine, Parts
from shared.testing.postgres import Postgres

from kiops.chaos.city import City
from shared import ids
from tests.replicas.pair import Pair, until

PROXY = "operator-proxy"
REPOSITORY = Path(__file__).parents[2]
spec = importlib.util.spec_from_file_location("operator_proxy_props", REPOSITORY / "services/operator-proxy/tests/props.py")
assert spec and spec.loader
props = importlib.util.module_from_spec(spec)
sys.modules["operator_proxy_props"] = props
spec.loader.exec_module(props)
LABEL = "kiops-test-two-proxies"


@dataclass
class Quay:
    """Two operator-proxies, the deployer's end of the bus, and what of theirs there is in the engine."""

    pair: Pair
    deployer: Bus
    engine: Engine
    images: dict[str, str]
    port: int
    number: int = 0

    @property
    def database(self) -> str:
        return self.pair.city.prefix + "operator_proxy"

    def ask(self, query: str) -> str:
        assert self.pair.city.postgres
        return self.pair.city.postgres.execute(query, self.database).strip()

    async def order(self, version: str) -> str:
        """Order a release of this version, as the deployer does. Returns its id."""
        self.number += 1
        order = ApplyRelease(
            organisation="main", service="svc_shop", service_name="shop", environment="development", runtime="local",
            release=ids.new("rel"), run=ids.new("run"), release_number=self.number, fence=self.number, image=version,
            image_id=self.images[version], container_port=8080, deadline_seconds=40, drain_seconds=5, observe_seconds=1,
        )  # fmt: skip
        headers = {"Nats-Msg-Id": order.release, "ce-id": order.release}
        reply = await self.deployer.request(order.subject, order.model_dump_json().encode(), headers=headers)
        assert "seq" in json.loads(reply.data), reply.data
        return order.release

    def observed(self, release: str) -> list[ReleaseObserved]:
        rows = self.ask("select body from outbox where subject like '%.release.observed.%' order by position").splitlines()
        found = [ReleaseObserved.model_validate_json(row) for row in rows]
        return [fact for fact in found if fact.release == release]

    async def until(self, release: str, phase: str) -> ReleaseObserved:
        """The fact that says this; a release that failed ends the wait."""

        async def told() -> ReleaseObserved | None:
            for fact in self.observed(release):
                assert fact.phase != "failed" or phase == "failed", f"{fact.code}: {fact.reason} {fact.advice}"
                if fact.phase == phase:
                    return fact
            return None

        return await until(f"{release} {phase}", told, 90)

    def worker(self) -> str:
        """Which of the two has the job that runs."""
        holder = self.ask("select holder from job where state = 'running' and kind <> 'watch' limit 1")
        about = json.loads(self.ask(f"select holder from lease where name = 'instance {holder}'"))
        (called,) = (name for name, process in self.pair.city.processes.items() if process.pid == about["pid"])
        return called

    async def there(self) -> list[dict[str, Any]]:
        """The platform's containers."""
        return await self.engine.containers(f"kiops.platform={platform_id(self.pair.city.root)}")


@pytest.fixture
async def quay(
    tmp_path: Path, parts: Parts, postgres: Postgres, docker_engine: DockerEngine, traefik: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Quay]:
    parts.program(binary(), "--version", part="nats-server")
    engine = Engine(Path(docker_engine.socket))
    settings = props.settings_for(engine_socket=engine.socket, edge_binary=traefik)
    for name in ("engine_socket", "edge_binary", "edge_port", "pool_first_port", "pool_ports", "look_seconds", "stop_seconds"):
        monkeypatch.setenv(f"OPERATOR_PROXY_{name.upper()}", str(getattr(settings, name)))
    edges = {image["Id"] for image in await engine.images("kiops.role=edge")}
    images = await props.make_images(engine, ["one", "two", "three"], LABEL)
    program = (str(Path(__file__).with_name("real_proxy.py")),)
    city = City(tmp_path / "city", postgres, prefix=f"quay{os.getpid()}_", program=program)
    try:
        await city.open(services=())
        city.start(PROXY)  # both at once: neither may take the other's beginnings for left-overs
        city.start_replica(PROXY)
        for called in (PROXY, f"{PROXY}-2"):
            await city.ready(called, 120)
        deployer = Bus("deployer", city.nats.url, city.nats.keys / "deployer.nk")
        await deployer.open()
        yield Quay(Pair(city), deployer, engine, images, settings.edge_port)
        await deployer.close()
    finally:
        await city.close()
        await cleanup.remove_all(platform_id(city.root), socket=engine.socket, keep_edge_image=True)
        for image in await engine.images(LABEL):
            await engine.remove_image(image["Id"])
        for image in await engine.images("kiops.role=edge"):
            if image["Id"] not in edges:
                await cleanup.remove_unused_image(engine, image["Id"])
        for name in ("gateway", "webhook", "builder", "scanner", "gate", "deployer", "operator_proxy", "read_model"):
            postgres.drop(city.prefix + name)


@pytest.mark.heavy
async def test_the_one_that_switches_dies_and_so_does_the_one_that_looks_after_the_edge(quay: Quay) -> None:
    pair, city = quay.pair, quay.pair.city
    keeper = await pair.holder(PROXY, "scheduler")
    first = await quay.until(await quay.order("one"), "healthy")
    edge = [row["Id"] for row in await quay.there() if row["Labels"].get("kiops.role") == "edge"]
    assert len(edge) == 1, "they made one edge"

    client, done = props.Client(quay.port, first.url.split("/")[2]), False
    load = asyncio.create_task(client.run(50, lambda: done))
    try:
        # The one that switches is killed between the probe and the end; the other does it again with a newer token.
        release = await quay.order("two")
        await quay.until(release, "probing")
        dead = quay.worker()
        await _kill(city, dead)
        healthy = await quay.until(release, "healthy")
        assert healthy.attempt == 2
        await _serves(client, "two")
        await _again(quay, dead)

        # The one that looks after the edge is killed; the other takes the role, and removes what nobody knows.
        keeper = await pair.holder(PROXY, "scheduler")
        await pair.killed(keeper, "scheduler")
        stray = _stray_route(city)
        await until("a look at the edge", lambda: _gone(stray), 60)
        await quay.until(await quay.order("three"), "healthy")
        await _serves(client, "three")
        await _again(quay, keeper)
    finally:
        done = True
        await load
        await client.rest()
    assert client.errors() == {} and client.skipped == 0
    assert {row["Id"] for row in await quay.there() if row["Labels"].get("kiops.role") == "edge"} == set(edge), "the same edge"
    assert [row["ImageID"] for row in await quay.there() if row["Labels"].get("kiops.role") == "release"] == [quay.images["three"]]
    assert len(_routes(city)) == 1, _routes(city)
    assert not list((city.root / "services" / PROXY / "edge" / "new").glob("*"))
    assert city.children_left() == [] and quay.ask("select count(*) from job where state <> 'ended'") in ("0", "1")


async def _kill(city: City, called: str) -> None:
    city.processes[called].kill()
    await asyncio.to_thread(city.processes[called].wait)


async def _again(quay: Quay, called: str) -> None:
    quay.pair.start_again(called)
    await quay.pair.city.ready(called, 120)


async def _gone(file: Path) -> bool:
    return not file.exists()


def _routes(city: City) -> list[Path]:
    files = (city.root / "services" / PROXY / "edge" / "routes").glob("*.yml")
    return [file for file in files if file.name != "edge.yml"]


def _stray_route(city: City) -> Path:
    """The file of a route to a release that nobody knows."""
    (file,) = _routes(city)
    route = Route.read(file.read_text())
    assert route
    key = Target("main", "svc_gone", "development").key
    gone = replace(route, key=key, service="svc_gone", release="rel_gone", host="gone-development.localhost")
    draft = city.folder / gone.file
    draft.write_text(gone.text())
    return draft.rename(file.with_name(gone.file))


async def _serves(client: Any, version: str) -> None:
    """The newest answers are this version's."""
    sent = time.monotonic()

    async def newest() -> bool:
        fresh = [answer for answer in client.answered if answer.sent > sent]
        return len(fresh) > 10 and {answer.body for answer in fresh[-5:]} == {version}

    await until(f"answers of {version}", newest, 30)
