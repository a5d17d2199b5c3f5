"""Whose turn it is in this process: a delivery that somebody waits for goes before messages that can wait.

All services of a process share one thread. While deliveries are being taken, the loops handle their messages in small portions, one
portion in the process every `PAUSE_SECONDS`; they are slowed down, never stopped, and go on at full speed when no delivery waits.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator

PAUSE_SECONDS = 0.02
PORTION = 10


class Turns:
    """Counts the deliveries that are being taken."""

    def __init__(self) -> None:
        self.waiting = 0
        self._last: asyncio.Future[None] | None = None
        self._free_at = 0.0

    @contextlib.contextmanager
    def first(self) -> Iterator[None]:
        """Somebody waits for what this block does."""
        self.waiting += 1
        try:
            yield
        finally:
            self.waiting -= 1
            if not self.waiting and self._last is not None and not self._last.done():
                self._last.set_result(None)

    async def portion(self, most: int) -> int:
        """How many messages may be handled now, at most `most`; returns when that is."""
        loop = asyncio.get_running_loop()
        while self.waiting:
            now = loop.time()
            if now >= self._free_at:
                self._free_at = now + PAUSE_SECONDS
                return min(PORTION, most)
            if self._last is None or self._last.done() or self._last.get_loop() is not loop:
                self._last = loop.create_future()
            await asyncio.wait({self._last}, timeout=self._free_at - now)
        return most


turns = Turns()
"""Those of this process."""
