"""Measure: `python -m benchmarks [--quick] [--json] [--only NAME ...]`.

Each benchmark runs in a process of its own, one after another; a table ends it. With --json the last line of standard output is one
JSON object. Exit code 1 when a bound that must hold was missed or a benchmark broke, 0 else.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import subprocess
import sys
import time
from datetime import UTC, datetime
from typing import Any

from benchmarks.common import others_busy

# In this order. What needs minutes or a Docker engine is left out of --quick.
EVERY = [
    "accept", "push_to_process", "burst", "runs", "steps", "lists", "log_lines", "masking", "restart", "growth",
    "rebuild", "switch",
]  # fmt: skip
SLOW = {"rebuild", "switch"}
NOTE = "must and aim followed by x are for the ratio to the floor; others: cores that others kept busy"
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--quick", action="store_true", help="one short round of each: about 2 minutes in all, for a look")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    parser.add_argument("--only", action="append", metavar="NAME", help=f"one of {', '.join(EVERY)}; may be given again")
    parser.add_argument("--here", metavar="NAME", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.here:
        print(json.dumps(importlib.import_module(f"benchmarks.{asked.here}").run(asked.quick)))
        return 0
    unknown = set(asked.only or ()) - set(EVERY)
    if unknown:
        parser.error(f"no benchmark is called {', '.join(sorted(unknown))}")
    names = asked.only or [name for name in EVERY if not (asked.quick and name in SLOW)]
    found = {"machine": machine(), "quick": asked.quick, "benchmarks": {name: one(name, asked.quick) for name in names}}
    print(table(found["benchmarks"]))
    if asked.json:
        print(json.dumps(found))
    broken = any("error" in each for each in found["benchmarks"].values())
    missed = any(row["met"] == "missed" for each in found["benchmarks"].values() for row in each.get("figures", []))
    return 1 if broken or missed else 0


def one(name: str, quick: bool) -> dict[str, Any]:
    """Run it in a process of its own; what broke is told in `error`."""
    began = time.monotonic()
    print(f"{name} ...", file=sys.stderr, flush=True)
    words = [sys.executable, "-m", "benchmarks", "--here", name, *(["--quick"] if quick else [])]
    with others_busy() as busy:
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    told: dict[str, Any]
    try:
        told = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        told = {"error": done.stderr[-2000:] or f"exit code {done.returncode}"}
        print(told["error"], file=sys.stderr)
    return told | {"seconds": round(time.monotonic() - began, 1), "others": round(busy.cores, 2)}


def machine() -> dict[str, Any]:
    """What the figures were taken on."""
    with open("/proc/cpuinfo") as file:
        model = next((line.partition(":")[2].strip() for line in file if line.startswith("model name")), platform.machine())
    return {"cores": os.cpu_count(), "cpu": model, "kernel": platform.release(), "python": platform.python_version(),
            "at": datetime.now(UTC).isoformat(timespec="seconds")}  # fmt: skip


def table(benchmarks: dict[str, Any]) -> str:
    """Figures as text: medians, spread over the rounds, floor, ratio, bounds, and how busy others were."""
    head = ("what", "figure", "spread", "floor", "ratio", "must", "aim", "", "n", "others")
    rows = [head]
    for name, each in benchmarks.items():
        if "error" in each:
            rows.append((name, "broke", "", "", "", "", "", "", "", f"{each['others']:.2f}"))
        rows += [_cells(row) for row in each.get("figures", [])]
    widths = [max(len(row[at]) for row in rows) for at in range(len(head))]
    lines = []
    for row in rows:
        cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
        lines.append("  ".join([row[0].ljust(widths[0]), *cells[1:]]).rstrip())
    told = [f"{name}: {json.dumps(each['told'])}"[:400] for name, each in benchmarks.items() if each.get("told")]
    return "\n".join([*lines, "", *told, NOTE])


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    mark = "x" if row["judged"] == "ratio" else ""
    bounds = [shown(row[name]) + mark if row[name] is not None else "" for name in ("must", "aim")]
    spread = " .. ".join(map(shown, row["spread"]))
    return (
        row["name"], f"{shown(row['figure'])} {row['unit']}", spread, shown(row["floor"]), shown(row["ratio"]), *bounds,
        row["met"], str(row["n"]), f"{row['others']:.2f}",
    )  # fmt: skip


def shown(value: float | None) -> str:
    """Three digits are enough for a reader."""
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


if __name__ == "__main__":
    sys.exit(main())
