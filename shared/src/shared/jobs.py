"""Long work: a row per job, workers that claim rows with a lease, a fencing token and a deadline.

A message is never held for long work: its handler stores a job and is done. A worker claims the oldest job of its kind (of each
key, when jobs of one key run one after another), says every few seconds that it lives, and writes its results in the transaction
that ends the job. That transaction checks the token, so that an attempt which was taken over can write nothing. Leases run on
the database's clock (PostgreSQL) or the monotonic one (SQLite, where one instance owns the file: what another instance held
before is free at once).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shared import ids
from shared.context import Context, current
from shared.database import Tx
from shared.errors import KiopsError, LeaseLost
from shared.faults import point
from shared.processes import Mark

if TYPE_CHECKING:
    from shared.working import Jobs

MAX_ATTEMPTS = 5
QUEUE_DEADLINE_SECONDS = 2 * 3600


@dataclass
class Job:
    """One attempt at one job. `token` is 1 on the first try and grows with each; effects outside carry `id` and `token`."""

    id: str
    kind: str
    key: str
    run: str
    organisation: str
    payload: dict[str, Any]
    token: int
    failures: int
    deadline_seconds: int
    context: Context
    mark: Mark
    created_at_ms: int
    cancel: str
    _jobs: Jobs
    _folder: Path
    ended: bool = False
    outcome: str = ""
    lost: bool = False
    stopping: bool = False

    @property
    def folder(self) -> Path:
        """A private folder for this attempt; it is removed when the attempt ends."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return self._folder

    @asynccontextmanager
    async def progress(self) -> AsyncIterator[Tx]:
        """A transaction that goes through only while this attempt holds the job. Raises LeaseLost."""
        async with self._jobs.database.write() as tx:
            await self._fence(tx)
            yield tx
            point("job.progressing")
        point("job.progressed")

    @asynccontextmanager
    async def finish(self, outcome: str = "done") -> AsyncIterator[Tx]:
        """The transaction that ends the job together with its results. Raises LeaseLost, and then nothing is written."""
        async with self._jobs.database.write() as tx:
            await self._fence(tx, outcome)
            yield tx
            point("job.finishing")
        self.ended, self.outcome = True, outcome
        point("job.finished")

    async def _fence(self, tx: Tx, outcome: str | None = None) -> None:
        given: dict[str, Any] = {"attempt_of": self.id, "attempt": self.token, "held_by": self._jobs.instance}
        if outcome is not None:
            given |= {"came_to": outcome, "over_at_ms": self._jobs.database.clock.now_ms()}
        changed = await tx.execute(self._jobs.fence(ending=outcome is not None), given)
        if changed.rowcount != 1:
            self.lost = True
            raise LeaseLost(self.id)
        if outcome is not None:
            tx.after_commit(self._jobs.database.jobs_wake.set)


@dataclass(frozen=True)
class Worker:
    """What does jobs of one kind. `run(job)` must be safe to do again after a crash; it ends the job by `job.finish()`.

    `on_failed(tx, job, error)` and `on_cancelled(tx, job, reason)` write what is to be told when it did not; both run inside the
    transaction that ends the job.
    """

    kind: str
    run: Callable[[Job], Awaitable[None]]
    on_failed: Callable[[Tx, Job, KiopsError], Awaitable[None]]
    on_cancelled: Callable[[Tx, Job, str], Awaitable[None]] | None = None
    slots: int = 2
    serial_per_key: bool = False
    max_attempts: int = MAX_ATTEMPTS
    queue_deadline_seconds: int = QUEUE_DEADLINE_SECONDS


async def enqueue(
    tx: Tx,
    kind: str,
    *,
    key: str,
    run: str,
    payload: Mapping[str, Any],
    deadline_seconds: int,
    organisation: str | None,
    delay_seconds: float,
    job_id: str | None,
) -> str:
    here = current.get()
    name = job_id or ids.new("job")
    order = ids.uuid7()
    kept = tx.database.statements.get(("job",))
    if kept is None:
        kept = tx.database.statements["job",] = tx.database.metadata.tables["job"].insert()
    await tx.execute(
        kept,
        {
            "id": name,
            "organisation_id": organisation or here.organisation or "main",
            # Milliseconds and the counter within them: jobs stored by one process are in order.
            "number": int(order[:12] + order[13:16], 16),
            "kind": kind,
            "key": key,
            "run": run,
            "payload": dict(payload),
            "context": {"causation": here.causation, "traceparent": here.traceparent},
            "state": "queued",
            "deadline_seconds": deadline_seconds,
            "not_before_ms": (await tx.database.now_ms(tx) + int(delay_seconds * 1000)) if delay_seconds else 0,
            "created_at_ms": tx.database.clock.now_ms(),
        },
    )
    tx.after_commit(tx.database.jobs_wake.set)
    return name


async def cancel(tx: Tx, *, reason: str, run: str | None, kind: str | None, job: str | None) -> int:
    table = tx.database.metadata.tables["job"]
    where = [table.c.state != "ended", table.c.cancel == ""]
    if run is not None:
        where.append(table.c.run == run)
    if kind is not None:
        where.append(table.c.kind == kind)
    if job is not None:
        where.append(table.c.id == job)
    if len(where) == 2:
        raise ValueError("cancel_jobs needs a run, a kind or a job")
    changed = await tx.execute(table.update().where(*where).values(cancel=reason or "cancelled"))
    if changed.rowcount:

        def wake() -> None:
            tx.database.jobs_cancelled += 1
            tx.database.jobs_wake.set()

        tx.after_commit(wake)
    return changed.rowcount
