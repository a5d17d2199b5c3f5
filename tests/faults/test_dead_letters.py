"""A message that a service cannot handle: set aside after its tries, shown, tried again or let be; nothing behind it waits."""

from __future__ import annotations

import json
from typing import Any

import pytest
from shared.facts.webhook import PushReceived
from shared.words import Trigger

from tests.flows.conftest import Town, town

__all__ = ["town"]


@pytest.fixture
def database_url(both_databases: str) -> str:
    return both_databases


async def _poison(town: Town) -> None:
    """A push that is no JSON, as no release of ours would publish it, before the service's next push."""
    bus = town.platform.services["webhook"].host.bus
    subject = PushReceived(
        organisation="main", service="svc_x", run="run_x", number=1, service_name="x", trigger=Trigger.WEBHOOK, commit="0" * 40
    ).subject
    reply = await bus.request(subject, b"{no json", headers={"Nats-Msg-Id": "poison-1", "ce-id": "poison-1"})
    assert "seq" in json.loads(reply.data)


@pytest.mark.slow
async def test_it_is_set_aside_shown_and_tried_again_while_a_push_goes_its_way(town: Town) -> None:
    await town.register()
    await _poison(town)
    assert (await town.push()).status_code == 202
    assert (await town.ended(1))["state"] == "success"

    async def all_have_it() -> Any:
        found = (await town.client.get("/api/v1/dead-letters")).json()
        return found if len(found["items"]) == 5 else None  # all who hear pushes: builder, scanner, gate, deployer, gateway

    found = await town.until("five dead letters", all_have_it)
    assert {row["holder"] for row in found["items"]} == {"builder", "scanner", "gate", "deployer", "gateway"}
    assert {(row["id"], row["code"], row["type"]) for row in found["items"]} == {("poison-1", "message.malformed", "push.received")}
    assert found["total"] == 5 and found["silent"] == []

    whole = (await town.client.get("/api/v1/dead-letters/builder/poison-1")).json()
    assert whole["body"] == "{no json" and whole["headers"]["ce-id"] == "poison-1"

    # It fails again, and comes back.
    assert (await town.client.post("/api/v1/dead-letters/builder/poison-1/replay")).status_code == 204

    async def back() -> Any:
        answer = await town.client.get("/api/v1/dead-letters/builder/poison-1")
        return answer.status_code == 200 and answer.json()["attempts"] == 1

    await town.until("it is back", back)
    assert (await town.client.post("/api/v1/dead-letters/builder/poison-1/dismiss")).status_code == 204
    assert (await town.client.get("/api/v1/dead-letters/builder/poison-1")).status_code == 404
    again = await town.client.post("/api/v1/dead-letters/builder/poison-1/replay")
    assert (again.status_code, again.json()["code"]) == (404, "dead-letter.not_found")
    assert (await town.client.get("/api/v1/dead-letters/nobody/poison-1")).status_code == 404

    async def written_down() -> Any:
        done = (await town.client.get("/api/v1/audit?category=platform")).json()["items"]
        return [row["action"] for row in done] == ["dead letter dismissed", "dead letter replayed"]

    await town.until("both are in the audit", written_down)
    await town.until("quiet", town.platform.settled)


@pytest.mark.slow
async def test_what_can_be_handled_again_after_the_cause_is_mended_goes_its_way(town: Town) -> None:
    """The handler breaks for a while: the message is given up, then replayed, and does its work then."""
    await town.register()
    builder = town.platform.services["builder"]
    kind = PushReceived.type()
    cls, handler, key = builder.loop.subscribers.table[kind]
    broken = True

    async def sometimes(tx: Any, message: Any, envelope: Any) -> None:
        if broken:
            raise RuntimeError("a defect")
        await handler(tx, message, envelope)

    builder.loop.subscribers.table[kind] = (cls, sometimes, key)
    assert (await town.push()).status_code == 202
    parked = builder.service.database.metadata.tables["parked"]

    async def given_up() -> Any:
        async with builder.service.database.write() as tx:  # the tries come at once instead of within five minutes
            await tx.execute(parked.update().values(due_at_ms=0))
        return (await town.client.get("/api/v1/dead-letters")).json()["items"]

    letter = (await town.until("it is given up", given_up))[0]
    assert (letter["holder"], letter["code"], letter["attempts"]) == ("builder", "message.broken", 12)
    assert letter["run"] == (await town.run(1))["id"]
    broken = False
    assert (await town.client.post(f"/api/v1/dead-letters/builder/{letter['id']}/replay")).status_code == 204
    assert (await town.ended(1))["state"] == "success"
