"""What setting up says: one line per finished step, the steps under way below, questions, errors.

Plain lines without a terminal. `kiops.terminal` draws the same shapes for everything after the setup.
"""

from __future__ import annotations

import os
import select
import sys
import threading
import time
from typing import NoReturn

WIDTH = 18


class NeedsHelp(Exception):
    """A person has to do something first; exit code 3.

    `what` is the first line, `goes_on` says what works nevertheless, `advice` what to do, `code` is stable.
    """

    def __init__(self, what: str, *, advice: str, code: str, goes_on: str = "") -> None:
        super().__init__(what)
        self.what, self.advice, self.code, self.goes_on = what, advice, code, goes_on


class Screen:
    """Prints to one stream: standard output, or standard error when a program reads the output."""

    def __init__(self, stream=None) -> None:
        self.stream = stream or sys.stdout
        self.live = self.stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        self.colour = self.live and "NO_COLOR" not in os.environ
        self._lock = threading.Lock()
        self._running: dict[str, float] = {}
        self._drawn = False
        self._ticked = 0.0

    def paint(self, text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.colour else text

    def say(self, text: str = "") -> None:
        with self._lock:
            self._wipe()
            self.stream.write(f"{text}\n")
            self.stream.flush()

    def begin(self, name: str) -> None:
        self._running[name] = time.monotonic()

    def done(self, name: str, note: str = "", *, seconds: float | None = None) -> None:
        since = self._running.pop(name, time.monotonic())
        seconds = time.monotonic() - since if seconds is None else seconds
        shown = f"{seconds:.0f} s" if seconds >= 9.95 else f"{seconds:.1f} s"
        line = f"  {self.paint('✓', '32')} {name:<{WIDTH}} {shown:<7} {note}"
        self.say(line.rstrip())

    def failed(self, name: str) -> None:
        self._running.pop(name, None)
        self.say(f"  {self.paint('✗', '31')} {name}")

    def error(self, problem: NeedsHelp) -> None:
        self.say(f"{self.paint('✗', '31')} {problem.what}")
        rows = (("works", problem.goes_on), ("do", problem.advice), ("code", problem.code))
        for label, text in rows:
            if text:
                first, *rest = text.splitlines()
                self.say(f"  {label:<9} {first}")
                for line in rest:
                    self.say(f"  {'':<9} {line}")

    def tick(self) -> None:
        """Redraws the line that says what is waited for; only on a terminal."""
        if not self.live or not self._running:
            return
        with self._lock:
            now = time.monotonic()
            if now - self._ticked < 0.5:
                return
            self._ticked = now
            text = ", ".join(f"{name} {now - since:.0f} s" for name, since in list(self._running.items()))
            self._wipe()
            self.stream.write(f"  … {text}"[:110])
            self.stream.flush()
            self._drawn = True

    def _wipe(self) -> None:
        if self._drawn:
            self.stream.write("\r\x1b[2K")
            self._drawn = False

    def agree(self, question: str, *, seconds: float = 5) -> bool:
        """Asks [Y/n]; silence for `seconds` is yes, and so is having nobody to ask."""
        if not (self.stream.isatty() and sys.stdin is not None and sys.stdin.isatty()):
            return True
        self.stream.write(f"{question} [Y/n] (answering yes in {seconds:g} s) ")
        self.stream.flush()
        readable, _, _ = select.select([sys.stdin], [], [], seconds)
        if not readable:
            self.stream.write("\n")
            return True
        return sys.stdin.readline().strip().lower() not in ("n", "no")


def give_up(screen: Screen, problem: NeedsHelp) -> NoReturn:
    """Shows the problem and ends with exit code 3: something needed is away."""
    screen.error(problem)
    raise SystemExit(3)
