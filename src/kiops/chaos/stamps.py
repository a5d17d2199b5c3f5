"""The file that the children of the stand-ins write, read as it grows: what began, what ended, under which token."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Effect:
    """One thing that was done outside for one run."""

    begun: list[int] = field(default_factory=list)
    """Tokens, in the order in which their children began."""
    ended: int = -1
    """The line of the last end; -1: none has ended."""


@dataclass
class Stamps:
    """`look()` reads what is new; nothing is read twice."""

    file: Path
    effects: dict[tuple[str, str], Effect] = field(default_factory=dict)
    open: dict[tuple[str, str, int], int] = field(default_factory=dict)
    """(what, run, token) -> process id, of what has begun and not ended."""
    placed: int = 0
    """Runs whose deploy has ended."""
    _offset: int = 0
    _lines: int = 0

    def __post_init__(self) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.file.touch()

    def look(self) -> None:
        with self.file.open("rb") as file:
            file.seek(self._offset)
            block = file.read()
        whole = block[: block.rfind(b"\n") + 1]
        self._offset += len(whole)
        for line in whole.decode().splitlines():
            edge, what, run, token, pid = line.split()
            self._lines += 1
            effect = self.effects.setdefault((what, run), Effect())
            if edge == "begin":
                effect.begun.append(int(token))
                self.open[what, run, int(token)] = int(pid)
            else:
                self.open.pop((what, run, int(token)), None)
                self.placed += what == "deploy" and effect.ended < 0
                effect.ended = self._lines

    def at_work(self) -> bool:
        """Whether a child is at work just now: it has begun, has not ended, and lives."""
        self.look()
        for name, pid in list(self.open.items()):
            if os.path.exists(f"/proc/{pid}"):
                return True
            del self.open[name]
        return False
