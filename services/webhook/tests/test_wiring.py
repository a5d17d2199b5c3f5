"""It starts from defaults on a real nats-server, announces a push there, and stops cleanly."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
from shared.bus import EVENTS
from shared.facts.gateway import ServiceRegistered
from shared.queries.webhook import AskEndpointSecret
from webhook.wiring import wire

from .conftest import SHOP, payload, sign


async def test_it_starts_hears_of_a_service_and_announces_its_push(platform: Any, nats: Any) -> None:
    from shared.bus import Bus

    async with platform({"webhook": wire}) as running:
        gateway = Bus("gateway", nats.url, nats.keys / "gateway.nk")
        await gateway.open_patiently()
        try:
            fact = ServiceRegistered(organisation="main", service=SHOP, name_="shop", repository_url="https://h/x.git")
            headers = {"ce-id": "fact-1", "ce-type": fact.type(), "Nats-Msg-Id": "fact-1"}
            await gateway.request(fact.subject, fact.model_dump_json().encode(), headers=headers)
            database = running.services["webhook"].service.database
            endpoint = await _eventually(lambda: _endpoint(database))
            asked = AskEndpointSecret(organisation="main", endpoint=endpoint)
            secret = (await gateway.ask(asked)).secret
            body = json.dumps(payload()).encode()
            transport = httpx.ASGITransport(app=running.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://kiops") as client:
                ready = await client.get("/-/webhook/readyz")
                assert ready.status_code == 200, ready.text
                answer = await client.post(
                    f"/api/v1/webhook/generic/{endpoint}",
                    content=body,
                    headers={"content-type": "application/json", "x-kiops-signature": sign(secret, body)},
                )
            assert answer.status_code == 202, answer.text
            stored = await _eventually(lambda: _subjects(gateway))
            assert stored[-1] == f"kiops.webhook.push.received.main.{SHOP}"
        finally:
            await gateway.close()


async def _endpoint(database: Any) -> str | None:
    import sqlalchemy as sa

    async with database.read() as tx:
        return await tx.scalar(sa.text("select id from endpoints"))


async def _subjects(bus: Any) -> list[str] | None:
    """What the stream holds once the push is in it."""
    info = await bus.api_call(f"STREAM.INFO.{EVENTS}", {"subjects_filter": "kiops.webhook.>"})
    subjects = list(info["state"].get("subjects", {}))
    return sorted(subjects, key=lambda name: "push.received" in name) if any("push.received" in s for s in subjects) else None


async def _eventually(ask: Any) -> Any:
    for _ in range(200):
        if found := await ask():
            return found
        await asyncio.sleep(0.05)
    raise AssertionError("it did not come")
