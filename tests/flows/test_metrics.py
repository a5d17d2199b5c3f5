"""What Prometheus is told by each service, under load, read by Prometheus' own parsers."""

from __future__ import annotations

import itertools
import re
from typing import Any

import pytest
from prometheus_client import parser
from prometheus_client.openmetrics import parser as strict
from shared.bus import SERVICES
from shared.metrics import BUCKETS, METRICS, OPENMETRICS

from tests.flows.conftest import Town

pytestmark = pytest.mark.one_database  # what is told is the same on both; the chassis' own tests read it on both

STATES = ("waiting", "delayed", "running")
Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


async def scrape(town: Town, service: str) -> tuple[dict[str, Any], Series]:
    """(families, series) of one service. The strict parser reads the same as OpenMetrics and raises at anything out of order."""
    path = f"/-/{service}/metrics"
    asked = await town.client.get(path, headers={"Accept": OPENMETRICS})
    assert asked.headers["content-type"] == OPENMETRICS
    list(strict.text_string_to_metric_families(asked.text))
    plain = await town.client.get(path)
    assert plain.headers["content-type"].startswith("text/plain; version=0.0.4")
    families = {family.name: family for family in parser.text_string_to_metric_families(plain.text)}
    found: Series = {}
    for family in families.values():
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in found, f"{key} is told twice"
            found[key] = sample.value
            assert sample.labels["service"] == service
    assert len(re.findall(r"^# TYPE ", plain.text, re.M)) == len(families)
    return families, found


async def test_every_service_tells_prometheus_what_it_does_under_load(town: Town) -> None:
    await town.register(supersede=False)
    pushes = 6
    for _ in range(pushes):
        assert (await town.push()).status_code == 202
    # What a client makes up must not become a label.
    assert (await town.client.get("/services/s3cr3t-name/never-there")).status_code == 404
    assert (await town.client.request("BREW", "/api/v1/services")).status_code == 405
    assert (await town.client.get("/-/nobody/metrics")).status_code == 404

    async def queued() -> bool:
        told = (await scrape(town, "builder"))[1]
        of = {
            state: told[("kiops_jobs", frozenset({("service", "builder"), ("kind", "build"), ("state", state)}))]
            for state in STATES
        }
        oldest = told[("kiops_jobs_oldest_seconds", frozenset({("service", "builder"), ("kind", "build")}))]
        return of["running"] == 1 and of["waiting"] >= 2 and oldest > 0

    await town.until("builds of one service, one at work and others behind it", queued)
    first = {service: await scrape(town, service) for service in SERVICES}
    for number in range(1, pushes + 1):
        assert (await town.ended(number))["state"] == "success"
    await town.until("quiet", town.platform.settled)
    second = {service: await scrape(town, service) for service in SERVICES}

    for service in SERVICES:
        families, series = second[service]
        before = first[service][1]
        for name, family in families.items():
            metric = METRICS[name.removeprefix("kiops_")]
            assert (family.type, family.documentation) == (metric.kind, metric.text)
            for sample in family.samples:
                assert set(sample.labels) - {"le"} == {"service", *metric.labels}
        for (name, labels), value in before.items():
            if name.endswith(("_total", "_bucket", "_count", "_sum")):
                assert series[(name, labels)] >= value, f"{name} {labels} went down"
        for family in families.values():
            if family.type == "histogram":
                check_histogram(family)
        routes = {label for name, labels in series for key, label in labels if key == "route"}
        assert not any("s3cr3t" in route or "shop" in route or "git.invalid" in route for route in routes), routes

    def value(service: str, name: str, **labels: str) -> float:
        return second[service][1][(f"kiops_{name}", frozenset({"service": service, **labels}.items()))]

    route = "/api/v1/webhook/{provider}/{endpoint}"
    assert value("webhook", "http_requests_total", route=route, method="POST", status="202") == pushes
    assert value("webhook", "http_request_seconds_count", route=route, method="POST") == pushes
    assert value("gateway", "http_requests_total", route="/api/v1/services", method="_OTHER", status="405") == 1
    assert value("builder", "messages_handled_total", message="push.received") == pushes
    assert value("builder", "jobs_ended_total", kind="build", outcome="done") == pushes
    assert value("builder", "job_seconds_count", kind="build") == pushes
    for service in SERVICES:
        assert value(service, "ready") == 1
        assert value(service, "outbox_waiting") == value(service, "outbox_oldest_seconds") == 0
        assert value(service, "stream_lag_messages") == value(service, "stream_lag_seconds") == 0
        assert value(service, "role_held", role="relay") == value(service, "role_held", role="reader") == 1
        assert value(service, "process_open_files") < value(service, "process_max_files")
        assert value(service, "process_proportional_bytes") > 10_000_000
    told = {name for families, _ in second.values() for name in families}
    # One of them is told only once a message has failed, one only while spans are sent.
    assert told == {f"kiops_{name}" for name in METRICS} - {"kiops_trace_spans", "kiops_messages_failed"}


def check_histogram(family: Any) -> None:
    """Every series of it has all buckets, growing, and the last one is the count."""
    rows: dict[frozenset[tuple[str, str]], dict[str, float]] = {}
    for sample in family.samples:
        labels = frozenset((key, label) for key, label in sample.labels.items() if key != "le")
        rows.setdefault(labels, {})[sample.labels.get("le", sample.name.rsplit("_", 1)[1])] = sample.value
    for row in rows.values():
        count, total = row.pop("count"), row.pop("sum")
        assert row["+Inf"] == count and total >= 0 and len(row) > len(BUCKETS) / 2
        numbers = [row[bound] for bound in sorted(row, key=float)]
        assert all(a <= b for a, b in itertools.pairwise(numbers))


async def test_an_outbox_that_waits_is_seen(town: Town, nats: Any) -> None:
    await town.register()
    nats.kill()

    async def away() -> bool:
        return "bus" in (await town.platform.failing()).get("webhook", {})

    await town.until("the bus to be missed", away)
    assert (await town.push()).status_code == 202

    async def aged() -> bool:
        series = (await scrape(town, "webhook"))[1]
        label = frozenset({("service", "webhook")})
        assert ("kiops_stream_lag_messages", label) not in series, "nobody knows while the bus is away"
        return series[("kiops_outbox_waiting", label)] >= 1 and series[("kiops_outbox_oldest_seconds", label)] > 0.5

    await town.until("an outbox that waits", aged)
    nats.start()
    assert (await town.ended(1))["state"] == "success"
    following = town.platform.services["gateway"].service.figures
    assert following() == {"live_readers": 0}
