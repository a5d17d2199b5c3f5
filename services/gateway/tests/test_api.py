"""The API: its document, paging, idempotency, and named errors for everything that is asked wrongly."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import gateway_journeys as journeys
import httpx
import pytest
from gateway_props import Gateway
from shared.runtime import serve_http
from shared.testing.nats import free_port

SHOP = {"name": "shop", "repository_url": "https://git.example.org/shop.git"}
PROBLEM = "application/problem+json"


@pytest.mark.slow
async def test_a_whole_run_is_told_over_the_api(gateway: Gateway) -> None:
    story = journeys.registered()
    journeys.good_push(story, 1, 1)
    journeys.blocked_push(story, 2, 60)
    await gateway.tell(*(message for message, _ in story.told))
    run = (await gateway.client.get("/api/v1/services/shop/runs/1")).json()
    assert run["state"] == "success" and run["build"]["size_bytes"] == 58_000_000
    line = run["timeline"]
    assert sum(each["counts_ms"] for each in line["segments"]) == line["wall_ms"] == line["worked_ms"] + line["waited_ms"]
    assert [event["kind"] for event in run["deploys"][0]["events"]] == [
        "requested", "decided", "planned", "started", "progressed", "ready", "settled"
    ]  # fmt: skip
    listed = (await gateway.client.get("/api/v1/runs?service=shop&state=blocked")).json()
    assert [each["number"] for each in listed["items"]] == [2] and listed["next"] is None
    explained = (await gateway.client.get("/api/v1/runs/run_2/decisions")).json()["items"]
    assert explained[0]["verdict"] == "block" and explained[0]["body"]["reasons"][0]["rule"] == "secrets.none"
    found = (await gateway.client.get("/api/v1/runs/run_2/findings?severity=critical")).json()["items"]
    assert [(each["path"], each["line"], each["novelty"]) for each in found] == [("prices.py", 4, "new")]
    scans = (await gateway.client.get("/api/v1/runs/run_1/scans")).json()["items"]
    assert len(scans) == 7 and scans[0]["engines"][0]["name"] == "semgrep"
    releases = (await gateway.client.get("/api/v1/services/shop/releases")).json()["items"]
    assert [(each["number"], each["state"]) for each in releases] == [(1, "serving")]
    service = (await gateway.client.get("/api/v1/services/shop")).json()
    assert service["environments"][0]["url"] == "http://127.0.0.1:8641/" and service["rule"]["branches"] == ["main"]


@pytest.mark.slow
async def test_pages_follow_each_other_without_gap_or_repeat(gateway: Gateway) -> None:
    for number in range(7):
        made = await gateway.client.post("/api/v1/services", json=SHOP | {"name": f"shop-{number}"})
        assert made.status_code == 201
    seen, cursor = [], ""
    while True:
        page = (await gateway.client.get("/api/v1/services", params={"limit": 3, "cursor": cursor})).json()
        seen += [each["name"] for each in page["items"]]
        if page["next"] is None:
            break
        cursor = page["next"]
    assert seen == [f"shop-{number}" for number in range(7)]
    rows, cursor = [], ""
    while cursor is not None:
        page = (await gateway.client.get("/api/v1/audit", params={"limit": 4, "cursor": cursor})).json()
        rows += [each["sequence"] for each in page["items"]]
        cursor = page["next"]
    assert rows == sorted(set(rows), reverse=True) and len(rows) > 7
    for bad in ("x", "!!!", "W10", "WyJhIiwiYiJd", "W251bGxd", "a" * 501, "WyJcdTAwMDAiXQ"):
        refused = await gateway.client.get("/api/v1/services", params={"cursor": bad})
        assert refused.status_code == 422, bad


@pytest.mark.slow
async def test_a_repeated_key_gets_the_first_answer_again(gateway: Gateway) -> None:
    key = {"Idempotency-Key": "try-1"}
    first = await gateway.client.post("/api/v1/services", json=SHOP, headers=key)
    again = await gateway.client.post("/api/v1/services", json=SHOP, headers=key)
    assert first.status_code == again.status_code == 201 and first.json() == again.json()
    assert again.headers["idempotency-replayed"] == "true" and "idempotency-replayed" not in first.headers
    other = await gateway.client.post("/api/v1/services", json=SHOP | {"name": "other"}, headers=key)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency.reused")
    # A refusal is an answer, too; what is only unavailable is not.
    refused = [await gateway.client.post("/api/v1/services", json=SHOP, headers={"Idempotency-Key": "try-2"}) for _ in range(2)]
    assert [each.json()["code"] for each in refused] == ["service.name_taken"] * 2
    assert refused[1].headers["idempotency-replayed"] == "true" and refused[1].headers["content-type"] == PROBLEM
    test = {"repository_url": SHOP["repository_url"]}
    for _ in range(2):
        away = await gateway.client.post("/api/v1/sources/test", json=test, headers={"Idempotency-Key": "try-3"})
        assert away.status_code == 503 and "idempotency-replayed" not in away.headers
    for bad in ("", "a" * 201, "with blank"):
        wrong = await gateway.client.post("/api/v1/services", json=SHOP, headers={"Idempotency-Key": bad})
        assert wrong.status_code == 422
    both = await asyncio.gather(
        *(
            gateway.client.post("/api/v1/services", json=SHOP | {"name": "twice"}, headers={"Idempotency-Key": "try-4"})
            for _ in range(2)
        )
    )
    assert sorted(each.status_code for each in both) in ([201, 201], [201, 409])
    names = [each["name"] for each in (await gateway.client.get("/api/v1/services")).json()["items"]]
    assert names == ["shop", "twice"]


BAD_BODIES: list[tuple[bytes, str]] = [
    (b"", "application/json"),
    (b"{", "application/json"),
    (b"[]", "application/json"),
    (b"null", "application/json"),
    (b'"x"', "application/json"),
    (b"\xff\xfe{}", "application/json"),
    (b'{"name": "sh\\u0000op", "repository_url": "https://x.example/y"}', "application/json"),
    (b'{"name": "shop", "repository_url": "https://x.example/\\ud800"}', "application/json"),
    (b'{"name": "shop", "repository_url": "https://x.example/y", "branch": "\\udfff"}', "application/json"),
    (b'{"name": "shop", "repository_url": "https://x.example/y", "extra": 1}', "application/json"),
    (b'{"name": 1, "repository_url": []}', "application/json"),
    (
        b'{"name": "shop", "repository_url": "https://x.example/y", "environment": {"name": "d", "container_port": 1e400}}',
        "application/json",
    ),
    (
        b'{"name": "shop", "repository_url": "https://x.example/y", "environment": {"name": "d", "container_port": NaN}}',
        "application/json",
    ),
    (b'{"name": "' + b"a" * 10_000 + b'", "repository_url": "https://x.example/y"}', "application/json"),
    (b"[" * 5000 + b"]" * 5000, "application/json"),
    (b"name=shop", "application/x-www-form-urlencoded"),
    (b"name=shop", "text/plain"),
    (b"--x\r\n", "multipart/form-data; boundary=x"),
]


@pytest.mark.slow
async def test_whatever_is_sent_the_answer_is_a_named_problem(gateway: Gateway) -> None:
    for body, kind in BAD_BODIES:
        answer = await gateway.client.post("/api/v1/services", content=body, headers={"content-type": kind})
        assert 400 <= answer.status_code < 500, (body[:60], answer.status_code, answer.text)
        assert answer.headers["content-type"] == PROBLEM and answer.json()["code"]
    large = await gateway.client.post("/api/v1/services", content=b"x" * (2 << 20), headers={"content-type": "application/json"})
    assert (large.status_code, large.json()["code"]) == (413, "request.too_large")

    async def endless() -> Any:
        for _ in range(40):
            yield b" " * 65_536

    streamed = await gateway.client.post("/api/v1/services", content=endless(), headers={"content-type": "application/json"})
    assert (streamed.status_code, streamed.json()["code"]) == (413, "request.too_large")
    for path in (
        "/api/v1/services/%00", "/api/v1/services?search=%00", "/api/v1/services/%ff%fe", "/api/v1/services/" + "a" * 5000,
        "/api/v1/services/%F0%9F%92%A9", "/api/v1/runs/..%2f..%2fetc", "/api/v1/services/shop/runs/0",
        "/api/v1/services/shop/runs/99999999999999999999",
        "/api/v1/services/shop/runs/x", "/api/v1/runs?state=nope", "/api/v1/runs?limit=0", "/api/v1/runs?limit=x",
        "/api/v1/builds/x/log?after=-1",
        "/api/v1/runs?service=nope", "/api/v1/nope", "/api/v1/decisions/'; drop table runs;--",
    ):  # fmt: skip
        answer = await gateway.client.get(path)
        assert 400 <= answer.status_code < 500, (path[:60], answer.status_code)
        assert answer.headers["content-type"] == PROBLEM and answer.json()["code"], path
    assert (await gateway.client.delete("/api/v1/services")).status_code in (404, 405)
    assert (await gateway.client.get("/api/v1/services?search=%ff")).status_code == 200


@pytest.mark.slow
async def test_the_document_describes_every_route(gateway: Gateway) -> None:
    """What is asked of them, and that all their answers are in it, is test_schema's."""
    document = (await gateway.client.get("/api/v1/openapi.json")).json()
    assert document["openapi"].startswith("3.1")
    assert {"/api/v1/runs/{run}", "/api/v1/services", "/api/v1/builds/{build}/log", "/api/v1/audit", "/api/v1/status"} <= set(
        document["paths"]
    )
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            assert operation["summary"] and operation["description"], (path, method)
            assert "4XX" in operation["responses"]


