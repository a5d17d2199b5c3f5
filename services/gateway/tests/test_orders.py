"""What people order: stored, sent once, answered or not yet; and the catalogue that others learn from facts."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
import sqlalchemy as sa
from gateway.tables import owned
from gateway_props import Gateway, answering, publish
from shared.facts import deployer, webhook
from shared.orders.deployer import SetEnvironment
from shared.orders.webhook import CancelRun, SetRule, StartRun
from shared.sealing import KeyPair
from shared.words import Trigger

COMMIT = "9f3c1ab7d1e84b3f7c0a54f2b6f0c3d2a1e4b5c6"
SHOP = {"name": "shop", "repository_url": "https://git.example.org/shop.git"}


async def sent(gateway: Gateway) -> list[Any]:
    """What went to the stream through the outbox, in order."""
    async with gateway.owned.read() as tx:
        rows = await tx.all(sa.select(gateway.owned.outbox).order_by(gateway.owned.outbox.c.position))
    return [(row.id, ".".join(row.subject.split(".")[2:4]), json.loads(row.body)) for row in rows]


def answer_orders(gateway: Gateway, name: str, answer: dict[str, Any]) -> asyncio.Task[None]:
    """The receiver's part: sees the order in the outbox, tells its answer with webhook's own key."""

    async def work() -> None:
        import nats

        bus = gateway.platform.services["gateway"].host.bus
        client = await nats.connect(
            bus.url, nkeys_seed=str(gateway.root / "bus" / "keys" / "webhook.nk"), inbox_prefix=b"_INBOX_webhook"
        )
        try:
            while True:
                for intent, kind, body in await sent(gateway):
                    if kind == name:
                        told = {"organisation": body["organisation"], "intent": intent} | answer
                        await client.publish(f"kiops.gateway.order.answered.main.{intent}", json.dumps(told).encode())
                        await client.flush()
                        return
                await asyncio.sleep(0.01)
        finally:
            await client.close()

    return asyncio.create_task(work())


@pytest.mark.slow
async def test_registering_announces_the_service_then_orders_its_environment_and_rule(gateway: Gateway) -> None:
    secret = "-".join(("not", "a", "real", "token"))
    body = SHOP | {"environment": {"name": "development"}, "credential": {"username": "ci", "password": secret}}
    made = await gateway.client.post("/api/v1/services", json=body)
    assert made.status_code == 201, made.text
    service = made.json()["service"]
    # Nobody answered the orders: they are stored and not refused; the gateway's own fact can be read already.
    assert [each["state"] for each in made.json()["orders"]] == ["asked", "asked"] and made.json()["seen"]
    out = await sent(gateway)
    assert [kind for _, kind, _ in out if kind != "operation.performed"] == ["service.registered", "environment.set", "rule.set"]
    assert secret not in json.dumps(out), "no message carries a secret"
    environment = next(SetEnvironment.model_validate(body) for _, kind, body in out if kind == "environment.set")
    rule = next(SetRule.model_validate(body) for _, kind, body in out if kind == "rule.set")
    assert (environment.environment, environment.service, environment.by) == ("development", service, "admin")
    assert (rule.branches, rule.environments, rule.tags) == (["main"], ["development"], [])
    assert {environment.intent, rule.intent} <= {name for name, _, _ in out}, "an order goes out under its intent's id"
    shown = (await gateway.client.get("/api/v1/services/shop")).json()
    assert shown["id"] == service and shown["has_credential"] and secret not in json.dumps(shown)
    # Only the services that may open it can: the gateway stores ciphertext.
    async with gateway.owned.read() as tx:
        rows = await tx.all(sa.select(owned.credentials))
    assert {row.recipient for row in rows} == {"webhook", "builder", "scanner"}
    assert secret not in repr(rows)
    sealed = next(row for row in rows if row.recipient == "builder")
    opened = KeyPair.load(gateway.root / "keys" / "builder.key").open(sealed.sealed)
    assert json.loads(opened) == {"username": "ci", "password": secret}


@pytest.mark.slow
async def test_a_service_asks_for_the_credential_and_gets_what_only_it_can_open(gateway: Gateway) -> None:
    secret = "-".join(("another", "one"))
    await gateway.client.post("/api/v1/services", json=SHOP | {"credential": {"password": secret}})
    async with gateway.owned.read() as tx:
        row = await tx.one(sa.select(owned.catalogue))
    async with answering(gateway, "builder", {}) as builder:
        for credential, asker, works in (
            (row.credential_id, "builder", True),
            (row.credential_id, "gate", False),
            ("crd_x", "builder", False),
        ):
            query = {"organisation": "main", "service": row.id, "credential": credential, "asker": asker}
            reply = await builder.request(f"kiops.gateway.credential.lease.main.{row.id}", json.dumps(query).encode(), timeout=2)
            told = json.loads(reply.data)
            if works:
                assert secret in KeyPair.load(gateway.root / "keys" / "builder.key").open(told["sealed"])
            else:
                assert told["error"] == "credential.not_found" and not told["sealed"]


@pytest.mark.slow
async def test_names_are_unique_and_a_refused_field_is_named(gateway: Gateway) -> None:
    assert (await gateway.client.post("/api/v1/services", json=SHOP)).status_code == 201
    taken = await gateway.client.post("/api/v1/services", json=SHOP)
    assert (taken.status_code, taken.json()["code"]) == (409, "service.name_taken")
    outside = await gateway.client.post("/api/v1/services", json={"name": "other", "repository_url": "/etc"})
    assert (outside.status_code, outside.json()["code"]) == (422, "service.path_not_allowed")
    async with gateway.owned.read() as tx:
        assert await tx.scalar(sa.select(sa.func.count()).select_from(owned.catalogue)) == 1


@pytest.mark.slow
async def test_a_service_is_changed_and_deleted_by_its_typed_name(gateway: Gateway) -> None:
    await gateway.client.post("/api/v1/services", json=SHOP | {"credential": {"password": "-".join("abc")}})
    changed = await gateway.client.patch("/api/v1/services/shop", json={"description": "The front door", "forget_credential": True})
    assert changed.json() == {"seen": True}
    shown = (await gateway.client.get("/api/v1/services/shop")).json()
    assert shown["description"] == "The front door" and not shown["has_credential"]
    wrong = await gateway.client.post("/api/v1/services/shop/delete", json={"name": "shopp"})
    assert wrong.status_code == 422
    assert (await gateway.client.post("/api/v1/services/shop/delete", json={"name": "shop"})).json() == {"seen": True}
    assert (await gateway.client.get("/api/v1/services/shop")).status_code == 404
    async with gateway.owned.read() as tx:
        assert await tx.scalar(sa.select(sa.func.count()).select_from(owned.credentials)) == 0
    again = await gateway.client.post("/api/v1/services", json=SHOP)
    assert again.status_code == 201, "the name is free again"


@pytest.mark.slow
async def test_an_accepted_build_is_shown_before_the_answer(gateway: Gateway) -> None:
    await gateway.client.post("/api/v1/services", json=SHOP)
    service = (await gateway.client.get("/api/v1/services/shop")).json()["id"]

    def resolve(query: dict[str, Any]) -> dict[str, Any]:
        known = {"refs/heads/main": {"branch": "main"}, "refs/tags/v1": {"tag": "v1"}, COMMIT[:7]: {"branch": "main"}}
        name = query["name_"]
        return (
            {"commit": COMMIT} | known[name]
            if name in known
            else {"error": "source.ref_not_found", "detail": f"There is no {name}."}
        )

    async def begin_run() -> None:
        while True:
            for intent, kind, body in await sent(gateway):
                if kind == "run.start":
                    fact = webhook.PushReceived(
                        organisation="main", service=service, run="run_1", number=1, service_name="shop", trigger=body["trigger"],
                        executor=body["executor"], commit=body["commit"], branch=body["branch"], plan=["source", "build"],
                    )  # fmt: skip
                    headers = {"ce-id": "webhook-1", "ce-type": fact.type(), "ce-correlationid": "run_1", "ce-causationid": intent}
                    bus = gateway.platform.services["gateway"].host.bus
                    await publish(gateway.root, "webhook", bus.url, fact.subject, fact.model_dump_json().encode(), headers)
                    return
            await asyncio.sleep(0.01)

    async with answering(gateway, "webhook", {"kiops.webhook.source.resolve": resolve}):
        born = asyncio.create_task(begin_run())
        told = answer_orders(gateway, "run.start", {"accepted": True, "data": {"run": "run_1", "number": "1"}})
        started = await gateway.client.post("/api/v1/services/shop/builds", json={"version": "1.2.3"})
        await asyncio.gather(born, told)
        assert started.status_code == 202, started.text
        assert started.json() | {"intent": ""} == {
            "intent": "", "state": "accepted", "data": {"run": "run_1", "number": "1"}, "seen": True
        }  # fmt: skip
        run = (await gateway.client.get("/api/v1/services/shop/runs/1")).json()
        assert (run["id"], run["trigger"], run["executor"], run["commit"]) == ("run_1", "api", "admin", COMMIT)
        order = next(StartRun.model_validate(body) for _, kind, body in await sent(gateway) if kind == "run.start")
        assert (order.version, order.branch, order.commit, order.trigger) == ("1.2.3", "main", COMMIT, Trigger.API)
        unknown = await gateway.client.post("/api/v1/services/shop/builds", json={"branch": "nope"})
        assert (unknown.status_code, unknown.json()["code"]) == (422, "source.ref_not_found")
        both = await gateway.client.post("/api/v1/services/shop/builds", json={"branch": "a", "tag": "b"})
        assert both.json()["code"] == "input.ref"


@pytest.mark.slow
async def test_an_order_that_stands_on_the_stream_is_not_yet_shown(gateway: Gateway) -> None:
    """The order's own message goes by the read model's loop before anything came of it."""
    await gateway.client.post("/api/v1/services", json=SHOP)
    await gateway.settled()
    told = answer_orders(gateway, "run.start", {"accepted": True})
    async with answering(gateway, "webhook", {"kiops.webhook.source.resolve": lambda query: {"commit": COMMIT, "branch": "main"}}):
        started = await gateway.client.post("/api/v1/services/shop/builds", json={})
    await told
    assert started.status_code == 202, started.text
    assert (started.json()["state"], started.json()["seen"]) == ("accepted", False), "nothing came of it yet"


@pytest.mark.slow
async def test_a_refusal_is_told_in_the_receivers_words_and_a_time_out_is_none(gateway: Gateway) -> None:
    await gateway.client.post("/api/v1/services", json=SHOP)
    service = (await gateway.client.get("/api/v1/services/shop")).json()["id"]
    await gateway.tell(
        webhook.RunStarted(
            organisation="main", service=service, run="run_1", number=1, service_name="shop", trigger="rollback", plan=["gate"]
        )
    )
    told = answer_orders(
        gateway,
        "run.cancel",
        {"accepted": False, "code": "run.ended", "reason": "Run #1 has ended.", "advice": "Nothing is to be done."},
    )
    refused = await gateway.client.post("/api/v1/runs/run_1/cancel")
    await told
    assert refused.status_code == 409
    assert [refused.json()[key] for key in ("code", "detail", "advice")] == [
        "run.ended",
        "Run #1 has ended.",
        "Nothing is to be done.",
    ]
    later = await gateway.client.post("/api/v1/runs/run_1/cancel")
    assert later.status_code == 202 and later.json()["state"] == "asked"
    orders = [CancelRun.model_validate(body) for _, kind, body in await sent(gateway) if kind == "run.cancel"]
    assert len(orders) == 2 and orders[0].by == "admin"
    await gateway.settled()
    audit = (await gateway.client.get("/api/v1/audit?category=order")).json()["items"]
    assert [(row["outcome"], row["detail"]) for row in audit] == [("refused", "Run #1 has ended.")]
    assert (await gateway.client.get("/api/v1/audit/chain")).json()["broken_at"] is None


@pytest.mark.slow
async def test_a_rollback_is_a_run_of_an_older_release(gateway: Gateway) -> None:
    await gateway.client.post("/api/v1/services", json=SHOP)
    service = (await gateway.client.get("/api/v1/services/shop")).json()["id"]
    of = {"organisation": "main", "service": service, "environment": "development", "runtime": "local", "commit": COMMIT}
    await gateway.tell(
        *(
            deployer.DeployPlanned(**of, run=f"run_{n}", number=n, request=f"req_{n}", release=f"rel_{n}", release_number=n)
            for n in (1, 2)
        )
    )

    def preview(query: dict[str, Any]) -> dict[str, Any]:
        return {
            "release": query["release"] or "rel_1", "release_number": 1, "from_number": 2,
            "image_exists": True, "target_reachable": True, "lines": ["- image shop:2", "+ image shop:1"],
        }  # fmt: skip

    async with answering(gateway, "deployer", {"kiops.deployer.rollback.preview": preview}):
        shown = (await gateway.client.get("/api/v1/services/shop/rollback?environment=development")).json()
        assert shown["release"] == "rel_1" and shown["lines"][1] == "+ image shop:1"
        back = await gateway.client.post("/api/v1/services/shop/rollback", json={"environment": "development"})
        assert back.status_code == 202, back.text
        again = await gateway.client.post("/api/v1/services/shop/deploys", json={"release": "rel_2"})
        assert again.status_code == 202
    orders = [StartRun.model_validate(body) for _, kind, body in await sent(gateway) if kind == "run.start"]
    assert [(o.trigger, o.release, o.release_number, o.environments) for o in orders] == [
        ("rollback", "rel_1", 1, ["development"]),
        ("manual", "rel_2", 2, ["development"]),
    ]
    missing = await gateway.client.post("/api/v1/services/shop/rollback", json={"environment": "development", "release": "rel_9"})
    assert (missing.status_code, missing.json()["code"]) == (404, "release.not_found")


async def test_a_question_that_nobody_answers_is_unavailable_and_says_so(gateway: Gateway) -> None:
    asked = await gateway.client.post("/api/v1/sources/test", json={"repository_url": "https://git.example.org/shop.git"})
    assert asked.status_code == 503 and asked.json()["code"] == "bus.no_answer" and "retry-after" in asked.headers


async def test_the_connection_test_seals_what_was_typed(gateway: Gateway) -> None:
    secret = "-".join(("typed", "just", "now"))
    seen: list[dict[str, Any]] = []

    def tested(query: dict[str, Any]) -> dict[str, Any]:
        seen.append(query)
        return {"branches": [{"name": "main", "commit": COMMIT}], "tags": [], "default_branch": "main"}

    async with answering(gateway, "webhook", {"kiops.webhook.source.test": tested}):
        found = await gateway.client.post(
            "/api/v1/sources/test",
            json={"repository_url": "https://git.example.org/shop.git", "credential": {"password": secret}},
        )
    assert found.json()["default_branch"] == "main"
    assert secret not in json.dumps(seen)
    assert secret in KeyPair.load(gateway.root / "keys" / "webhook.key").open(seen[0]["sealed"])


@pytest.mark.slow
async def test_the_secret_of_an_endpoint_is_asked_for_and_audited(gateway: Gateway) -> None:
    await gateway.client.post("/api/v1/services", json=SHOP)
    service = (await gateway.client.get("/api/v1/services/shop")).json()["id"]
    await gateway.tell(
        webhook.EndpointChanged(
            organisation="main",
            service=service,
            endpoint="ep_1",
            label="Local",
            provider="generic",
            path="/api/v1/webhook/generic/ep_1",
            state="ready",
        )
    )
    value = "-".join(("whsec", "test"))
    async with answering(
        gateway,
        "webhook",
        {"kiops.webhook.endpoint.secret": lambda q: {"endpoint": q["endpoint"], "label": "Local", "path": "/p", "secret": value}},
    ):
        shown = await gateway.client.post("/api/v1/endpoints/ep_1/secret")
    assert shown.json()["secret"] == value
    await gateway.settled()
    listed = (await gateway.client.get("/api/v1/services/shop/endpoints")).json()["items"]
    assert listed[0]["url"].endswith("/api/v1/webhook/generic/ep_1") and value not in json.dumps(listed)
    audit = (await gateway.client.get("/api/v1/audit?category=webhook")).json()["items"]
    assert [row["action"] for row in audit] == ["secret shown"] and value not in json.dumps(audit)
