"""Door: the clock. What nobody ends, and what is kept long enough."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from shared.errors import Unavailable

from shared import logging
from webhook.handlers import Handlers
from webhook.settings import WebhookSettings


def tasks(handlers: Handlers, settings: WebhookSettings) -> list[tuple[str, Callable[[], Coroutine[Any, Any, None]]]]:
    """Name and function of each; they run as long as the service does."""
    return [
        ("reaper", lambda: every(settings.reaper_seconds, handlers.runs.reap)),
        ("retention", lambda: every(settings.retention_seconds, handlers.deliveries.forget)),
    ]


async def every(seconds: float, work: Callable[[], Awaitable[object]]) -> None:
    """Do it again and again; a failure is logged and the next turn tries anew."""
    log = logging.get("webhook")
    while True:
        await asyncio.sleep(seconds)
        try:
            await work()
        except Unavailable as error:
            log.warning("a turn was put off", work=getattr(work, "__qualname__", ""), error=str(error))
        except Exception:
            log.exception("a turn broke", work=getattr(work, "__qualname__", ""))
