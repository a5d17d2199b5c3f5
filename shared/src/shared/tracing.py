"""Spans: one trace from the delivery to the running release, in OpenTelemetry's words.

A span is a child of `current.traceparent` and becomes it for what is done inside; messages and jobs carry it on. When nothing
collects spans, a trace still has an id (log lines have it) but nothing is recorded and no library is loaded. Attributes never
hold a path, a command line or an error's text: those can hold secrets.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from shared.context import current, new_traceparent, read_traceparent
from shared.errors import KiopsError

if TYPE_CHECKING:
    from pathlib import Path

    from shared.collecting import Sender

Attributes = Mapping[str, str | int | float | bool]


class Span:
    """An open span; one that nobody collects does nothing. `traceparent` is what its children are given."""

    __slots__ = ("_inner", "traceparent")

    def __init__(self, traceparent: str, inner: Any = None) -> None:
        self.traceparent, self._inner = traceparent, inner

    def note(self, name: str, value: str | int | float | bool) -> None:
        """Set an attribute."""
        if self._inner is not None:
            self._inner.set_attribute(name, _masked(value))

    def rename(self, name: str) -> None:
        if self._inner is not None:
            self._inner.update_name(name)

    def end(self, error: BaseException | None = None) -> None:
        """The work is over; of an error the code is told, or its class."""
        if self._inner is None:
            return
        if error is not None:
            from opentelemetry.trace import StatusCode

            told = error.code if isinstance(error, KiopsError) else type(error).__name__
            self._inner.set_attribute("error.type", told)
            self._inner.set_status(StatusCode.ERROR, told)
        self._inner.end()


class Collecting:
    """What is there while spans are collected: a tracer per service, each with a resource of its own."""

    def __init__(self, processors: list[Any], share: float) -> None:
        from opentelemetry import trace
        from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

        self._trace, self._processors = trace, processors
        self._sampler = ParentBased(TraceIdRatioBased(share))
        self._tracers: dict[str, Any] = {}
        self.kinds = {kind.name.lower(): kind for kind in trace.SpanKind}
        self.sender: Sender | None = None

    def tracer(self, service: str) -> Any:
        if service not in self._tracers:
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider

            resource = Resource({"service.namespace": "kiops", "service.name": service or "kiops"})
            provider = TracerProvider(resource=resource, sampler=self._sampler, shutdown_on_exit=False)
            for processor in self._processors:
                provider.add_span_processor(processor)
            self._tracers[service] = provider.get_tracer("kiops")
        return self._tracers[service]

    def start(self, name: str, kind: str, parent: str, service: str, attributes: Attributes) -> Span:
        trace = self._trace
        above = None
        if found := read_traceparent(parent):
            number, span, flags = found
            above = trace.SpanContext(int(number, 16), int(span, 16), True, trace.TraceFlags(int(flags, 16)))
        # An empty context, not None: the library must not look for a current span of its own.
        context = trace.set_span_in_context(trace.NonRecordingSpan(above or trace.INVALID_SPAN_CONTEXT))
        values = {key: _masked(value) for key, value in attributes.items() if value != ""}
        inner = self.tracer(service).start_span(name, context=context, kind=self.kinds[kind], attributes=values)
        made = inner.get_span_context()
        return Span(f"00-{made.trace_id:032x}-{made.span_id:016x}-{made.trace_flags:02x}", inner)


_collecting: Collecting | None = None


def start(url: str = "", *, headers: str = "", file: Path | None = None, share: float = 1.0) -> None:
    """Collect spans from now on: send them to the collector at `url`, or append them to `file`, or both; `share` of the traces.

    Raises Broken `start.trace_url`.
    """
    global _collecting
    processors: list[Any] = []
    sender = None
    if url:
        from shared.collecting import Sender

        sender = Sender(url, headers)
        processors.append(sender)
    if file:
        from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

        file.parent.mkdir(parents=True, exist_ok=True)
        out = open(file, "a", buffering=1)
        formatter = lambda span: json.dumps(json.loads(span.to_json())) + "\n"  # noqa: E731
        processors.append(SimpleSpanProcessor(ConsoleSpanExporter(out=out, formatter=formatter)))
    _collecting = Collecting(processors, share)
    _collecting.sender = sender


async def stop() -> None:
    """Send what has gathered, for at most 3 s, and collect no more."""
    import asyncio

    global _collecting
    ending, _collecting = _collecting, None
    if ending and ending.sender:
        await asyncio.to_thread(ending.sender.close, 3.0)


def on() -> bool:
    """Whether spans are collected."""
    return _collecting is not None


def counts() -> dict[str, int]:
    """Spans that the collector took and spans that were dropped since the start; empty when none are sent."""
    if _collecting is None or _collecting.sender is None:
        return {}
    return {"exported": _collecting.sender.exported, "dropped": _collecting.sender.dropped}


def begin(name: str, attributes: Attributes | None = None, *, kind: str = "internal", parent: str | None = None) -> Span:
    """Open a span without making it the current one; the caller ends it. `kind` is one of OpenTelemetry's five.

    `parent` is a traceparent, by default the current one; without any it begins a trace.
    """
    here = current.get()
    above = here.traceparent if parent is None else parent
    if _collecting is None:
        return Span(above or new_traceparent())
    about = {"kiops.run.id": here.correlation, **(attributes or {})}
    return _collecting.start(name, kind, above, here.service, about)


@contextmanager
def span(name: str, attributes: Attributes | None = None, *, kind: str = "internal", root: bool = False) -> Iterator[Span]:
    """Do the block as a span of the current trace. Without one, only a `root` begins a trace; else the block is simply done."""
    here = current.get()
    if not here.traceparent and not root:
        yield Span("")
        return
    opened = begin(name, attributes, kind=kind)
    mark = current.set(here.child(traceparent=opened.traceparent))
    try:
        yield opened
    except BaseException as error:
        opened.end(error)
        raise
    else:
        opened.end()
    finally:
        current.reset(mark)


def _masked(value: Any) -> Any:
    from shared import logging

    return logging.masker.mask(value) if isinstance(value, str) else value
