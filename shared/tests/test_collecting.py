"""A collector that is gone, refuses or is slow: who works is not held up, what was lost is counted, and sending goes on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from shared.collecting import POST_SECONDS, Sender
from shared.testing.nats import free_port


@dataclass
class Server:
    """Answers `status` once `go` is set."""

    url: str = ""
    status: int = 200
    posts: int = 0
    go: threading.Event = field(default_factory=threading.Event)


@contextmanager
def server() -> Iterator[Server]:
    found = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            found.posts += 1
            found.go.wait(POST_SECONDS)
            self.send_response(found.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            return None

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.url = f"http://127.0.0.1:{listening.server_port}"
    thread = threading.Thread(target=listening.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield found
    finally:
        found.go.set()
        listening.shutdown()
        thread.join(5)
        listening.server_close()


def spans(sender: Sender, count: int) -> None:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(sender)
    tracer = provider.get_tracer("test")
    for number in range(count):
        tracer.start_span(f"span {number}").end()


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.slow
def test_a_collector_that_is_gone_costs_its_spans_and_nothing_else() -> None:
    sender = Sender(f"http://127.0.0.1:{free_port()}")
    spans(sender, 10)
    until(lambda: sender._failing)
    spans(sender, 5)
    sender.close(5)
    assert (sender.exported, sender.dropped) == (0, 15)


@pytest.mark.slow
@pytest.mark.parametrize("status", [400, 500])
def test_what_is_refused_for_good_is_counted_and_the_next_is_sent(status: int) -> None:
    with server() as collector:
        collector.status = status
        collector.go.set()
        sender = Sender(collector.url)
        spans(sender, 10)
        until(lambda: sender.dropped == 10)
        assert collector.posts == 1, "not tried again"
        collector.status = 200
        spans(sender, 7)
        until(lambda: sender.exported == 7)
        sender.close(5)
        assert sender.dropped == 10


@pytest.mark.slow
def test_a_slow_collector_fills_the_queue_and_then_spans_are_dropped_at_once() -> None:
    with server() as collector:
        sender = Sender(collector.url, queue=50)
        spans(sender, 3)
        until(lambda: collector.posts == 1)  # and it does not answer
        spans(sender, 60)
        assert sender.dropped == 10 and len(sender._queue) == 50, "who ends a span does not wait for room"
        collector.go.set()
        until(lambda: sender.exported == 53)
        spans(sender, 4)
        until(lambda: sender.exported == 57)
        sender.close(5)
        assert sender.dropped == 10
