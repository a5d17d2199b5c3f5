"""The rows that a batch of facts touches, in memory: loaded once before, moved by the projections, written once after.

A row is a plain dict of every column of its table; columns that hold JSON hold values. `Model` knows by which keys its projections
ask, and finds them all by primary keys, so that a batch costs the same few statements whatever its length.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from functools import cache
from operator import itemgetter
from typing import Any

import sqlalchemy as sa
from shared.database import Tx

from gateway.projections.reading import text
from gateway.tables import read_model
from shared import plain

Row = dict[str, Any]
Key = tuple[Any, ...]


class Table:
    """How rows of one table are read and written, in the words of both databases."""

    def __init__(self, table: sa.Table) -> None:
        self.name = table.name
        self.columns = [column.name for column in table.c]
        self.key = [column.name for column in table.primary_key]
        self.json = [column.name for column in table.c if isinstance(column.type, sa.JSON)]
        self.template: Row = {column.name: self._default(column) for column in table.c}
        self.key_of: Callable[[Row], Key] = itemgetter(*self.key) if len(self.key) > 1 else lambda row: (row[self.key[0]],)
        self.values_of: Callable[[Row], tuple[Any, ...]] = itemgetter(*self.columns)
        self.names = ", ".join(map(_quoted, self.columns))

    @staticmethod
    def _default(column: sa.Column[Any]) -> Any:
        default = column.default
        if default is None:
            return None
        return {"list": [], "dict": {}}[default.arg.__name__] if default.is_callable else default.arg  # type: ignore[attr-defined]

    def new(self, values: Row) -> Row:
        return self.template | values

    @cache  # noqa: B019  (tables live as long as the process)
    def select(self, by: str, postgresql: bool) -> str:
        """Rows whose column `by` is one of the given values (the one parameter)."""
        those = "= any($1::text[])" if postgresql else "in (select value from json_each(?))"
        return f"select {self.names} from {self.name} where {_quoted(by)} {those}"

    @cache  # noqa: B019
    def insert(self, replaces: bool, postgresql: bool) -> str:
        """One row; in place of the one with its key, or nothing when there is one."""
        marks = ", ".join(f"${n}" if postgresql else "?" for n in range(1, len(self.columns) + 1))
        key = ", ".join(map(_quoted, self.key))
        changes = ", ".join(f"{_quoted(name)} = excluded.{_quoted(name)}" for name in self.columns if name not in self.key)
        then = f"do update set {changes}" if replaces else "do nothing"
        return f"insert into {self.name} ({self.names}) values ({marks}) on conflict ({key}) {then}"

    def bound(self, row: Row) -> tuple[Any, ...]:
        """The row as parameters of `insert`."""
        if not self.json:
            return self.values_of(row)
        return self.values_of(row | {name: text(row[name]) for name in self.json})

    def read(self, values: Iterable[Any]) -> Row:
        row = dict(zip(self.columns, values, strict=True))
        for name in self.json:
            if isinstance(row[name], str):  # PostgreSQL's driver gives values
                row[name] = json.loads(row[name])
        return row


def _quoted(name: str) -> str:
    return f'"{name}"'


services = Table(read_model.services)
rules = Table(read_model.rules)
runtimes = Table(read_model.runtimes)
environments = Table(read_model.environments)
runs = Table(read_model.runs)
run_steps = Table(read_model.run_steps)
run_waits = Table(read_model.run_waits)
builds = Table(read_model.builds)
scans = Table(read_model.scans)
service_areas = Table(read_model.service_areas)
findings = Table(read_model.findings)
current_findings = Table(read_model.current_findings)
decisions = Table(read_model.decisions)
releases = Table(read_model.releases)
deploys = Table(read_model.deploys)
deploy_events = Table(read_model.deploy_events)
endpoints = Table(read_model.endpoints)
deliveries = Table(read_model.deliveries)
audit = Table(read_model.audit)

APPENDED = {"decisions", "deploy_events", "deliveries", "audit"}
"""Tables whose rows never change: a second one with the same key is the same thing told twice."""


class Model:
    """The working set of one batch."""

    def __init__(self) -> None:
        self.services: dict[str, Row] = {}
        self.runtimes: dict[str, Row] = {}
        self.runs: dict[str, Row] = {}
        self.builds: dict[str, Row] = {}
        self.releases: dict[str, Row] = {}
        self.deploys: dict[str, Row] = {}
        # By what they belong to: service -> name, run -> (step, environment), run -> area, service -> area ...
        self.places: dict[str, dict[str, Row]] = {}
        self.areas: dict[str, dict[str, Row]] = {}
        self.steps: dict[str, dict[tuple[str, str], Row]] = {}
        # Only those that are open in the database, and all that this batch touches.
        self.waits: dict[str, dict[tuple[str, str, int], Row]] = {}
        self.scans: dict[str, dict[str, Row]] = {}
        self.known: dict[tuple[str, str], dict[str, Row]] = {}
        self.findings: dict[tuple[str, str], list[Row]] = {}
        # What is folded when the batch ends: run -> its service, services.
        self.touched_runs: dict[str, str] = {}
        self.touched_services: dict[str, None] = {}
        self._dirty: dict[Table, dict[Key, Row]] = {}
        self._gone: list[tuple[str, list[tuple[Any, ...]]]] = []
        self._again: list[tuple[str, str]] = []

    # -- moving --------------------------------------------------------------------------------------------------------
    def mark(self, table: Table, row: Row) -> None:
        """This row is to be written."""
        self._dirty.setdefault(table, {})[table.key_of(row)] = row

    def append(self, table: Table, values: Row) -> None:
        """A row of a table whose rows never change."""
        row = table.new(values)
        self._dirty.setdefault(table, {}).setdefault(table.key_of(row), row)

    def put(self, table: Table, values: Row) -> None:
        """A whole row of a table that no projection reads."""
        self.mark(table, table.new(values))

    def change(self, table: Table, row: Row | None, **values: Any) -> None:
        """Nothing when there is no such row: what was never heard of cannot change."""
        if row is not None:
            row.update(values)
            self.mark(table, row)

    def forget_doors(self, service: str) -> None:
        """The endpoints and the rule of a service go."""
        for table in (endpoints, rules):
            waiting = self._dirty.get(table, {})
            for key in [key for key, row in waiting.items() if row["service_id"] == service]:
                del waiting[key]
            self._gone.append((table.name, [(service,)]))

    def replace_findings(self, run: str, area: str, rows: list[Row], *, again: bool) -> None:
        """The findings of one area of a run; `again` when there may be some of an earlier scan."""
        self.findings[(run, area)] = rows
        if again:
            self._again.append((run, area))

    # -- reading -------------------------------------------------------------------------------------------------------
    async def load(self, tx: Tx, wanted: Wanted) -> None:
        """Bring every row that the batch may ask for."""
        for row in await select(tx, releases, "id", wanted.releases):
            self.releases[row["id"]] = row
            if row["id"] in wanted.observed:
                wanted.services.add(row["service_id"])
        if wanted.runtimes:
            for row in await select(tx, environments, "runtime", wanted.runtimes):
                wanted.services.add(row["service_id"])
        deploy_ids, release_ids, run_ids = set(wanted.deploys), set[str](), set(wanted.runs)
        if wanted.services:
            for row in await select(tx, services, "id", wanted.services):
                self.services[row["id"]] = row
                if row["last_run_id"]:
                    run_ids.add(row["last_run_id"])
            for row in await select(tx, environments, "service_id", wanted.services):
                self.places.setdefault(row["service_id"], {})[row["name"]] = row
                deploy_ids.add(row["deploy_id"])
                release_ids.add(row["release_id"])
            for row in await select(tx, service_areas, "service_id", wanted.services):
                self.areas.setdefault(row["service_id"], {})[row["area"]] = row
            for row in await every(tx, runtimes):
                self.runtimes[row["id"]] = row
        for row in await select(tx, releases, "id", release_ids - set(self.releases) - {None}):
            self.releases[row["id"]] = row
        for row in await select(tx, deploys, "id", deploy_ids - {None}):
            self.deploys[row["id"]] = row
        for row in await select(tx, runs, "id", run_ids):
            self.runs[row["id"]] = row
        # A run that is born in this batch and is not in the database has no steps there either.
        there = wanted.runs - (wanted.born - set(self.runs))
        for row in await select(tx, run_steps, "run_id", there):
            self.steps.setdefault(row["run_id"], {})[(row["step"], row["environment"])] = row
        for row in await select(tx, run_waits, "run_id", there, "and ended_at_ms is null"):
            self.waits.setdefault(row["run_id"], {})[(row["step"], row["environment"], row["started_at_ms"])] = row
        for row in await select(tx, scans, "run_id", there & wanted.scanned):
            self.scans.setdefault(row["run_id"], {})[row["area"]] = row
        for row in await select(tx, builds, "id", wanted.builds):
            self.builds[row["id"]] = row
        if wanted.known:
            pairs = wanted.known
            for row in await select(tx, current_findings, "service_id", {service for service, _ in pairs}, _areas(pairs)):
                self.known.setdefault((row["service_id"], row["area"]), {})[row["finding_id"]] = row

    # -- writing -------------------------------------------------------------------------------------------------------
    async def write(self, tx: Tx) -> None:
        """Every touched row, once: one statement per table."""
        postgresql = tx.database.is_postgresql
        for name, keys in self._gone:
            await plain.many(tx, f"delete from {name} where service_id = {'$1' if postgresql else '?'}", keys)
        if self._again:
            marks = ("$1", "$2") if postgresql else ("?", "?")
            await plain.many(tx, f"delete from findings where run_id = {marks[0]} and area = {marks[1]}", self._again)
        for table, rows in self._dirty.items():
            await plain.many(tx, table.insert(table.name not in APPENDED, postgresql), list(map(table.bound, rows.values())))
        found = [findings.bound(row) for rows in self.findings.values() for row in rows]
        await plain.many(tx, findings.insert(True, postgresql), found)


class Wanted:
    """The keys of what a batch may ask for."""

    def __init__(self) -> None:
        self.services: set[str] = set()
        self.runtimes: set[str] = set()
        self.runs: set[str] = set()
        self.born: set[str] = set()
        self.scanned: set[str] = set()
        self.builds: set[str] = set()
        self.releases: set[str] = set()
        self.observed: set[str] = set()
        self.deploys: set[str] = set()
        self.known: set[tuple[str, str]] = set()


def _areas(pairs: set[tuple[str, str]]) -> str:
    # Codes of our own (words.Area), never text from outside.
    return "and area in (" + ", ".join(f"'{area}'" for area in sorted({area for _, area in pairs})) + ")"


async def select(tx: Tx, table: Table, by: str, keys: set[str], more: str = "") -> list[Row]:
    """Rows by the values of one column."""
    if not keys:
        return []
    postgresql = tx.database.is_postgresql
    given: Any = sorted(keys) if postgresql else text(sorted(keys))
    return [table.read(row) for row in await plain.rows(tx, f"{table.select(by, postgresql)} {more}", [given])]


async def every(tx: Tx, table: Table) -> list[Row]:
    """All rows of a small table."""
    return [table.read(row) for row in await plain.rows(tx, f"select {table.names} from {table.name}")]
