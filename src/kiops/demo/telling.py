"""How the demo speaks: a finished line per step, plain without a terminal; on one, a line below says what is waited for."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from kiops.setup.screen import Screen

STEP, TEXT = 10, 66
SIGNS = {"success": ("✓", "32"), "warning": ("✓", "33"), "skipped": ("–", "2"), "cancelled": ("–", "2")}
BAD = ("✗", "31")


class Teller:
    """Lines of the story on one screen."""

    def __init__(self, screen: Screen) -> None:
        self.screen = screen

    def title(self, text: str, right: str = "") -> None:
        gap = " " * max(1, 81 - len(text) - len(right)) if right else ""
        self.screen.say(self.screen.paint(text, "1") + gap + right)

    def step(self, name: str, text: str, took: str = "", state: str = "success") -> None:
        """One finished step. Long sentences go on below, under their beginning."""
        sign, colour = SIGNS.get(state, BAD)
        first, *rest = wrapped(text, TEXT if took else TEXT + 12)
        right = f"{took:>10}" if took else ""
        self.screen.say(f"  {self.screen.paint(sign, colour)} {name:<{STEP}} {first:<{TEXT}}{right}".rstrip())
        for line in rest:
            self.screen.say(f"    {'':<{STEP}} {line}")

    def done(self, text: str, took: str = "") -> None:
        """A finished line that is no step of a run."""
        right = f"{took:>10}" if took else ""
        self.screen.say(f"  {self.screen.paint('✓', '32')} {text:<{STEP + 1 + TEXT}}{right}".rstrip())

    def so(self, text: str, took: str = "") -> None:
        """What came of it."""
        gap = " " * max(1, STEP + 1 + TEXT - len(text)) if took else ""
        self.screen.say(f"  → {text}{gap}{took}")

    def more(self, text: str) -> None:
        """A line that belongs to the step above."""
        for line in wrapped(text, TEXT + 12):
            self.screen.say(f"    {'':<{STEP}} {line}")

    def wrong(self, what: str, *, advice: str = "", code: str = "") -> None:
        from kiops.setup.screen import NeedsHelp

        self.screen.error(NeedsHelp(what, advice=advice, code=code))

    @asynccontextmanager
    async def waiting(self, name: str) -> AsyncIterator[None]:
        """Shows on a terminal that this is waited for, and for how long."""
        self.screen.begin(name)

        async def tick() -> None:
            while True:
                self.screen.tick()
                await asyncio.sleep(0.2)

        task = asyncio.create_task(tick())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            self.screen._running.pop(name, None)


def wrapped(text: str, width: int) -> list[str]:
    """Lines of at most so many characters, broken at spaces."""
    lines = [""]
    for word in text.split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) > width:
            lines.append(word)
        else:
            lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


def took(milliseconds: float | None) -> str:
    """A duration as a person reads it: 3 ms, 0.04 s, 2.6 s, 4 min 10 s."""
    if milliseconds is None:
        return ""
    if milliseconds < 10:
        return f"{milliseconds:.0f} ms"
    if milliseconds < 100:
        return f"{milliseconds / 1000:.2f} s"
    if milliseconds < 60_000:
        return f"{milliseconds / 1000:.1f} s"
    minutes, rest = divmod(int(milliseconds / 1000), 60)
    return f"{minutes} min {rest} s"


def count(number: int, one: str, many: str = "") -> str:
    """`1 layer`, `1,204 requests`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