@pytest.mark.slow
async def test_status_names_every_service_and_the_memory_of_all_processes(gateway: Gateway) -> None:
    status = (await gateway.client.get("/api/v1/status")).json()
    assert status["ready"] and status["settled"] and list(status["services"]) == ["gateway"]
    here = status["services"]["gateway"]
    assert here["ready"] and here["failing"] == {} and here["stream_code"] == ""
    (one,) = here["instances"]
    assert one["here"] and one["silent_seconds"] == 0 and set(one["roles"]) == {"reader", "relay", "scheduler"}
    assert status["rss_mb"] >= status["pss_mb"] > 10


@pytest.fixture
async def served(gateway: Gateway) -> Any:
    """The same over a real socket, where answers can be streams."""
    port, ready = free_port(), asyncio.Event()
    task = asyncio.create_task(serve_http(gateway.platform.app, "127.0.0.1", port, ready=ready))
    await ready.wait()
    async with httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{port}", headers={"authorization": gateway.client.headers["authorization"]}, timeout=10
    ) as client:
        yield client
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def events(
    response: httpx.Response, count: int, found: list[tuple[str, Any, str]] | None = None
) -> list[tuple[str, Any, str]]:
    """(event, data, id) of the first so many events; each is in `found` as soon as it was read."""
    found, name, number = found if found is not None else [], "", ""
    async for line in response.aiter_lines():
        if line.startswith("event: "):
            name = line[7:]
        elif line.startswith("id: "):
            number = line[4:]
        elif line.startswith("data: "):
            found.append((name, json.loads(line[6:]), number))
            number = ""
            if len(found) == count:
                break
    return found


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.mark.slow
async def test_open_pages_learn_what_the_projections_learnt(gateway: Gateway, served: httpx.AsyncClient) -> None:
    story = journeys.registered()
    journeys.push(story, 1)
    async with served.stream("GET", "/api/v1/events") as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        read: list[Any] = []
        reading = asyncio.create_task(events(response, 1 + len(story.told), read))
        await until(lambda: bool(read))
        await gateway.tell(*(message for message, _ in story.told))
        async with asyncio.timeout(30):
            heard = await reading
    assert heard[0][0] == "stream-state" and heard[0][1]["live"] is True
    pushed = next(data for _, data, _ in heard if data.get("kind") == "push.received")
    assert (pushed["run"], pushed["service"]) == ("run_1", "svc_shop")
    async with served.stream("GET", "/api/v1/runs/run_1/events") as response:
        read = []
        reading = asyncio.create_task(events(response, 2, read))
        await until(lambda: bool(read))
        journeys.finished(story, 1, "success")
        await gateway.tell(story.told[-1][0])
        async with asyncio.timeout(30):
            assert (await reading)[1][1]["kind"] == "run.finished"


