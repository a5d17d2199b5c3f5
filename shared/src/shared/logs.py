"""Output of a job: numbered lines, live within 20 ms, stored on the stream LOGS, one object at the end; secrets masked first."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

from shared import logging as own_logging
from shared import tasks
from shared.bus import Bus
from shared.clock import Clock
from shared.errors import KiopsError
from shared.faults import point
from shared.masking import Masker
from shared.objects import ObjectStore

WAIT_SECONDS = 0.02
LINES = 200
LONGEST_LINE = 16_000
MOST_LINES = 400_000


class JobLog:
    """One attempt's log. Calls never wait; a task publishes what has gathered. `close()` keeps the whole as one object."""

    def __init__(self, bus: Bus, objects: ObjectStore, clock: Clock, subject: str) -> None:
        self.bus, self.objects, self.clock, self.subject = bus, objects, clock, subject
        self.masker = Masker()
        self.began = clock.monotonic()
        self.lines: list[list[Any]] = []
        self.clipped = False
        self._sent = 0
        self._progress: dict[str, Any] | None = None
        self._news = asyncio.Event()
        self._task = asyncio.create_task(self._publish())
        self._closed = False

    def mask(self, secret: str) -> None:
        """From now on this value is never written."""
        self.masker.add(secret)

    def masked(self, text: str) -> str:
        """The text as it may leave this process."""
        return own_logging.masker.mask(self.masker.mask(text)).replace("\0", "\N{REPLACEMENT CHARACTER}")

    def line(self, text: str, stage: str = "", stream: int = 1) -> int:
        """Add a line and return its number, counted from 1. `stream` is 1 or 2; text over 16,000 characters is cut."""
        if len(self.lines) >= MOST_LINES:
            self.clipped = True
            return len(self.lines)
        text = self.masked(text)
        if len(text) > LONGEST_LINE:
            text = text[:LONGEST_LINE] + f" … ({len(text) - LONGEST_LINE} more characters)"
        self.lines.append([int((self.clock.monotonic() - self.began) * 1000), stage, stream, text])
        self._news.set()
        return len(self.lines)

    def progress(self, percent: int, stage: str, text: str = "") -> None:
        """What a watching page shows: 0 to 100, the stage, a sentence."""
        self._progress = {"percent": percent, "stage": stage, "text": self.masked(text)}
        self._news.set()

    async def _publish(self) -> None:
        while not self._closed:
            await self._news.wait()
            await asyncio.sleep(WAIT_SECONDS)
            self._news.clear()
            try:
                await self._send()
            except KiopsError:
                await asyncio.sleep(0.5)
                self._news.set()

    async def _send(self, end: bool = False) -> None:
        while self._sent < len(self.lines) or self._progress is not None or end:
            part = self.lines[self._sent : self._sent + LINES]
            last = self._sent + len(part) == len(self.lines)
            message = {
                "from": self._sent,
                "lines": part,
                "progress": self._progress if last else None,
                "end": end and last,
            }
            await self.bus.publish_log(self.subject, json.dumps(message).encode())
            self._sent += len(part)
            if last:
                self._progress = None
                return

    async def close(self) -> tuple[str | None, int]:
        """Publish the rest, keep the whole log. Returns (object reference, number of lines); the reference is None when empty."""
        if self._closed:
            raise RuntimeError("the log is closed")
        if self.clipped:
            self.lines.append([0, "", 2, f"The log was cut after {MOST_LINES} lines."])
        self._closed = True
        for error in await tasks.end(self._task):
            raise error
        with contextlib.suppress(KiopsError):
            await self._send(end=True)
        if not self.lines:
            return None, 0
        point("log.closing")
        body = "\n".join(json.dumps(line, ensure_ascii=False) for line in self.lines).encode()
        reference = await self.objects.put(body, "ndjson")
        point("log.closed")
        return reference, len(self.lines)

    async def abandon(self) -> None:
        """Stop without keeping: another attempt writes its own."""
        self._closed = True
        await tasks.end(self._task)


class LogWriter:
    """Opens the logs of a service's jobs."""

    def __init__(self, service: str, bus: Bus, objects: ObjectStore, clock: Clock) -> None:
        self.service, self.bus, self.objects, self.clock = service, bus, objects, clock

    def open(self, job: str, organisation: str) -> JobLog:
        """The log `log.<service>.<organisation>.<job>`."""
        return JobLog(self.bus, self.objects, self.clock, f"log.{self.service}.{organisation}.{job}")
