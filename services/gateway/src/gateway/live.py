"""What open pages learn: a hub that the projections wake after each commit, and that server-sent events read from.

An event says only what changed (`{"run", "service", "kind"}`); the page asks for the rest. Slow readers lose the middle,
never the end: their queue is bounded and says `stale` when something was dropped.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from shared.errors import Unavailable

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


class Live:
    """The hub of one process. `sequence` is how far the read model has learnt; it starts at the position it was opened with."""

    def __init__(self, streams: int = 200, sequence: int = 0) -> None:
        self._streams = streams
        self.sequence = sequence
        self._readers: set[asyncio.Queue[Learnt | bool]] = set()
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
    def _offer(queue: asyncio.Queue[Learnt | bool], item: Learnt | bool) -> None:
        if queue.full():
            queue.get_nowait()
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
        queue: asyncio.Queue[Learnt | bool] = asyncio.Queue(_QUEUE)
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
    ) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        """Pairs of event name and data: `stream-state` first and at every change, `learnt`, and `beat` when all is quiet.

        The sequence in `stream-state` lets a reader see what it missed between what it read and the stream's beginning.
        """
        with self._reader() as queue:
            yield "stream-state", {"live": self.up, "sequence": self.sequence}
            while True:
                try:
                    item = await asyncio.wait_for(queue.get(), beat_seconds)
                except TimeoutError:
                    yield "beat", {}
                    continue
                if isinstance(item, bool):
                    yield "stream-state", {"live": item, "sequence": self.sequence}
                elif item.organisation == organisation and service in ("", item.service) and run in ("", item.run):
                    yield "learnt", item.data()
