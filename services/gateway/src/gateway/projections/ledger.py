"""The steps and waits of one run while a batch is projected: read once, moved in memory, written once before the commit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

import sqlalchemy as sa
from shared.database import Tx
from shared.words import StepState

from gateway.domain.steps import PLAN
from gateway.projections.many import upsert_all
from gateway.tables.read_model import run_steps, run_waits

Key = tuple[str, str]
_MUTABLE = [column.name for column in run_steps.c if not column.primary_key]
_KEYS = ("run_id", "step", "environment")

_UPDATE = (
    run_steps.update()
    .where(*(run_steps.c[name] == sa.bindparam(f"at_{name}") for name in _KEYS))
    .values({name: sa.bindparam(name) for name in _MUTABLE})
)
_END_WAIT = (
    run_waits.update()
    .where(
        *(run_waits.c[name] == sa.bindparam(f"at_{name}") for name in _KEYS),
        run_waits.c.ended_at_ms.is_(None),
    )
    .values(ended_at_ms=sa.bindparam("ended_ms"))
)


class Ledger:
    """A run's steps by (step, environment). Rows are plain dicts with every column of `run_steps`."""

    def __init__(self, run: str, service: str, organisation: str) -> None:
        self.run, self.service, self.organisation = run, service, organisation
        self.rows: dict[Key, dict[str, Any]] = {}
        self._new: set[Key] = set()
        self._changed: set[Key] = set()
        # Waits that began in this batch, open ones with ended_at_ms None; and stored ones that end in it.
        self._waits: list[dict[str, Any]] = []
        self._ended: dict[Key, int] = {}

    def add(self, step: str, environment: str = "", position: int | None = None, waits_for: str = "") -> dict[str, Any]:
        """The row of a step; made, as waiting, when there is none yet (its environment is newer than the plan)."""
        key = (step, environment)
        if key not in self.rows:
            self._new.add(key)
            self.rows[key] = {
                "run_id": self.run,
                "step": step,
                "environment": environment,
                "organisation_id": self.organisation,
                "service_id": self.service,
                "position": position if position is not None else (PLAN.index(step) if step in PLAN else len(PLAN)),
                "state": str(StepState.WAITING),
                "text": "",
                "code": "",
                "advice": "",
                "waits_for": waits_for,
                "queued_at_ms": None,
                "started_at_ms": None,
                "ended_at_ms": None,
                "duration_ms": None,
                "attempt": 0,
                "stages_ms": {},
            }
        return self.rows[key]

    def change(self, step: str, environment: str, **values: Any) -> None:
        self.add(step, environment).update(values)
        self._changed.add((step, environment))

    def begin_wait(self, step: str, environment: str, at_ms: int, what: str) -> None:
        self.end_wait(step, environment, at_ms)
        self._waits.append(
            {
                "run_id": self.run,
                "step": step,
                "environment": environment,
                "started_at_ms": at_ms,
                "organisation_id": self.organisation,
                "ended_at_ms": None,
                "what": what,
            }
        )

    def end_wait(self, step: str, environment: str, at_ms: int) -> None:
        for wait in self._waits:
            if (wait["step"], wait["environment"]) == (step, environment) and wait["ended_at_ms"] is None:
                wait["ended_at_ms"] = at_ms
        self._ended.setdefault((step, environment), at_ms)

    def ordered(self) -> list[dict[str, Any]]:
        """In the order of the plan."""
        return sorted(self.rows.values(), key=lambda row: (row["position"], row["environment"]))

    async def write(self, tx: Tx) -> None:
        """Everything that moved, in at most four statements."""
        if self._new:
            await tx.execute(run_steps.insert(), [self.rows[key] for key in sorted(self._new)])
        moved = sorted(self._changed - self._new)
        if moved:
            await tx.execute(_UPDATE, [self._bound(self.rows[key]) for key in moved])
        if self._ended:
            # Stored waits first: those of this batch know their end already.
            ends = [
                {"at_run_id": self.run, "at_step": step, "at_environment": environment, "ended_ms": at}
                for (step, environment), at in sorted(self._ended.items())
            ]
            await tx.execute(_END_WAIT, ends)
        # Two waits of one step that begin in the same millisecond are one: the later words count.
        waits = {(wait["step"], wait["environment"], wait["started_at_ms"]): wait for wait in self._waits}
        await upsert_all(tx, run_waits, list(waits.values()), [*_KEYS, "started_at_ms"])
        self._new, self._changed, self._waits, self._ended = set(), set(), [], {}

    @staticmethod
    def _bound(row: dict[str, Any]) -> dict[str, Any]:
        return {name: row[name] for name in _MUTABLE} | {f"at_{name}": row[name] for name in _KEYS}


_open: WeakKeyDictionary[Tx, dict[str, Ledger]] = WeakKeyDictionary()


def fresh(tx: Tx, message: Any, steps: Sequence[tuple[str, str, int]], waits_for: dict[str, str]) -> Ledger:
    """The ledger of a run that is born: (step, environment, position) of its plan."""
    ledger = Ledger(message.run, message.service, message.organisation)
    for step, environment, position in steps:
        ledger.add(step, environment, position, waits_for.get(step, ""))
    _open.setdefault(tx, {})[message.run] = ledger
    return ledger


async def of(tx: Tx, message: Any) -> Ledger:
    """The ledger of the message's run, read when this transaction first asks for it."""
    ledgers = _open.setdefault(tx, {})
    if message.run not in ledgers:
        ledger = Ledger(message.run, message.service, message.organisation)
        for row in await tx.all(sa.select(run_steps).where(run_steps.c.run_id == message.run)):
            ledger.rows[(row.step, row.environment)] = dict(row._mapping)
        ledgers[message.run] = ledger
    return ledgers[message.run]


def opened(tx: Tx, run: str) -> Ledger | None:
    """The ledger that this transaction has of a run."""
    return _open.get(tx, {}).get(run)
