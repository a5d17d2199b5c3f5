"""nats-server comes back with an empty store: told, nothing published on it, and a way out that loses nothing."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from shared.bootstrap import bootstrap
from shared.bus import EVENTS, SERVICES
from shared.errors import Broken
from shared.facts.gateway import ServiceChanged
from shared.facts.operator_proxy import RuntimeChanged
from shared.serving import serve_http
from shared.testing.nats import free_port

from kiops import folder
from tests.flows.conftest import Town, town

__all__ = ["town"]


async def _trouble(town: Town, words: str) -> None:
    async def told() -> bool:
        failing = await town.platform.failing()
        return len(failing) == 7 and all(words in each.get("stream", "") for each in failing.values())

    await town.until(f"all services say: {words}", told)


@pytest.mark.slow
async def test_the_stream_is_not_the_one_that_is_known_until_a_person_accepts_it(town: Town, nats: Any) -> None:
    await town.register()
    await town.push()
    assert (await town.ended(1))["state"] == "success"
    refused = await town.client.post("/api/v1/stream/accept")
    assert {row["code"] for row in refused.json()["items"]} == {"bus.stream_same"}

    nats.stop()
    shutil.rmtree(nats.root / "bus" / "store")
    nats.start()
    await _trouble(town, "its store is empty")
    await bootstrap(nats.url, nats.keys)
    await _trouble(town, "the stream is not the one this database knows")

    # A push is stored and answered; nothing of it goes out on a stream that might be replaced by the right one.
    assert (await town.push()).status_code == 202
    webhook = town.platform.services["webhook"]
    assert await webhook.relay.unsent() >= 1

    gateway = town.platform.services["gateway"].service
    page = await town.client.get("/dashboard", headers={"Accept": "text/html"})

    async def told() -> bool:
        return "the stream is not the one this database knows" in (await town.client.get("/dashboard")).text

    await town.until("the pages say it", told)
    assert gateway and page.status_code in (200, 303)

    accepted = (await town.client.post("/api/v1/stream/accept")).json()["items"]
    assert [row["code"] for row in accepted] == [""] * 7
    assert sum(row["again"] for row in accepted) > 10
    assert (await town.ended(2))["state"] == "success"
    await town.until("quiet", town.platform.settled)
    runs = (await town.client.get("/api/v1/runs?limit=50")).json()["items"]
    assert [(run["number"], run["state"]) for run in runs] == [(2, "success"), (1, "success")], "nothing happened twice"
    letters = (await town.client.get("/api/v1/dead-letters")).json()
    assert letters["items"] == []


@pytest.mark.slow
@pytest.mark.one_database
async def test_a_stream_that_was_cut_short_is_not_published_on_by_those_who_cannot_see_it_themselves(town: Town, nats: Any) -> None:
    """operator-proxy has not read beyond the cut: it learns from the others that there was more."""
    await town.register()
    await town.push()
    assert (await town.ended(1))["state"] == "success"
    await town.until("quiet", town.platform.settled)
    store, older = nats.root / "bus" / "store", nats.root / "older"
    nats.stop()
    shutil.copytree(store, older)
    nats.start()

    # What only the others hear, and something that operator-proxy said, come after the copy.
    gateway, proxy = (town.platform.services[name] for name in ("gateway", "operator-proxy"))
    service = (await town.client.get("/api/v1/services/shop")).json()["id"]
    about = {"name_": "shop", "repository_url": "https://git.invalid/shop.git", "description": "after the copy"}
    async with gateway.service.database.write() as tx:
        await tx.put(ServiceChanged(organisation="main", service=service, **about))
    await _announce(proxy, "before the cut")
    await town.until("quiet again", town.platform.settled)
    cut_off = await _end(town)

    nats.stop()
    shutil.rmtree(store)
    shutil.move(older, store)
    nats.start()

    async def told() -> bool:
        codes = {name: each.strange_stream()[0] for name, each in town.platform.services.items()}
        return set(codes.values()) == {"bus.position_beyond"} and len(codes) == 7

    await town.until("all seven say it", told)
    last = await _end(town)
    assert last < cut_off and proxy.loop.position <= last, "operator-proxy stands before the cut"
    ready = (await town.client.get("/-/operator-proxy/readyz")).json()
    assert ready["stream_code"] == "bus.position_beyond" and "knows: it stands at" in ready["failing"]["stream"]
    status = (await town.client.get("/api/v1/status")).json()
    assert {each["stream_code"] for each in status["services"].values()} == {"bus.position_beyond"}

    async def page() -> bool:
        return "the stream is shorter than" in (await town.client.get("/dashboard")).text

    await town.until("the pages say it", page)
    async with _served(town) as root:
        code, told_by_status = await _kiops("status", "--json", root=root)
        services = json.loads(told_by_status)["services"]
        assert code == 1 and {each["stream_code"] for each in services.values()} == {"bus.position_beyond"}
        code, told_by_doctor = await _kiops("doctor", "--json", root=root)
        rows = [row for row in json.loads(told_by_doctor)["parts"] if row["name"] == "stream"]
        assert code == 3 and {row["state"] for row in rows} == {"wrong"}
        assert all("kiops stream accept" in row["advice"] for row in rows)
        assert sorted(name for row in rows for name in row["where"].split(", ")) == sorted(SERVICES)

    await _announce(proxy, "meanwhile")
    assert (await town.push()).status_code == 202
    with pytest.raises(Broken, match=r"the stream is shorter than .* knows"):
        await proxy.relay._check_stream()
    assert await _end(town) == last and await proxy.relay.unsent() >= 1

    accepted = {row["service"]: row for row in (await town.client.post("/api/v1/stream/accept")).json()["items"]}
    assert {row["code"] for row in accepted.values()} == {""}
    assert accepted["operator-proxy"]["again"] >= 1, "also who saw nothing says again what may have been cut off"
    assert (await town.ended(2))["state"] == "success"
    await town.until("quiet at the end", town.platform.settled)
    assert {each.strange_stream() for each in town.platform.services.values()} == {("", "")}
    assert await _on_the_stream(town, "kiops.operator-proxy.runtime.changed.>") >= 2, "cut off, and said meanwhile"
    assert await _on_the_stream(town, "kiops.gateway.service.changed.>") >= 1
    runs = (await town.client.get("/api/v1/runs?limit=50")).json()["items"]
    assert [(run["number"], run["state"]) for run in runs] == [(2, "success"), (1, "success")], "nothing happened twice"
    assert (await town.client.get("/api/v1/dead-letters")).json()["items"] == []


async def _announce(proxy: Any, label: str) -> None:
    fact = RuntimeChanged(organisation="main", runtime="local", label=label, runtime_kind="docker", reachable=True)
    async with proxy.service.database.write() as tx:
        await tx.put(fact)


async def _end(town: Town) -> int:
    info = await town.platform.services["gateway"].host.bus.api_call(f"STREAM.INFO.{EVENTS}")
    return info["state"]["last_seq"]


async def _on_the_stream(town: Town, subject: str) -> int:
    bus = town.platform.services["gateway"].host.bus
    info = await bus.api_call(f"STREAM.INFO.{EVENTS}", {"subjects_filter": subject})
    return sum(info["state"].get("subjects", {}).values())


@asynccontextmanager
async def _served(town: Town) -> AsyncIterator[Path]:
    """The platform's pages on a port, as the command line finds them: its data folder."""
    root, port = town.platform.settings.root, free_port()
    ready = asyncio.Event()
    serving = asyncio.create_task(serve_http(town.platform.app, "127.0.0.1", port, ready=ready))
    owner = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", "stands for kiops up"])
    try:
        await ready.wait()
        folder.write_state(root, pid=owner.pid, url=f"http://127.0.0.1:{port}")
        yield root
    finally:
        folder.forget_state(root)
        owner.kill()
        owner.wait()
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)


async def _kiops(*words: str, root: Path) -> tuple[int, str]:
    command = [sys.executable, "-m", "kiops", *words, "--data", str(root)]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout
