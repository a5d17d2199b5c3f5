"""The service on a real bus: an order in, facts out, a question answered; it starts from its defaults and stops."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from operator_proxy import cleanup
from operator_proxy.clients.docker import Engine
from operator_proxy.wiring import wire
from shared.facts.operator_proxy import ReleaseObserved, RuntimeChanged
from shared.hosting import Host, Service
from shared.orders.operator_proxy import ApplyRelease
from shared.queries.operator_proxy import AskPreflight
from shared.subscribers import Subscribers
from shared.tables import NAMING, chassis_tables

from shared import platform as platforms

metadata = sa.MetaData(naming_convention=NAMING)
chassis_tables(metadata)


@pytest.fixture
def databases(databases: Mapping[str, tuple[str, str] | None]) -> Mapping[str, tuple[str, str] | None]:
    """Besides the service's own an empty one for the other side."""
    return {**databases, "deployer": None}


@asynccontextmanager
async def deployer(host: Host) -> Any:
    """The other side: hears what the operator-proxy says, and orders by its own outbox."""
    from shared.bus import HEARS

    heard: list[Any] = []
    on = Subscribers()
    for message in HEARS["deployer"]:

        @on(message)
        async def note(tx: Any, fact: Any, envelope: Any) -> None:
            heard.append(fact)

    async with host.open_database(metadata, package="operator_proxy", migrations="none") as database:
        async with database.write() as tx:
            await tx.connection.run_sync(metadata.create_all)
        assert host.platform
        host.platform.facts["heard"] = heard
        yield Service("deployer", database, subscribers=on)


async def test_order_over_the_bus(platform: Any, nats: Any, settings: Any, engine: Engine, images: dict[str, str]) -> None:
    @asynccontextmanager
    async def proxy(host: Host) -> Any:
        async with wire(host, settings) as service:
            yield service

    try:
        async with platform({"operator-proxy": proxy, "deployer": deployer}) as p:
            orders, heard = p.services["deployer"], p.facts["heard"]
            order = ApplyRelease(
                organisation="main",
                service="svc_shop",
                runtime="local",
                release="rel_1",
                release_number=1,
                run="run_1",
                environment="development",
                service_name="shop",
                image="sample",
                image_id=images["one"],
                container_port=8080,
                fence=1,
                observe_seconds=1,
            )
            async with orders.service.database.write() as tx:
                await tx.put(order, correlation="run_1")
            async with asyncio.timeout(90):
                while not any(isinstance(fact, ReleaseObserved) and fact.phase == "settled" for fact in heard):
                    await asyncio.sleep(0.05)
            phases = [fact.phase.value for fact in heard if isinstance(fact, ReleaseObserved)]
            assert phases == ["starting", "probing", "switched", "healthy", "settled"]
            assert [fact.reachable for fact in heard if isinstance(fact, RuntimeChanged)] == [True]
            query = AskPreflight(organisation="main", runtime="local", image_id=images["one"])
            answer = await orders.host.bus.ask(query)
            assert answer.reachable and answer.image_exists and not answer.error
            answer = await orders.host.bus.ask(query.model_copy(update={"image_id": "sha256:" + "0" * 64}))
            assert answer.reachable and not answer.image_exists
            assert p.facts["edge"]["answering"] and await p.services["operator-proxy"].failing() == {}
    finally:
        await cleanup.remove_all(platforms.platform_id(nats.root), keep_edge_image=True, socket=engine.socket)


async def test_starts_without_an_engine_and_says_so(platform: Any, settings: Any, tmp_path: Path) -> None:
    """Ready all the same: what was seen is told."""
    away = settings.model_copy(update={"engine_socket": tmp_path / "nobody.sock"})

    @asynccontextmanager
    async def proxy(host: Host) -> Any:
        async with wire(host, away) as service:
            yield service

    async with platform({"operator-proxy": proxy, "deployer": deployer}) as p:
        async with asyncio.timeout(60):
            while await p.services["operator-proxy"].failing():
                await asyncio.sleep(0.05)
        assert "does not answer" in p.facts["edge"]["engine"] and not p.facts["edge"]["answering"]
        async with httpx.AsyncClient(transport=httpx.ASGITransport(p.app), base_url="http://kiops") as http:
            said = await http.get("/-/operator-proxy/readyz")
        assert said.status_code == 200 and "does not answer" in said.json()["remarks"]["engine"]
        query = AskPreflight(organisation="main", runtime="local", image_id="sha256:" + "0" * 64)
        answer = await p.services["deployer"].host.bus.ask(query)
        assert not answer.reachable and "does not answer" in answer.detail and answer.advice
