# ruff: noqa: E501  (SQL reads better as one line)
"""Lists at 1,000 and at 100,000 runs: every list that pages and the API fetch, through the gateway's own HTTP door, in turns.

The read models are made by the projections from facts of 1,000 runs of 40 services; the long one has those runs a hundred times,
each copy with ids, numbers and times of its own. Floor: the runs of a service as a bare SQLite statement on the same long file.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
from gateway.projections.batch import Projector
from gateway.projections.table import PROJECTIONS
from gateway.rebuilding import fresh
from gateway.rebuilding.stream import At
from shared.clock import Clock
from shared.inbox import Incoming

from benchmarks import history
from benchmarks.common import Figure, Series, others_busy, quantile, report, rounds, run_async
from benchmarks.place import Place, opened

SERVICES, EACH = 40, 25
COPIES, QUICK_COPIES = 100, 20
ASKED, QUICK_ASKED = 300, 60
START_MS = 1_795_250_000_000
SERVICE = "shop-0001"
RUN = f"run_{1:08x}{1:024x}"
API = {
    "runs": "/api/v1/runs",
    "runs of a service": f"/api/v1/runs?service={SERVICE}",
    "runs in a state": "/api/v1/runs?state=success",
    "runs of a state that none has": "/api/v1/runs?state=failed&state=blocked",
    "runs of a branch": "/api/v1/runs?branch=main",
    "runs of a trigger that none has": "/api/v1/runs?trigger=api",
    "runs of a service in a state": f"/api/v1/runs?service={SERVICE}&state=success",
    "builds": "/api/v1/builds",
    "builds of a service": f"/api/v1/builds?service={SERVICE}",
    "builds in a state that none has": "/api/v1/builds?state=failed",
    "releases of a service": f"/api/v1/services/{SERVICE}/releases",
    "decisions": "/api/v1/decisions",
    "decisions of a service": f"/api/v1/decisions?service={SERVICE}",
    "services": "/api/v1/services",
    "scans of a run": f"/api/v1/runs/{RUN}/scans",
    "findings of a run": f"/api/v1/runs/{RUN}/findings",
    "audit": "/api/v1/audit",
    "audit of a person": "/api/v1/audit?by=ada",
}
PAGES = {
    "dashboard": "/dashboard",
    "services": "/services",
    "runs of a service": f"/services/{SERVICE}/runs",
    "builds of a service": f"/services/{SERVICE}/build",
    "deploys of a service": f"/services/{SERVICE}/deploy",
}
# Tables that grow with every run, and their columns that hold an id made of run number and service.
GROWING = (
    "runs",
    "run_steps",
    "run_waits",
    "builds",
    "scans",
    "findings",
    "decisions",
    "releases",
    "deploys",
    "deploy_events",
    "deliveries",
)


def run(quick: bool) -> dict[str, Any]:
    return run_async(measure(quick))


async def measure(quick: bool) -> dict[str, Any]:
    copies, asked = (QUICK_COPIES, QUICK_ASKED) if quick else (COPIES, ASKED)
    folder = Path(tempfile.mkdtemp(prefix="kiops-bench-"))
    few, many = folder / "few.db", folder / "many.db"
    await short(few)
    shutil.copy(few, many)
    multiply(many, copies)
    api: dict[str, dict[str, Series]] = {size: {name: Series() for name in API} for size in ("few", "many")}
    pages: dict[str, dict[str, Series]] = {size: {name: Series() for name in PAGES} for size in ("few", "many")}
    floor = Series()
    try:
        async with opened() as small, opened() as large:
            places = {"few": small, "many": large}
            for place, file in ((small, few), (large, many)):
                home = place.root / "services" / "gateway"
                home.mkdir(parents=True)
                shutil.copy(file, home / "read_model.db")
                await place.start(["gateway"])
            for turn in rounds(quick):
                for size in turn.order("few", "many"):
                    with others_busy() as busy:
                        times = await ask(places[size], asked)
                    for found, series in ((API, api), (PAGES, pages)):
                        for name, path in found.items():
                            series[size][name].add(quantile(times[path], 0.99), n=asked, others=busy.cores)
                floor.add(bare(many, asked), n=asked)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    runs = SERVICES * EACH * copies
    note = f"{runs} runs; floor: the same list at {SERVICES * EACH}"
    figures = []
    for name in API:
        figures.append(Figure(f"list of {name}, p99", "ms", api["many"][name], must=15, aim=8, note=note))
        figures.append(
            Figure(f"list of {name}, growth", "ms", api["many"][name], api["few"][name], must=1.5, aim=1.2, judged="ratio")
        )
    for name in PAGES:
        figures.append(Figure(f"page of {name}, p99", "ms", pages["many"][name], pages["few"][name], note=note))
    figures.append(Figure("runs of a service, bare SQLite, p99", "ms", floor))
    return report(*figures, runs=runs)


async def short(file: Path) -> None:
    """A read model of 1,000 runs, as the projections make it."""
    told: list[Incoming] = []

    def add(fact: history.Told) -> None:
        number = len(told) + 1
        subject, body = fact
        told.append(Incoming(At(f"f-{number}", subject, number, START_MS + number * 100, b""), {}, body.decode()))  # type: ignore[arg-type]

    for fact in history.services(SERVICES):
        add(fact)
    for number in range(1, EACH + 1):
        for service in range(SERVICES):
            for fact in history.run(service, number):
                add(fact)
    async with fresh.opened(fresh.Place(file=str(file)), Clock()) as database:
        indexes = await fresh.hasten(database)
        projector = Projector(PROJECTIONS)
        for start in range(0, len(told), 5000):
            async with database.write() as tx:
                await projector.project(tx, told[start : start + 5000])
        await fresh.settle(database, indexes)
        await fresh.make_safe(database, str(file))
    with sqlite3.connect(file) as connection:
        audited(connection, 1, SERVICES * EACH)


def audited(connection: sqlite3.Connection, first: int, last: int) -> None:
    """Something that a person did for each run, so that the audit is as long as the history."""
    rows = ((f"au-{n}", n, ("ada", "grace", "edsger")[n % 3], START_MS + n * 1000) for n in range(first, last + 1))
    columns = "id, organisation_id, sequence, service_id, category, action, actor, object, outcome, detail, at_ms"
    values = f"(?, 'main', ?, '{history.service_id(1)}', 'deploy', 'started', ?, '{SERVICE}', 'done', '', ?)"
    connection.executemany(f"insert into audit ({columns}) values {values}", rows)


def multiply(file: Path, copies: int) -> None:
    """The same runs again and again, each copy later: ids, numbers and times are moved, everything else is as it was."""
    connection = sqlite3.connect(file, isolation_level=None)
    for pragma in ("journal_mode=MEMORY", "synchronous=OFF", "cache_size=-96000"):
        connection.execute(f"pragma {pragma}").close()
    made = "select name, sql from sqlite_master where type = 'index' and sql is not null"
    indexes = connection.execute(made).fetchall()
    for name, _ in indexes:
        connection.execute(f'drop index "{name}"')
    connection.execute("create temp table moved (old text, new text, copy int, primary key (old, copy))")
    rows = [(f"{n:08x}", f"{n + copy * EACH:08x}", copy) for copy in range(1, copies) for n in range(1, EACH + 1)]
    connection.executemany("insert into moved values (?, ?, ?)", rows)
    span = EACH * SERVICES * 60_000
    connection.execute("begin")
    for table in GROWING:
        columns = [row[1] for row in connection.execute(f"pragma table_info({table})")]
        values = []
        by = "run_id" if "run_id" in columns else "deploy_id" if table == "deploy_events" else "id"
        for name in columns:
            quoted = f't."{name}"'
            if name in ("id", "run_id", "deploy_id", "request_id", "release_id", "decision_id", "delivery_id", "before_id"):
                # xxx_ <number, 8 digits> <service, 24 digits>
                values.append(
                    f"case when length({quoted}) = 36 then substr({quoted}, 1, 4) || m.new || substr({quoted}, 13) else {quoted} end"
                )
            elif name.endswith("_at_ms"):
                values.append(f"{quoted} + m.copy * {span}")
            elif name in ("number", "run_number", "release_number") or (name == "sequence"):
                step = EACH if name != "sequence" else 10_000_000
                values.append(f"{quoted} + m.copy * {step}")
            else:
                values.append(quoted)
        names = ", ".join(f'"{name}"' for name in columns)
        connection.execute(
            f"insert into {table} ({names}) select {', '.join(values)} from {table} t join moved m on m.old = substr(t.{by}, 5, 8)"
        )
    last = f"printf('%08x', last_run_number + {(copies - 1) * EACH})"
    connection.execute(
        f"update services set last_run_id = substr(last_run_id, 1, 4) || {last} || substr(last_run_id, 13),"
        f" last_run_number = last_run_number + {(copies - 1) * EACH}, last_run_at_ms = last_run_at_ms + {(copies - 1) * span}"
    )
    audited(connection, SERVICES * EACH + 1, SERVICES * EACH * copies)
    connection.execute("commit")
    for _, text in indexes:
        connection.execute(text)
    connection.execute("analyze")
    connection.execute("pragma journal_mode=WAL").close()
    connection.close()


async def ask(place: Place, times: int) -> dict[str, list[float]]:
    """Milliseconds of each answer by path, the paths in turns, one at a time."""
    token = (place.root / "cli.token").read_text().strip()
    base = f"http://127.0.0.1:{place.port('gateway')}"
    paths = [*API.values(), *PAGES.values()]
    found: dict[str, list[float]] = {path: [] for path in paths}
    async with httpx.AsyncClient(base_url=base, headers={"Authorization": f"Bearer {token}"}, timeout=60) as client:
        for turn in range(times + 2):
            for path in paths:
                began = time.perf_counter()
                answer = await client.get(path)
                took = (time.perf_counter() - began) * 1000
                if answer.status_code != 200:
                    raise RuntimeError(f"{path}: {answer.status_code} {answer.text[:300]}")
                if turn > 1:
                    found[path].append(took)
    return found


def bare(file: Path, times: int) -> float:
    """p99 of the first page of a service's runs as a statement alone."""
    took = []
    with sqlite3.connect(file) as connection:
        statement = "select * from runs where service_id = ? order by born_at_ms desc, id desc limit 51"
        for _ in range(times):
            began = time.perf_counter()
            connection.execute(statement, (history.service_id(1),)).fetchall()
            took.append((time.perf_counter() - began) * 1000)
    return quantile(took, 0.99)


if __name__ == "__main__":
    import sys

    print(json.dumps(run("--quick" in sys.argv), indent=None if "--json" in sys.argv else 1))
