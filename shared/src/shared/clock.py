"""Time that a test can hold still."""

from __future__ import annotations

import time
from datetime import UTC, datetime

STEP_MS = 2_000  # a clock that is slewed does not differ by as much between two looks


class Clock:
    """Wall time for people (epoch milliseconds) and monotonic time for durations and leases (seconds).

    People and NTP set the wall clock; the time since a moment is told by `age_ms`, which leaves out what was set.
    """

    def __init__(self) -> None:
        self._steps: list[tuple[int, int]] = []  # (what the clock showed before it was set, and after)
        self._seen = (self._wall_ms(), self.monotonic())

    def now_ms(self) -> int:
        """The wall clock. Each look compares it with the monotonic one, and remembers when it was set."""
        now, steady = self._wall_ms(), self.monotonic()
        before = self._seen[0] + int((steady - self._seen[1]) * 1000)
        if abs(now - before) > STEP_MS:
            self._steps = [*self._steps[-99:], (before, now)]
        self._seen = (now, steady)
        return now

    def _wall_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def age_ms(self, at_ms: int) -> int:
        """How long ago this moment of the wall clock was, whatever the clock was set by since then; never negative.

        Only what was set while this process ran is known. After a clock was set back, a moment between what it showed then and
        before is there twice; it is taken for the later one, so that nothing times out too soon.
        """
        end, age = self.now_ms(), 0
        for before, after in reversed(self._steps):
            if after <= at_ms <= end:
                break
            age, end = age + end - after, before
        return max(0, age + end - at_ms)

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.now_ms() / 1000, UTC)

    def monotonic(self) -> float:
        return time.monotonic()


class HeldClock(Clock):
    """A clock for tests: stands still until it is moved."""

    def __init__(self, at_ms: int = 1_795_250_000_000) -> None:
        self.at_ms = at_ms
        self.set_by_ms = 0
        super().__init__()

    def _wall_ms(self) -> int:
        return self.at_ms

    def monotonic(self) -> float:
        return (self.at_ms - self.set_by_ms) / 1000

    def move(self, seconds: float) -> None:
        self.at_ms += int(seconds * 1000)

    def set(self, seconds: float) -> None:
        """Set the wall clock forward, or back. No time passes."""
        self.at_ms += int(seconds * 1000)
        self.set_by_ms += int(seconds * 1000)


def boot_id() -> str:
    """The kernel's id of this boot: a monotonic time means something only together with it. Empty where it cannot be read."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return file.read().strip()
    except OSError:
        return ""
