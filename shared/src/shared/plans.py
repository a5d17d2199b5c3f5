"""Statements that SQLAlchemy writes and does not run.

SQLAlchemy makes the SQL and says what type each value has. Its execution context, its result and its connection's bookkeeping take
several times as long as the database does for a small statement, so the common ones (`Plan`) are run on the driver's connection
itself, and rows are made of the answer as SQLAlchemy makes them. What a `Plan` cannot run is left to SQLAlchemy.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy.engine.result import SimpleResultMetaData
from sqlalchemy.engine.row import Row
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import ClauseElement

PLANS = 1000
"""So many statements are remembered; a service has some hundreds."""


def to_json(value: Any) -> str:
    """JSON as it is stored: compact, ASCII."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=True)


class Result:
    """What a statement gave: all its rows, and how many rows it changed (-1 when it changes none)."""

    __slots__ = ("_rows", "rowcount")

    def __init__(self, rows: list[Row[Any]], rowcount: int) -> None:
        self._rows, self.rowcount = rows, rowcount

    def __iter__(self) -> Iterator[Row[Any]]:
        return iter(self._rows)

    def all(self) -> list[Row[Any]]:
        return self._rows

    def first(self) -> Row[Any] | None:
        return self._rows[0] if self._rows else None

    def scalar(self) -> Any:
        """The first column of the first row, or None."""
        return self._rows[0][0] if self._rows else None


class Plan:
    """How a compiled statement is run: its text, what makes its values ready, what makes rows of what comes back."""

    __slots__ = ("_bound", "_compiled", "_make", "returns", "text")

    def __init__(self, compiled: SQLCompiler) -> None:
        self._compiled = compiled
        self.text = str(compiled)
        ready = compiled._bind_processors
        self._bound = [(name, ready.get(name)) for name in compiled.positiontup or ()]
        self.returns = bool(compiled._result_columns)
        self._make: tuple[Any, ...] | None = None

    def learn(self, types: Sequence[Any] | None) -> None:
        """Make ready for rows whose columns have these types of the database's, as its driver names them (None: it does not)."""
        columns = self._compiled._result_columns
        if not columns:
            return
        theirs = types or [None] * len(columns)
        dialect = self._compiled.dialect
        made = [cast(Any, column.type)._cached_result_processor(dialect, of) for column, of in zip(columns, theirs, strict=True)]
        known = SimpleResultMetaData(
            [column.keyname for column in columns],
            # By column too, not by the names that a labelled one had before.
            extra=[tuple(each for each in column.objects if isinstance(each, ClauseElement)) for column in columns],
        )
        self._make = known, made if any(made) else None, known._key_to_index

    @property
    def learnt(self) -> bool:
        return self._make is not None

    @staticmethod
    def fits(compiled: Any) -> bool:
        """Whether there is nothing about a statement that only SQLAlchemy's own execution does."""
        return (
            isinstance(compiled, SQLCompiler)
            and not compiled.post_compile_params  # IN, written anew for each number of values
            and not compiled.literal_execute_params
            and not compiled.insert_prefetch  # defaults made by Python
            and not compiled.update_prefetch
            and not (compiled._result_columns and compiled._textual_ordered_columns)
        )

    def values(self, given: Mapping[str, Any] | None, extracted: Any, collected: Any) -> tuple[Any, ...]:
        named = self._compiled.construct_params(
            cast(Any, given), extracted_parameters=extracted, escape_names=False, _collected_params=collected
        )
        return tuple(named[name] if ready is None else ready(named[name]) for name, ready in self._bound)

    def rows(self, found: Sequence[Sequence[Any]]) -> list[Row[Any]]:
        if self._make is None:
            return []
        known, made, index = self._make
        return [Row(known, made, index, cast(Any, each)) for each in found]


class Plans:
    """The plans of one dialect's statements. `ready` is called with each new one."""

    def __init__(self, dialect: Any, ready: Callable[[Plan], object] = lambda plan: None) -> None:
        self._dialect, self._ready = dialect, ready
        self._compiled: dict[Any, Any] = {}
        self._plans: dict[Any, Plan | None] = {}

    def find(self, statement: Any, given: Mapping[str, Any] | None, many: bool) -> tuple[Plan, Any, Any] | None:
        """The plan of a statement, and the values that are written into it. None when SQLAlchemy has to run it."""
        if not isinstance(statement, ClauseElement) or isinstance(statement, sa.TextClause) or (many and given is None):
            return None
        if len(self._plans) > PLANS:
            self._compiled.clear()
            self._plans.clear()
        compiled, extracted, collected, _ = statement._compile_w_cache(
            self._dialect, compiled_cache=self._compiled, column_keys=sorted(given) if given else [], for_executemany=many
        )
        try:
            plan = self._plans[compiled]
        except KeyError:
            plan = self._plans[compiled] = self._new(compiled)
        return None if plan is None or (many and plan.returns) else (plan, extracted, collected)

    def _new(self, compiled: Any) -> Plan | None:
        if not Plan.fits(compiled):
            return None
        plan = Plan(cast(SQLCompiler, compiled))
        self._ready(plan)
        return plan
