"""How the command line speaks: one finished line per event, errors as what / works / do / code, tables, JSON.

Colour only judges, and only on a terminal. Exit codes: 0 done, 1 the answer is no, 2 asked wrongly, 3 something
needed is away, 4 a defect of ours.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from enum import IntEnum
from typing import Any, NoReturn

from kiops.setup.screen import NeedsHelp, Screen


class Exit(IntEnum):
    """What the exit code says."""

    DONE = 0
    NO = 1
    ASKED_WRONGLY = 2
    AWAY = 3
    DEFECT = 4


REPORT_PLACE = "CONTRIBUTING.md says where to report it"


def screen() -> Screen:
    """Standard output."""
    return Screen(sys.stdout)


def fail(what: str, *, advice: str = "", code: str, goes_on: str = "", exit_code: Exit, missing: str = "") -> NoReturn:
    """Says what is wrong on standard error, and ends."""
    errors = Screen(sys.stderr)
    if exit_code is Exit.DEFECT:
        advice = "\n".join(part for part in (advice, f"this is a defect of ours; {REPORT_PLACE}") if part)
    if missing:
        what = f"{what}\n  {'missing':<9} {missing}"
    errors.error(NeedsHelp(what, advice=advice, code=code, goes_on=goes_on))
    raise SystemExit(int(exit_code))


def print_json(value: Any) -> None:
    """One object, or each of a list on a line of its own; nothing else on standard output."""
    rows = value if isinstance(value, list) else [value]
    for row in rows:
        sys.stdout.write(json.dumps(row, ensure_ascii=False, default=str) + "\n")
    sys.stdout.flush()


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, nothing: str) -> None:
    """Rows under headings; `nothing` when there are none. Plain and unclipped where a program may read it."""
    shown = [[("" if cell is None else str(cell)) for cell in row] for row in rows]
    if not shown:
        print(nothing)
        return
    if not sys.stdout.isatty():
        widths = [max(len(cells[i]) for cells in [list(columns), *shown]) for i in range(len(columns))]
        for cells in [list(columns), *shown]:
            print("  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip())
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for column in columns:
        drawn.add_column(column, overflow="fold")
    for cells in shown:
        drawn.add_row(*(Text(cell, style=STATE_COLOURS.get(cell, "")) for cell in cells))
    Console().print(drawn)


STATE_COLOURS = {
    "success": "green", "pass": "green", "running": "cyan", "completed": "green", "ready": "green",
    "failed": "red", "block": "red", "blocked": "red", "not ready": "red", "critical": "red",
    "warn": "yellow", "warning": "yellow", "high": "yellow", "held": "yellow",
}  # fmt: skip


def seconds(milliseconds: float | None) -> str:
    """A duration as a person reads it: 3 ms, 2.6 s, 4 min 10 s; empty when there is none."""
    if milliseconds is None:
        return ""
    if milliseconds < 100:
        return f"{milliseconds:.0f} ms"
    if milliseconds < 60_000:
        return f"{milliseconds / 1000:.1f} s"
    minutes, rest = divmod(int(milliseconds / 1000), 60)
    return f"{minutes} min {rest} s"


def when(epoch_ms: int | None) -> str:
    """Local date and time, to the second; empty when there is none."""
    if not epoch_ms:
        return ""
    from datetime import datetime

    return datetime.fromtimestamp(epoch_ms / 1000).strftime("%Y-%m-%d %H:%M:%S")
