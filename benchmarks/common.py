"""What every benchmark gives back, how it takes turns with its floor, and how busy others were meanwhile.

A benchmark is a module of this package with one function, `run(quick: bool) -> dict`, which returns `report(...)`:

    def run(quick: bool) -> dict[str, Any]:
        floor, product = Series(), Series()
        for turn in rounds(quick):              # three, or one with --quick
            for part in turn.order("floor", "product"):   # whose turn is first changes
                with others_busy() as busy:
                    value = ...
                (floor if part == "floor" else product).add(value, n=200, others=busy.cores)
        return report(Figure("accept p50, webhook alone", "ms", product, floor, must=3.5, aim=2.2, judged="ratio"))

Times are milliseconds unless the unit says otherwise. Each value of a series is one round's median (or rate, or sum); the
figure is the median over the rounds, its spread the least and the most of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import statistics
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

T = TypeVar("T")
ROUNDS = 3
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Series:
    """One value per round, with how many samples made it and how many cores others kept busy meanwhile."""

    values: list[float] = field(default_factory=list)
    samples: list[int] = field(default_factory=list)
    others: list[float] = field(default_factory=list)

    def add(self, value: float, *, n: int = 1, others: float = 0.0) -> None:
        self.values.append(value)
        self.samples.append(n)
        self.others.append(others)


@dataclass(frozen=True)
class Figure:
    """One line of the table. `must` and `aim` are bounds for the figure itself, or for its ratio to the floor.

    better: whether less or more is better. judged: what the bounds are about. Bounds may be None: then it is only told.
    """

    name: str
    unit: str
    product: Series
    floor: Series | None = None
    must: float | None = None
    aim: float | None = None
    better: Literal["less", "more"] = "less"
    judged: Literal["figure", "ratio"] = "figure"
    note: str = ""

    def as_dict(self) -> dict[str, Any]:
        """The figure as JSON: medians, spreads, the ratio's median over rounds, and which bound it meets."""
        values, floors = self.product.values, self.floor.values if self.floor else []
        pairs = zip(values, floors, strict=False)
        ratios = [value / floor for value, floor in pairs if floor]
        ratio = statistics.median(ratios) if ratios else None
        figure = statistics.median(values)
        weighed = ratio if self.judged == "ratio" else figure
        return {
            "name": self.name,
            "unit": self.unit,
            "figure": round(figure, 4),
            "spread": [round(min(values), 4), round(max(values), 4)],
            "floor": round(statistics.median(floors), 4) if floors else None,
            "floor_spread": [round(min(floors), 4), round(max(floors), 4)] if floors else None,
            "ratio": round(ratio, 3) if ratio is not None else None,
            "judged": self.judged,
            "better": self.better,
            "must": self.must,
            "aim": self.aim,
            "met": self._met(weighed),
            "n": sum(self.product.samples),
            "rounds": len(values),
            "others": round(max(self.product.others, default=0.0), 2),
            "note": self.note,
        }

    def _met(self, value: float | None) -> str:
        """`aim`, `must`, `missed`, or empty when there is no bound."""
        if value is None or (self.must is None and self.aim is None):
            return ""
        for name, bound in (("aim", self.aim), ("must", self.must)):
            if bound is not None and (value <= bound if self.better == "less" else value >= bound):
                return name
        return "missed"


def report(*figures: Figure, **told: Any) -> dict[str, Any]:
    """What `run` returns: its figures, and whatever else is worth telling (plain JSON values)."""
    return {"figures": [figure.as_dict() for figure in figures], "told": told}


@dataclass(frozen=True)
class Turn:
    """One round."""

    number: int

    def order(self, *parts: str) -> list[str]:
        """The parts, another one first in each round, so that none always has the warmer machine."""
        shift = self.number % len(parts)
        return [*parts[shift:], *parts[:shift]]


def rounds(quick: bool, count: int = ROUNDS) -> Iterator[Turn]:
    """Three rounds, or one when it has to be quick."""
    for number in range(1 if quick else count):
        yield Turn(number)


def quantile(values: list[float], part: float) -> float:
    """The value below which `part` of the values lie (0.5 the median, 0.99 the slowest in a hundred)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))]


# -- how busy others were ------------------------------------------------------------------------------------------------
@dataclass
class Busy:
    """Filled when the block ends: cores that processes which are not ours (nor our children) kept busy, and our own."""

    cores: float = 0.0
    own: float = 0.0


@contextlib.contextmanager
def others_busy() -> Iterator[Busy]:
    """Measures how many cores other programs used during the block. A Docker engine is among the others."""
    busy, began = Busy(), time.monotonic()
    all_before, own_before = _machine_seconds(), _own_seconds()
    try:
        yield busy
    finally:
        seconds = max(time.monotonic() - began, 1e-3)
        own = _own_seconds() - own_before
        busy.own = max(0.0, own / seconds)
        busy.cores = max(0.0, (_machine_seconds() - all_before - own) / seconds)


def _machine_seconds() -> float:
    """CPU seconds of the whole machine since it started, idle and waiting for disks left out."""
    with open("/proc/stat", "rb") as file:
        numbers = [int(word) for word in file.readline().split()[1:9]]
    return (sum(numbers) - numbers[3] - numbers[4]) / TICKS


def _own_seconds() -> float:
    """CPU seconds of this process, of what lives below it, and of what of that has ended and was waited for."""
    parents: dict[int, int] = {}
    spent: dict[int, int] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError, ValueError, IndexError), open(f"/proc/{name}/stat", "rb") as file:
                words = file.read().rpartition(b")")[2].split()
                parents[int(name)] = int(words[1])
                spent[int(name)] = sum(int(word) for word in words[11:15])
    own, ours = 0, {os.getpid()}
    growing = True
    while growing:
        more = {pid for pid, parent in parents.items() if parent in ours} - ours
        growing = bool(more)
        ours |= more
    for pid in ours:
        own += spent.get(pid, 0)
    return own / TICKS


# -- helpers -------------------------------------------------------------------------------------------------------------
async def until(what: str, condition: Callable[[], Coroutine[Any, Any, T]], seconds: float = 60, pause: float = 0.02) -> T:
    """Wait until the condition's answer is true, and return it. Raises TimeoutError naming what was waited for."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := await condition():
            return found
        await asyncio.sleep(pause)
    raise TimeoutError(f"{what}: not within {seconds:g} s")


def run_async(work: Coroutine[Any, Any, T]) -> T:
    """Run it on uvloop, as the platform does."""
    import uvloop

    return uvloop.run(work)
