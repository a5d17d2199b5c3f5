"""Structured logs: one JSON object per line with service, run and trace; nothing secret."""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

import structlog

from shared.context import current
from shared.masking import known

masker = known
"""Secrets that this process knows; `host.mask(secret)` adds to it."""


_OURS = frozenset({"level", "timestamp", "service"})


def _with_context(logger: Any, name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    here = current.get()
    if here.correlation:
        event.setdefault("run", here.correlation)
    if here.traceparent:
        event.setdefault("trace", here.traceparent.split("-")[1])
    return event


def _masked(logger: Any, name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {key: value if key in _OURS else masker.clean(value) for key, value in event.items()}


def configure(level: str = "info", file: Path | None = None) -> None:
    """Send our lines and the libraries' warnings to the file (or standard error) as JSON."""
    if file:
        file.parent.mkdir(parents=True, exist_ok=True)
        stream = open(file, "a", buffering=1)
    else:
        stream = sys.stderr
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _with_context,
            structlog.processors.StackInfoRenderer(),
            structlog.processors.format_exc_info,
            _masked,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.PrintLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_Plain())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)


class _Plain(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        import json

        text = record.getMessage()
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        return json.dumps({"level": record.levelname.lower(), "logger": record.name, "event": masker.mask(text)})


def get(service: str) -> Any:
    """A logger bound to a service's name."""
    return structlog.get_logger(service=service)
