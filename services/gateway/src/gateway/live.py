"""What open pages learn: a hub that the projections wake after each commit, and that server-sent events read from.

An event says only what changed (`{"run", "service", "kind"}`); the page asks for the rest. What waits for a slow reader is bounded:
when it is too much, all of it becomes one event that says `stale`.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from shared.errors import Unavailable
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send


class EventStream(StreamingResponse):
    """Server-sent events. When the client has gone, what makes them is closed at once: it holds a reader's place."""

    def __init__(self, events: AsyncGenerator[str, None]) -> None:
        super().__init__(events, media_type="text/event-stream", headers={"cache-control": "no-store", "x-accel-buffering": "no"})
        self._events = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._events.aclose()


_REMEMBERED = 4096
_QUEUE = 500


@dataclass(frozen=True, slots=True)
class Learnt:
    """What a projection just wrote. `kind` is the fact's noun.verb; `sequence` its position in the stream."""

    organisation: str
    kind: str
    service: str = ""
    run: str = ""
    sequence: int = 0

    def data(self) -> dict[str, Any]:
        return {"kind": self.kind, "service": self.service, "run": self.run, "sequence": self.sequence}


@dataclass(frozen=True, slots=True)
class Stale:
    """So much waited for a slow reader that it was let go."""


class Live:
    """The hub of one process. `sequence` is how far the read model has learnt; it starts at the position it was opened with."""

    def __init__(self, streams: int = 200, sequence: int = 0) -> None:
        self._streams = streams
        self.sequence = sequence
        self._readers: set[asyncio.Queue[Learnt | Stale | bool]] = set()
        self._passed: OrderedDict[str, None] = OrderedDict()
        self._turn = asyncio.Event()
        self.up = True

    # -- the projections' side ---------------------------------------------------------------------------------------
    def tell(self, learnt: Learnt, *ids: str) -> None:
        """Called after a commit: `ids` are the message's own and that of the message which led to it."""
        for name in ids:
            if name:
                self._passed[name] = None
                self._passed.move_to_end(name)
        while len(self._passed) > _REMEMBERED:
            self._passed.popitem(last=False)
        self.sequence = max(self.sequence, learnt.sequence)
        for queue in self._readers:
            self._offer(queue, learnt)
        self._turn.set()
        self._turn = asyncio.Event()

    def set_up(self, up: bool) -> None:
        """Whether the bus answers. A change is told to every open page."""
        if up != self.up:
            self.up = up
            for queue in self._readers:
                self._offer(queue, up)

    @staticmethod
    def _offer(queue: asyncio.Queue[Learnt | Stale | bool], item: Learnt | bool) -> None:
        if queue.full():
            while not queue.empty():
                queue.get_nowait()
            queue.put_nowait(Stale())
        else:
            queue.put_nowait(item)

    @property
    def readers(self) -> int:
        """How many streams are open."""
        return len(self._readers)

    # -- the readers' side -------------------------------------------------------------------------------------------
    async def passed(self, message_id: str, timeout_seconds: float) -> bool:
        """Wait until the read model has learnt this message, or one that it led to. False when the time is over."""
        try:
            async with asyncio.timeout(timeout_seconds):
                while message_id not in self._passed:
                    await self._turn.wait()
        except TimeoutError:
            return False
        return True

    @contextmanager
    def _reader(self) -> Any:
        if len(self._readers) >= self._streams:
            raise Unavailable("live.full", "Too many pages follow live events just now.", "Close some, or reload in a while.")
        queue: asyncio.Queue[Learnt | Stale | bool] = asyncio.Queue(_QUEUE)
        self._readers.add(queue)
        try:
            yield queue
        finally:
            self._readers.discard(queue)

    def check_room(self) -> None:
        """Raise Unavailable `live.full` before an answer has begun, when one more reader would be too many."""
        if len(self._readers) >= self._streams:
            with self._reader():
                pass

    async def follow(
        self, organisation: str, *, service: str = "", run: str = "", beat_seconds: float = 15.0
    ) -> AsyncGenerator[tuple[str, dict[str, Any]], None]:
        """Pairs of event name and data: `stream-state` first and at every change, `learnt`, `stale` when the reader was so slow
        that events were let go (it has to ask anew for what it shows), and `beat` when all is quiet.

        The sequence in `stream-state` lets a reader see what it missed between what it read and the stream's beginning.
        """
        with self._reader() as queue:
            yield "stream-state", {"live": self.up, "sequence": self.sequence}
            while True:
                try:
                    # Not wait_for: on Python 3.11 it swallows a cancel that comes with an event, and the reader stays for ever.
                    async with asyncio.timeout(beat_seconds):
                        item = await queue.get()
                except TimeoutError:
                    yield "beat", {}
                    continue
                if isinstance(item, Stale):
                    yield "stale", {"sequence": self.sequence}
                    yield "stream-state", {"live": self.up, "sequence": self.sequence}
                elif isinstance(item, bool):
                    yield "stream-state", {"live": item, "sequence": self.sequence}
                elif item.organisation == organisation and service in ("", item.service) and run in ("", item.run):
                    yield "learnt", item.data()
