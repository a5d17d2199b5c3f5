"""Spans: one trace from the delivery to the running release. The SDK is loaded only when something collects them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from shared.context import current, new_traceparent

_tracer: Any = None


def configure(file: Path) -> None:
    """Send finished spans to a file, one JSON object per line."""
    global _tracer
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

    file.parent.mkdir(parents=True, exist_ok=True)
    out = open(file, "a", buffering=1)
    provider = TracerProvider()
    exporter = ConsoleSpanExporter(out=out, formatter=lambda span: json.dumps(json.loads(span.to_json())) + "\n")
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    _tracer = provider.get_tracer("kiops")


@contextmanager
def span(name: str, **attributes: str) -> Iterator[None]:
    """Do the block as a span of the current trace. Inside, `current` carries the new traceparent."""
    here = current.get()
    if _tracer is None:
        mark = current.set(here.child(traceparent=new_traceparent(here.traceparent)))
        try:
            yield
        finally:
            current.reset(mark)
        return
    from opentelemetry import trace
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier = {"traceparent": here.traceparent} if here.traceparent else {}
    parent = TraceContextTextMapPropagator().extract(carrier)
    with _tracer.start_as_current_span(name, context=parent, attributes={**attributes, "kiops.run": here.correlation}):
        into: dict[str, str] = {}
        TraceContextTextMapPropagator().inject(into)
        mark = current.set(here.child(traceparent=into.get("traceparent", here.traceparent)))
        try:
            yield
        except BaseException as error:
            trace.get_current_span().set_status(trace.StatusCode.ERROR, type(error).__name__)
            raise
        finally:
            current.reset(mark)
