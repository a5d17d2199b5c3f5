"""What `/-/<service>/metrics` tells: the table of all metrics, and how one service's are gathered when somebody asks.

Between two scrapes nothing runs here but counting: a number more in a dictionary. Label values come from bounded sets: templates of
routes, methods, status codes, message types, kinds of jobs; never from what a client sent. The library is loaded at the first
scrape.
"""

from __future__ import annotations

import bisect
import os
import resource
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from shared import tracing
from shared.errors import KiopsError
from shared.memory import memory_mb

if TYPE_CHECKING:
    from shared.hosting import Running

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
JOB_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0)

OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
PLAIN = "text/plain; version=0.0.4; charset=utf-8"


class Durations:
    """A histogram: how many took up to each of the buckets (seconds), how many in all, and their sum."""

    __slots__ = ("buckets", "count", "counts", "sum")

    def __init__(self, buckets: tuple[float, ...] = BUCKETS) -> None:
        self.buckets = buckets
        self.counts = [0] * (len(buckets) + 1)
        self.count, self.sum = 0, 0.0

    def observe(self, seconds: float) -> None:
        self.counts[bisect.bisect_left(self.buckets, seconds)] += 1
        self.count += 1
        self.sum += seconds

    def cumulative(self) -> list[tuple[str, float]]:
        """(upper bound, how many up to it), the last one being +Inf."""
        found, so_far = [], 0
        for bound, number in zip((*map(str, self.buckets), "+Inf"), self.counts, strict=True):
            so_far += number
            found.append((bound, float(so_far)))
        return found


@dataclass(frozen=True)
class Metric:
    """`name` without `kiops_`; a counter's series end in `_total`, a histogram's in `_bucket`, `_count` and `_sum`.

    Every one has the label `service` before its own.
    """

    name: str
    kind: str
    text: str
    labels: tuple[str, ...] = ()

    @property
    def full(self) -> str:
        return f"kiops_{self.name}" + ("_total" if self.kind == "counter" else "")


METRICS = {
    metric.name: metric
    for metric in (
        Metric("ready", "gauge", "1 when nothing of the service fails, else 0."),
        Metric("http_requests", "counter", "Requests answered.", ("route", "method", "status")),
        Metric("http_request_seconds", "histogram", "Time until an answer was whole; streams stay open.", ("route", "method")),
        Metric("messages_handled", "counter", "Messages handled, tries counted.", ("message",)),
        Metric("messages_failed", "counter", "Tries at a message that failed.", ("message",)),
        Metric("message_seconds", "histogram", "Time in a message's handler.", ("message",)),
        Metric("messages_parked", "gauge", "Messages that wait for another try, or behind one that does."),
        Metric("messages_dead", "gauge", "Messages given up: dead letters."),
        Metric("stream_position", "gauge", "Place in the stream up to which messages were handled."),
        Metric("stream_lag_messages", "gauge", "Messages not handled yet; absent while the bus is away."),
        Metric("stream_lag_seconds", "gauge", "For how long the oldest of them has waited; 0 when there is none."),
        Metric("outbox_waiting", "gauge", "Messages in the outbox that are not sent yet."),
        Metric("outbox_oldest_seconds", "gauge", "Age of the oldest of them; 0 when there is none."),
        Metric("outbox_published", "counter", "Messages that the relay has published."),
        Metric("jobs", "gauge", "Jobs that have not ended: waiting, delayed (for another try) or running.", ("kind", "state")),
        Metric("jobs_oldest_seconds", "gauge", "Age of the oldest waiting job; 0 when there is none.", ("kind",)),
        Metric("jobs_ended", "counter", "Attempts at jobs: done, failed, cancelled, again or lost.", ("kind", "outcome")),
        Metric("job_seconds", "histogram", "Time that an attempt at a job took.", ("kind",)),
        Metric("role_held", "gauge", "1 when this instance holds the lease of the role, 0 when it waits for it.", ("role",)),
        Metric("live_readers", "gauge", "Open streams of live events: pages that follow."),
        Metric("trace_spans", "counter", "Spans exported to the collector, or dropped; absent while none are sent.", ("fate",)),
        Metric("process_resident_bytes", "gauge", "Resident memory of the process."),
        Metric("process_proportional_bytes", "gauge", "Proportional memory (PSS) of the process: shared pages count in parts."),
        Metric("process_open_files", "gauge", "Open file descriptors of the process."),
        Metric("process_max_files", "gauge", "How many file descriptors the process may open."),
        Metric("process_cpu_seconds", "counter", "Processor time of the process."),
        Metric("process_start_time_seconds", "gauge", "When the process began, seconds since 1970."),
    )
}
"""Every metric there is, in the order in which they are told. docs/metrics.md is made from it."""

OUTCOMES = ("done", "failed", "cancelled", "again", "lost")


