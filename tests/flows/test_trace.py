"""One trace from the delivery to the healthy container, as a collector sees it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from shared.bus import SERVICES

from shared import tracing
from tests.flows.collector import Collector, Taken, collector
from tests.flows.conftest import Town, town_of

pytestmark = pytest.mark.one_database  # what is told is the same on both; the chassis' own tests read it on both

SERVER, CLIENT, PRODUCER, CONSUMER = 2, 3, 4, 5


@pytest.fixture
async def traced(platform: Any, tmp_path: Path) -> AsyncIterator[tuple[Town, Collector]]:
    with collector() as found:
        async with town_of(platform, tmp_path, trace_url=found.url) as town:
            yield town, found


def above(spans: dict[str, Taken], span: Taken) -> list[Taken]:
    """The span's ancestors, nearest first."""
    found = []
    while span.parent:
        span = spans[span.parent]
        found.append(span)
    return found


async def test_a_push_is_one_trace_with_one_root_through_all_seven(traced: tuple[Town, Collector]) -> None:
    town, taken = traced
    await town.register()
    assert (await town.push()).status_code == 202
    run = await town.ended(1)
    assert run["state"] == "success", run
    trace = run["trace_id"]

    def spans() -> dict[str, Taken]:
        return {span.id: span for span in taken.spans if span.trace == trace}

    async def whole() -> bool:
        # The last thing that a run leads to: the gateway hears that it settled. Then nothing is open any more.
        found = spans()
        last = any(s.name == "handle run.finished" and s.service == "gateway" for s in found.values())
        settled = any(s.name == "handle deploy.settled" and s.service == "gateway" for s in found.values())
        return last and settled and await town.platform.settled() and all(s.parent in found for s in found.values() if s.parent)

    await town.until("every span of the run", whole)
    found = spans()
    roots = [span for span in found.values() if not span.parent]
    assert [(root.service, root.kind) for root in roots] == [("webhook", SERVER)], roots
    assert {span.service for span in found.values()} == set(SERVICES)
    root = roots[0]
    assert root.attributes["http.route"] == "/api/v1/webhook/{provider}/{endpoint}"
    assert root.attributes["http.response.status_code"] == 202 and root.attributes["http.request.method"] == "POST"

    healthy = [s for s in found.values() if s.name == "handle release.observed" and s.service == "deployer"]
    way = max((above(found, span) for span in healthy), key=len)
    names = [span.name for span in reversed(way)]
    steps = ["publish push.received", "publish gate.decided", "publish release.apply", "work target", "publish release.observed"]
    assert [name for name in names if name in steps] == steps, names
    assert names[0] == root.name == "POST /api/v1/webhook/{provider}/{endpoint}"

    tools = (("clone", "build"), ("buildkit", "build"), ("clone", "source"), ("opa evaluate", "decide"))
    for name, kind in tools:
        under = [s for s in found.values() if s.name == name and any(a.name == f"work {kind}" for a in above(found, s))]
        assert under, (name, kind)
    run_sh = [s for s in found.values() if s.name == "run sh"]
    assert {next(a.service for a in above(found, s)) for s in run_sh} >= {"builder", "scanner", "operator-proxy"}
    assert {s.attributes["process.exit.code"] for s in run_sh} == {0}

    for span in found.values():
        assert span.ended_ns >= span.began_ns
        if span.kind in (PRODUCER, CONSUMER):
            assert span.attributes["messaging.system"] == "nats"
            assert span.attributes["messaging.destination.name"].startswith(span.attributes["messaging.destination.template"])
            assert span.attributes["messaging.operation.type"] == ("send" if span.kind == PRODUCER else "process")
    sent = {s.attributes["messaging.message.id"]: s for s in found.values() if s.kind == PRODUCER}
    heard = [s for s in found.values() if s.kind == CONSUMER]
    assert heard and all(s.parent == sent[s.attributes["messaging.message.id"]].id for s in heard)
    of_run = [s for s in found.values() if s.name.startswith(("work ", "handle build", "handle release"))]
    assert of_run and {s.attributes["kiops.run.id"] for s in of_run} == {run["id"]}

    page = await town.client.get("/services/shop/runs/1")
    assert f'data-copy="{trace}"' in page.text
    assert tracing.counts()["exported"] >= len(found) and tracing.counts()["dropped"] == 0


async def test_two_runs_of_one_service_are_two_traces(traced: tuple[Town, Collector]) -> None:
    """Also the later one, whose build and release wait for the earlier one's."""
    town, taken = traced
    await town.register(supersede=False)
    for _ in range(2):
        assert (await town.push()).status_code == 202
    runs = [await town.ended(number) for number in (1, 2)]
    assert {run["state"] for run in runs} == {"success"} and runs[0]["trace_id"] != runs[1]["trace_id"]

    async def all_there() -> bool:
        ends = {s.trace for s in taken.spans if s.name == "handle run.finished" and s.service == "gateway"}
        return {run["trace_id"] for run in runs} <= ends

    await town.until("the ends of both runs", all_there)
    for run in runs:
        of_run = [s for s in taken.spans if s.attributes.get("kiops.run.id") == run["id"]]
        strays = {(s.service, s.name) for s in of_run if s.trace != run["trace_id"]}
        assert of_run and not strays


async def test_a_collector_that_is_broken_or_gone_disturbs_nothing(traced: tuple[Town, Collector]) -> None:
    town, taken = traced
    await town.register()
    taken.status = 400
    before = tracing.counts()["dropped"]
    assert (await town.push()).status_code == 202
    assert (await town.ended(1))["state"] == "success"

    async def counted() -> bool:
        return tracing.counts()["dropped"] > before

    await town.until("dropped spans", counted)
    told = (await town.client.get("/-/webhook/metrics")).text
    assert re.search(r'^kiops_trace_spans_total\{fate="dropped",service="webhook"\} [1-9]', told, re.MULTILINE), told[-2000:]

    # One that takes what it is sent and does not answer: the next push does not wait for it.
    taken.status = 200
    taken.go.clear()
    posts = taken.posts
    assert (await town.push()).status_code == 202
    assert (await town.ended(2))["state"] == "success" and taken.posts > posts
    taken.go.set()
