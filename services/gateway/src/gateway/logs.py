"""Build logs line by line: live from the stream LOGS, finished ones from their object. Lines are numbered from 1."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from shared.bus import Bus
from shared.database import Database
from shared.objects import ObjectStore

from gateway.errors import NotFound
from gateway.store import builds
from shared import tasks

_ENDED = ("success", "failed", "cancelled")
# How often a quiet log asks whether its build has ended without a last word (its service was killed, say).
_LOOK_SECONDS = 2.0
# Messages of one burst are no further apart than this; after it a page need not wait for more.
_GAP_SECONDS = 0.002


@dataclass(frozen=True, slots=True)
class Line:
    """`ms` since the log began; `stream` 1 or 2; `stage` clone, analyse, build or push."""

    number: int
    ms: int
    stage: str
    stream: int
    text: str


@dataclass(frozen=True, slots=True)
class Progress:
    """What a watching page shows: 0 to 100, the stage, a sentence."""

    percent: int
    stage: str
    text: str


@dataclass(frozen=True, slots=True)
class Quiet:
    """Nothing came for a while; the log has not ended."""


@dataclass(frozen=True, slots=True)
class Pause:
    """No further line is there just now: what was gathered may be shown."""


@dataclass(frozen=True, slots=True)
class Restarted:
    """Another attempt began, after a crash: the numbers begin again at 1."""


class BuildLogs:
    """Reads the logs of builds. Their job is called as the build."""

    def __init__(self, bus: Bus, objects: ObjectStore, read: Database) -> None:
        self._bus, self._objects, self._read = bus, objects, read

    async def whole(self, reference: str) -> list[Line]:
        """A finished log. Raises Rejected `object.gone` when it has expired."""
        data = await self._objects.get(reference)
        rows = [json.loads(line) for line in data.decode("utf-8", "replace").splitlines() if line]
        return [Line(number, *_fields(row)) for number, row in enumerate(rows, 1)]

    async def so_far(self, organisation: str, build: str) -> list[Line]:
        """What there is of a log now, finished or not, without waiting for more."""
        row = await self._row(organisation, build)
        if row.log:
            return await self.whole(row.log)
        lines: list[Line] = []
        if row.state in ("queued", *_ENDED):
            return lines
        async for item in self.follow(organisation, build):
            match item:
                case Restarted():
                    lines.clear()
                case Line():
                    lines.append(item)
                case Quiet():
                    break
        return lines

    async def follow(
        self, organisation: str, build: str, after: int = 0, quiet_seconds: float = 0.5
    ) -> AsyncIterator[Line | Progress | Restarted | Pause | Quiet]:
        """Every line after `after`, to the end of the build; `Pause` after what came together, `Quiet` while nothing comes."""
        row = await self._row(organisation, build)
        if row.log is None and row.state not in _ENDED:
            source = self._bus.read_log("builder", organisation, row.id, after)
            async for item in self._live(source, after, quiet_seconds, lambda: self._over(organisation, build)):
                if isinstance(item, Line):
                    after = item.number
                elif isinstance(item, Restarted):
                    after = 0
                yield item
            row = await self._settled(organisation, build)
        if row.log:
            for line in await self.whole(row.log):
                if line.number > after:
                    yield line

    async def _live(
        self,
        source: AsyncIterator[dict[str, Any]],
        after: int,
        quiet_seconds: float,
        over: Callable[[], Awaitable[bool]],
    ) -> AsyncIterator[Line | Progress | Restarted | Pause | Quiet]:
        looked, last = asyncio.get_running_loop().time(), 0
        coming: asyncio.Task[dict[str, Any]] | None = None
        try:
            while True:
                coming = coming or asyncio.ensure_future(anext(source))  # type: ignore[arg-type]
                await asyncio.wait({coming}, timeout=quiet_seconds)
                if not coming.done():
                    yield Quiet()
                    now = asyncio.get_running_loop().time()
                    if now - looked >= _LOOK_SECONDS:
                        looked = now
                        if await over():
                            return
                    continue
                try:
                    message = coming.result()
                except StopAsyncIteration:
                    return
                coming = None
                if message["from"] < last and message["from"] == 0:
                    after = 0
                    yield Restarted()
                last = message["from"] + len(message["lines"])
                for offset, row in enumerate(message["lines"], 1):
                    if message["from"] + offset > after:
                        yield Line(message["from"] + offset, *_fields(row))
                if message.get("progress"):
                    yield Progress(**{name: message["progress"][name] for name in ("percent", "stage", "text")})
                if message.get("end"):
                    return
                coming = asyncio.ensure_future(anext(source))  # type: ignore[arg-type]
                await asyncio.wait({coming}, timeout=_GAP_SECONDS)
                if not coming.done():
                    yield Pause()
        finally:
            await tasks.end(coming)
            with contextlib.suppress(Exception):
                await source.aclose()  # type: ignore[attr-defined]

    async def _over(self, organisation: str, build: str) -> bool:
        return (await self._row(organisation, build)).state in _ENDED

    async def _settled(self, organisation: str, build: str) -> Any:
        """The row after the log's end: the fact that ends the build follows within moments."""
        row = await self._row(organisation, build)
        for _ in range(20):
            if row.state in _ENDED:
                break
            await asyncio.sleep(0.05)
            row = await self._row(organisation, build)
        return row

    async def _row(self, organisation: str, build: str) -> Any:
        async with self._read.read() as tx:
            row = await builds.find(tx, organisation, build)
        if row is None:
            raise NotFound("build", build[:80])
        return row


def _fields(row: list[Any]) -> tuple[int, str, int, str]:
    ms, stage, stream, text = row
    return int(ms), str(stage), int(stream), str(text)
