"""Sends finished spans to an OpenTelemetry collector by OTLP over HTTP; loaded only when one is named.

Work never waits for it: spans wait in a bounded queue, a thread of its own sends them, and what the collector does not take in time
is dropped and counted. https://opentelemetry.io/docs/specs/otlp/#otlphttp
"""

from __future__ import annotations

import gzip
import http.client
import threading
import time
from collections import deque
from collections.abc import Sequence
from urllib.parse import unquote, urlsplit

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor

from shared import logging
from shared.errors import Broken

QUEUE = 8192
BATCH = 512
EVERY_SECONDS = 1.0
TRIES = 5
POST_SECONDS = 5.0
AGAIN = (429, 502, 503, 504)  # the specification's list; every other refusal is final


class Sender(SpanProcessor):
    """Queue, thread and connection. `exported` and `dropped` count spans."""

    def __init__(self, url: str, headers: str = "", *, queue: int = QUEUE) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise Broken("start.trace_url", "KIOPS_TRACE_URL is no http address", "Give it as http://collector:4318.")
        self._parts = parts
        self._path = parts.path.rstrip("/") + "/v1/traces"
        self._headers = {"Content-Type": "application/x-protobuf", "Content-Encoding": "gzip", **_headers(headers)}
        self._most = queue
        self._queue: deque[ReadableSpan] = deque()
        self._wake, self._ending = threading.Event(), threading.Event()
        self._until = float("inf")
        self._failing = False
        self.exported = self.dropped = 0
        self._thread = threading.Thread(target=self._run, name="spans", daemon=True)
        self._thread.start()

    def on_end(self, span: ReadableSpan) -> None:
        if span.context is None or not span.context.trace_flags.sampled:
            return
        if len(self._queue) >= self._most or self._ending.is_set():
            self.dropped += 1
            return
        self._queue.append(span)
        if len(self._queue) >= BATCH:
            self._wake.set()

    def close(self, seconds: float) -> None:
        """Send what waits, for at most so long; the rest is dropped."""
        self._until = time.monotonic() + seconds
        self._ending.set()
        self._wake.set()
        self._thread.join(seconds)

    def _run(self) -> None:
        while True:
            self._wake.wait(EVERY_SECONDS)
            self._wake.clear()
            ending = self._ending.is_set()
            while self._queue:
                batch = [self._queue.popleft() for _ in range(min(BATCH, len(self._queue)))]
                try:
                    sent = self._send(batch)
                except Exception:  # a defect here must not end the thread: the queue would fill for ever
                    logging.get("tracing").exception("spans could not be sent")
                    sent = False
                if sent:
                    self.exported += len(batch)
                else:
                    self.dropped += len(batch)
            if ending:
                return

    def _send(self, batch: Sequence[ReadableSpan]) -> bool:
        body = gzip.compress(encode_spans(batch).SerializeToString(), 1)
        for attempt in range(TRIES):
            seconds = min(POST_SECONDS, self._until - time.monotonic())
            if seconds <= 0:
                return False
            try:
                status, why = self._post(body, seconds), ""
            except (OSError, http.client.HTTPException) as error:
                status, why = 503, type(error).__name__
            if 200 <= status < 300:
                if self._failing:
                    self._failing = False
                    logging.get("tracing").info("the collector takes spans again")
                return True
            if not self._failing:
                self._failing = True
                logging.get("tracing").warning("the collector does not take spans", reason=why or f"HTTP {status}")
            if status not in AGAIN or self._ending.is_set():
                return False
            self._ending.wait(2.0**attempt)
        return False

    def _post(self, body: bytes, seconds: float) -> int:
        kind = http.client.HTTPSConnection if self._parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(self._parts.hostname or "", self._parts.port, timeout=seconds)
        try:
            connection.request("POST", self._path, body, self._headers)
            answer = connection.getresponse()
            answer.read(64 * 1024)
            return answer.status
        finally:
            connection.close()


def _headers(text: str) -> dict[str, str]:
    """`name=value,name=value`, values URL-encoded where they have to be; no value is ever logged."""
    found = {}
    for pair in filter(None, text.split(",")):
        name, _, value = pair.partition("=")
        found[name.strip()] = unquote(value.strip())
        logging.masker.add(value.strip())
        logging.masker.add(unquote(value.strip()))
    return found
