"""Bytes on disk per 10,000 runs: databases, the bus's store and objects, of runs with a faked build and no deploy.

Databases are counted after their write-ahead logs are folded in (the platform is stopped). Raw bodies of deliveries (7.6 KB
each) are in it: they are dropped after 30 days, as the logs' stream and the outboxes are after theirs.
"""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import Any

from benchmarks.burst import spread
from benchmarks.common import Figure, Series, others_busy, report, run_async
from benchmarks.load import send_all
from benchmarks.place import Place, opened

SHOPS = 10


def run(quick: bool) -> dict[str, Any]:
    return run_async(measure(quick))


async def measure(quick: bool) -> dict[str, Any]:
    runs = 200 if quick else 2000
    async with opened() as place:
        await place.start_one(children=[])
        shops = [await place.register(f"shop-{number}") for number in range(SHOPS)]
        await send_all(place.port("webhook"), spread(shops, 50), 16)
        await place.until_ended(50)
        await place.until_quiet()
        await place.stop()
        before = sizes(place)
        await place.start_one(children=[])
        with others_busy() as busy:
            await send_all(place.port("webhook"), spread(shops, runs), 16)
            await place.until_ended(50 + runs, 600)
            await place.until_quiet()
        await place.stop()
        after = sizes(place)
    parts = {name: round((after[name] - before.get(name, 0)) * 10_000 / runs) for name in after}
    grown = Series()
    grown.add(sum(parts.values()) / 1e6, n=runs, others=busy.cores)
    return report(Figure("growth per 10,000 runs", "MB", grown), bytes_per_10000_runs=parts)


def sizes(place: Place) -> dict[str, int]:
    """Bytes by what holds them."""
    found: dict[str, int] = {}
    for file in (place.root / "services").glob("*/*.db"):
        with contextlib.closing(sqlite3.connect(file, timeout=10)) as connection:
            connection.execute("pragma wal_checkpoint(truncate)")
        found[f"database {file.stem}"] = file.stat().st_size
    found["bus"] = folder_bytes(place.root / "bus")
    found["objects"] = folder_bytes(place.root / "objects")
    found["logs"] = folder_bytes(place.root / "logs")
    return found


def folder_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
