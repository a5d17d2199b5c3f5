"""Time that a test can hold still."""

from __future__ import annotations

import time
from datetime import UTC, datetime


class Clock:
    """Wall time for people (epoch milliseconds) and monotonic time for durations and leases (seconds)."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.now_ms() / 1000, UTC)

    def monotonic(self) -> float:
        return time.monotonic()


class HeldClock(Clock):
    """A clock for tests: stands still until it is moved."""

    def __init__(self, at_ms: int = 1_795_250_000_000) -> None:
        self.at_ms = at_ms

    def now_ms(self) -> int:
        return self.at_ms

    def monotonic(self) -> float:
        return self.at_ms / 1000

    def move(self, seconds: float) -> None:
        self.at_ms += int(seconds * 1000)


def boot_id() -> str:
    """The kernel's id of this boot: a monotonic time means something only together with it. Empty where it cannot be read."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return file.read().strip()
    except OSError:
        return ""