@pytest.mark.slow
async def test_pages_are_told_when_the_bus_is_away(gateway: Gateway, served: httpx.AsyncClient, nats: Any) -> None:
    async with served.stream("GET", "/api/v1/events") as response:
        read: list[Any] = []
        reading = asyncio.create_task(events(response, 3, read))
        await until(lambda: bool(read))
        nats.kill()
        # Pages still answer from the read model meanwhile.
        assert (await gateway.client.get("/api/v1/services")).status_code == 200
        await until(lambda: len(read) == 2)
        nats.start()
        async with asyncio.timeout(60):
            assert [data["live"] for _, data, _ in await reading] == [True, False, True]


@pytest.mark.slow
async def test_a_build_log_is_followed_live_and_continued_where_it_was(gateway: Gateway, served: httpx.AsyncClient) -> None:
    story = journeys.registered()
    journeys.push(story, 1)
    journeys.built(story, 1, 1)
    begun, end = story.told[:-1], story.told[-1]
    await gateway.tell(*(message for message, _ in begun))

    async def write(message: dict[str, Any]) -> None:
        import nats

        bus = gateway.platform.services["gateway"].host.bus
        client = await nats.connect(
            bus.url, nkeys_seed=str(gateway.root / "bus" / "keys" / "builder.nk"), inbox_prefix=b"_INBOX_builder"
        )
        await client.jetstream().publish("log.builder.main.bld_1", json.dumps(message).encode())
        await client.close()

    def lines(first: int, last: int) -> list[list[Any]]:
        return [[number * 10, "build", 1, f"line {number}"] for number in range(first, last + 1)]

    await write({"from": 0, "lines": lines(1, 3), "progress": {"percent": 40, "stage": "build", "text": "step 2"}, "end": False})
    text = await served.get("/api/v1/builds/bld_1/log")
    assert text.text == "line 1\nline 2\nline 3\n"
    async with served.stream(
        "GET", "/api/v1/builds/run_1/log", headers={"accept": "text/event-stream", "last-event-id": "2"}
    ) as response:
        read: list[Any] = []
        reading = asyncio.create_task(events(response, 5, read))
        await until(lambda: len(read) == 2)
        await write({"from": 3, "lines": lines(4, 5), "progress": None, "end": True})
        from shared.objects import ObjectStore

        stored = "\n".join(json.dumps(line) for line in lines(1, 5)).encode()
        reference = await ObjectStore(gateway.root / "objects", "builder").put(stored, "ndjson")
        await gateway.tell(end[0].model_copy(update={"log": reference, "log_lines": 5}))
        async with asyncio.timeout(30):
            heard = await reading
    assert [(name, number) for name, _, number in heard] == [
        ("line", "3"),
        ("progress", ""),
        ("line", "4"),
        ("line", "5"),
        ("end", ""),
    ]
    finished = await served.get("/api/v1/builds/bld_1/log?after=3", headers={"accept": "application/x-ndjson"})
    assert [json.loads(row)["number"] for row in finished.text.splitlines()] == [4, 5]
    again = await served.get("/api/v1/builds/bld_1/log", headers={"accept": "text/event-stream", "last-event-id": "4"})
    assert "line 5" in again.text and "line 4" not in again.text
