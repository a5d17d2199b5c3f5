"""How often a wrong password may be tried. Counted in memory: a restart forgives, and no try costs a write to disk."""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Iterable

from shared.clock import Clock

from gateway.errors import TooManyTries

_REMEMBERED = 10_000


class Limits:
    """Wrong tries per key within a window; after `tries` of them the next waits until the oldest has left the window."""

    def __init__(self, clock: Clock, tries: int, window_seconds: float) -> None:
        self._clock, self._tries, self._window = clock, tries, window_seconds
        self._wrong: OrderedDict[str, deque[float]] = OrderedDict()

    def check(self, keys: Iterable[str]) -> None:
        """Raise TooManyTries when any of the keys has to wait."""
        now = self._clock.monotonic()
        wait = 0.0
        for key in keys:
            tries = self._wrong.get(key)
            while tries and tries[0] <= now - self._window:
                tries.popleft()
            if tries and len(tries) >= self._tries:
                wait = max(wait, tries[0] + self._window - now)
        if wait > 0:
            raise TooManyTries(max(1, math.ceil(wait)))

    def failed(self, keys: Iterable[str]) -> None:
        for key in keys:
            self._wrong.setdefault(key, deque(maxlen=self._tries)).append(self._clock.monotonic())
            self._wrong.move_to_end(key)
        while len(self._wrong) > _REMEMBERED:
            self._wrong.popitem(last=False)

    def forget(self, keys: Iterable[str]) -> None:
        for key in keys:
            self._wrong.pop(key, None)