class Gathered:
    """The values of one service at one moment, by metric."""

    def __init__(self, service: str) -> None:
        self.service = service
        self._values: dict[str, list[tuple[tuple[str, ...], Any]]] = {}

    def add(self, name: str, value: float | Durations, *labels: str) -> None:
        """One series of a metric of the table, with its own labels in the table's order."""
        metric = METRICS[name]
        if len(labels) != len(metric.labels):
            raise ValueError(f"{name} has the labels {metric.labels}")
        self._values.setdefault(name, []).append(((self.service, *labels), value))

    def collect(self) -> Iterator[Any]:
        """As prometheus_client wants it."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

        kinds = {"counter": CounterMetricFamily, "gauge": GaugeMetricFamily, "histogram": HistogramMetricFamily}
        for name, metric in METRICS.items():
            if name not in self._values:
                continue
            family = kinds[metric.kind](f"kiops_{name}", metric.text, labels=("service", *metric.labels))
            for labels, value in self._values[name]:
                if isinstance(value, Durations):
                    family.add_metric(labels, value.cumulative(), value.sum)
                else:
                    family.add_metric(labels, value)
            yield family


async def gather(running: Running) -> Gathered:
    """What one service tells now."""
    found = Gathered(running.host.name)
    found.add("ready", 0 if await running.failing() else 1)
    _requests(found, running)
    await _messages(found, running)
    await _outbox(found, running)
    await _jobs(found, running)
    for role, ours in running.roles().items():
        found.add("role_held", int(ours), role)
    for name, value in running.service.figures().items():
        found.add(name, value)
    for fate, number in tracing.counts().items():
        found.add("trace_spans", number, fate)
    _process(found)
    return found


def text(gathered: Gathered, accept: str = "") -> tuple[bytes, str]:
    """(body, content type): OpenMetrics for who asks for it, else Prometheus' own format."""
    if "application/openmetrics-text" in accept:
        from prometheus_client.openmetrics.exposition import generate_latest

        return generate_latest(gathered), OPENMETRICS  # type: ignore[arg-type]
    from prometheus_client.exposition import generate_latest as plain

    return plain(gathered), PLAIN  # type: ignore[arg-type]


def _requests(found: Gathered, running: Running) -> None:
    platform = running.host.platform
    if platform is None:
        return
    for (service, route, method, status), number in platform.requests.seen.items():
        if service == found.service:
            found.add("http_requests", number, route, method, status)
    for (service, route, method), took in platform.requests.took.items():
        if service == found.service:
            found.add("http_request_seconds", took, route, method)


async def _messages(found: Gathered, running: Running) -> None:
    loop = running.loop
    if loop is None:
        return
    for name, took in loop.seen.items():
        found.add("messages_handled", took.count, name)
        found.add("message_seconds", took, name)
    for name, number in loop.failed.items():
        found.add("messages_failed", number, name)
    found.add("stream_position", loop.position)
    try:
        counts = await loop.aside.counts()
        found.add("messages_parked", counts["parked"])
        found.add("messages_dead", counts["dead_letter"])
    except KiopsError:
        pass  # the database is away: `ready` says so, and a number would be a lie
    try:
        waiting = await running.unheard()
    except KiopsError:
        return
    found.add("stream_lag_messages", waiting)
    found.add("stream_lag_seconds", loop.behind_seconds() if waiting else 0)


async def _outbox(found: Gathered, running: Running) -> None:
    if running.relay is None:
        return
    found.add("outbox_published", running.relay.published)
    try:
        number, oldest = await running.relay.waiting()
    except KiopsError:
        return
    found.add("outbox_waiting", number)
    found.add("outbox_oldest_seconds", oldest)


async def _jobs(found: Gathered, running: Running) -> None:
    jobs = running.jobs
    if jobs is None:
        return
    for worker in jobs.workers:
        for outcome in OUTCOMES:
            found.add("jobs_ended", jobs.outcomes.get((worker.kind, outcome), 0), worker.kind, outcome)
        found.add("job_seconds", jobs.took.setdefault(worker.kind, Durations(JOB_BUCKETS)), worker.kind)
    try:
        open_jobs = await jobs.depths()
    except KiopsError:
        return
    for kind in sorted({worker.kind for worker in jobs.workers} | set(open_jobs)):
        states, oldest = open_jobs.get(kind, ({}, 0.0))
        for state in ("waiting", "delayed", "running"):
            found.add("jobs", states.get(state, 0), kind, state)
        found.add("jobs_oldest_seconds", oldest, kind)


def _process(found: Gathered) -> None:
    rss, pss = memory_mb([os.getpid()])
    found.add("process_resident_bytes", rss * 1e6)
    found.add("process_proportional_bytes", pss * 1e6)
    found.add("process_open_files", len(os.listdir("/proc/self/fd")))
    found.add("process_max_files", resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    found.add("process_cpu_seconds", time.process_time())
    found.add("process_start_time_seconds", _began())


def _began() -> float:
    with open("/proc/self/stat") as file:
        ticks = int(file.read().rsplit(")", 1)[1].split()[19])
    with open("/proc/stat") as file:
        boot = next(int(line.split()[1]) for line in file if line.startswith("btime "))
    return boot + ticks / os.sysconf("SC_CLK_TCK")
