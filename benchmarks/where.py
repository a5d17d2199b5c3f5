"""Where time goes in a run: the one process with all seven under cProfile while runs go through, by what the time is spent on.

    python -m benchmarks.where [--runs 100] [--top 25] [--stats FILE]

Each function's own time is counted for the part of the system its file belongs to; a profile makes calls dearer than they are, so
the shares are what to read, not the seconds. Waiting (the event loop asleep, threads in a commit) is left out. --stats keeps the
profile for a viewer of flames (snakeviz, tuna, flameprof).
"""

from __future__ import annotations

import argparse
import pstats
import shutil
import signal
from pathlib import Path
from typing import Any

from benchmarks.burst import spread
from benchmarks.common import report, run_async
from benchmarks.load import send_all
from benchmarks.place import opened

# The first that fits names the part.
PARTS = (
    ("sqlite3", "SQLite itself (statements)"),
    ("sqlalchemy/sql", "building and compiling SQL (SQLAlchemy)"),
    ("sqlalchemy", "running SQL (SQLAlchemy)"),
    ("shared/database", "transactions (shared.database)"),
    ("shared/sqlite", "transactions (shared.database)"),
    ("shared/inbox", "the loop (shared.inbox)"),
    ("shared/outbox", "the relay (shared.outbox)"),
    ("shared/working", "jobs (shared.jobs)"),
    ("shared/jobs", "jobs (shared.jobs)"),
    ("shared/processes", "children (shared.processes)"),
    ("subprocess", "children (shared.processes)"),
    ("shared/facts", "contracts (pydantic)"),
    ("pydantic", "contracts (pydantic)"),
    ("shared/", "the rest of the chassis"),
    ("/nats/", "the bus's client (nats-py)"),
    ("uvicorn", "HTTP (uvicorn, FastAPI)"),
    ("starlette", "HTTP (uvicorn, FastAPI)"),
    ("fastapi", "HTTP (uvicorn, FastAPI)"),
    ("json", "JSON"),
    ("asyncio", "asyncio"),
    ("gateway/", "gateway"),
    ("webhook/", "webhook"),
    ("builder/", "builder"),
    ("scanner/", "scanner"),
    ("/gate/", "gate"),
    ("deployer/", "deployer"),
    ("operator_proxy/", "operator-proxy"),
)
WARM = 10
WAITS = ("runners.py", "select", "_queue.SimpleQueue", "lock", "poll")


def run(quick: bool, runs: int = 0, stats: str = "") -> dict[str, Any]:
    return run_async(measure(runs or (30 if quick else 150), stats))


async def measure(runs: int, stats: str = "") -> dict[str, Any]:
    async with opened() as place:
        await place.start_one(children=["build"])
        shops = [await place.register(f"shop-{number}") for number in range(5)]
        await place.stop()
        profile = place.folder / "profile"
        await place.start_one(children=["build"], profile=str(profile))
        await send_all(place.port("webhook"), spread(shops, WARM), 4)
        await place.until_ended(WARM, 300)
        await place.until_quiet()
        for process, _ in place.processes.values():
            process.send_signal(signal.SIGUSR1)
        before = handled(place)
        await send_all(place.port("webhook"), spread(shops, runs), 4)
        await place.until_ended(WARM + runs, 600)
        await place.until_quiet()
        messages = handled(place) - before
        await place.stop()
        if stats:
            shutil.copy(profile, stats)
        parts, functions = weigh(profile)
    return report(runs=runs, messages_handled=messages, parts=parts, functions=functions)


def handled(place: Any) -> int:
    """Messages that the services together have noted as handled."""
    from shared.bus import SERVICES

    found = 0
    for name in SERVICES:
        for file in (place.root / "services" / name).glob("*.db"):
            tables = [row[0] for row in place.query(name, "select name from sqlite_master", database=file.stem)]
            if "inbox" in tables:
                found += place.query(name, "select count(*) from inbox", database=file.stem)[0][0]
    return found


def weigh(profile: Path) -> tuple[list[list[Any]], list[list[Any]]]:
    """([part, share of the busy time], [function, share, calls]), the dearest first."""
    rows: dict[Any, Any] = pstats.Stats(str(profile)).stats  # type: ignore[attr-defined]
    parts: dict[str, float] = {}
    functions = []
    for (file, line, name), (_, calls, own, _, _) in rows.items():
        where = f"{file} {name}"
        if any(word in where for word in WAITS):
            continue
        part = next((label for word, label in PARTS if word in where), "Python itself")
        parts[part] = parts.get(part, 0.0) + own
        short = "/".join(file.split("/")[-2:])
        functions.append([f"{short}:{line} {name}" if line else name, own, calls])
    whole = sum(parts.values())
    ranked = [[part, round(100 * own / whole, 1)] for part, own in sorted(parts.items(), key=lambda row: -row[1])]
    functions.sort(key=lambda row: -row[1])
    return ranked, [[name, round(100 * own / whole, 1), calls] for name, own, calls in functions[:25]]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--runs", type=int, default=100, help="how many runs go through")
    parser.add_argument("--stats", default="", help="a file that the profile is kept in")
    asked = parser.parse_args()
    told = run(False, asked.runs, asked.stats)["told"]
    print(f"{told['runs']} runs, {told['messages_handled']} messages handled\n\n| part | share |\n|---|---|")
    for part, share in told["parts"]:
        print(f"| {part} | {share} % |")
    print("\n| function | share | calls |\n|---|---|---|")
    for name, share, calls in told["functions"]:
        print(f"| `{name}` | {share} % | {calls:,} |")


if __name__ == "__main__":
    main()
