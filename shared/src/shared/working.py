"""The workers of one service: claim jobs, keep their leases, do them, end them.

Claiming, the heartbeat and every end are statements that name the token; what a job means is in its worker (jobs.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import random
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from shared import ids, logging, tasks, tracing
from shared.context import Context, current
from shared.database import Database
from shared.errors import Broken, KiopsError, LeaseLost, Rejected, Unavailable
from shared.faults import point
from shared.jobs import Job, Worker
from shared.metrics import JOB_BUCKETS, Durations
from shared.plans import to_json
from shared.processes import Mark

NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
# What lies further ahead than any delay or lease was written on another clock: before a restart of the machine (SQLite runs on the
# monotonic one), or before the server's clock was set back (PostgreSQL).
FARTHEST_MS = 10 * 60_000


@dataclass
class Jobs:
    """The workers of one service on one database. `serve()` runs until it is cancelled; then it gives its jobs back."""

    database: Database
    workers: list[Worker]
    work: Path
    mark: Mark
    lease_seconds: float = 30.0
    heartbeat_seconds: float = 10.0
    instance: str = field(default_factory=ids.uuid7)
    _running: dict[str, tuple[Job, asyncio.Task[None]]] = field(default_factory=dict)
    outcomes: dict[tuple[str, str], int] = field(default_factory=dict)
    took: dict[str, Durations] = field(default_factory=dict)
    _stopping: bool = False
    _statements: dict[tuple[str, bool], Any] = field(default_factory=dict)
    _looked: dict[str, int] = field(default_factory=dict)

    @property
    def table(self) -> sa.Table:
        return self.database.metadata.tables["job"]

    @property
    def running(self) -> list[Job]:
        return [job for job, _ in self._running.values()]

    async def serve(self) -> None:
        log = logging.get(self.mark.service)
        while True:
            try:
                await self._reclaim()
                break
            except Unavailable as error:
                log.warning("jobs wait for the database", error=str(error))
                await asyncio.sleep(1)
        beat = asyncio.create_task(self._heartbeat())
        try:
            while True:
                self.database.jobs_wake.clear()
                try:
                    await self._cancel_marked()
                    busy = await self._claim_all()
                except Unavailable as error:
                    log.warning("jobs wait for the database", error=str(error))
                    busy, _ = False, await asyncio.sleep(1)
                except Exception:
                    # Whatever it was: the jobs are there, and workers that have ended would leave them there for ever.
                    log.exception("claiming jobs broke and begins again")
                    busy, _ = False, await asyncio.sleep(1)
                if busy:
                    continue
                try:
                    seconds = await self._idle_seconds()
                except Exception:
                    seconds = 1.0
                # Not wait_for: on Python 3.11 it swallows a cancel that comes with the wake-up, and a stop would wait for ever.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(seconds):
                        await self.database.jobs_wake.wait()
        finally:
            self._stopping = True
            await tasks.end(beat, *(task for _, task in self._running.values()))

    async def _reclaim(self) -> None:
        """Free what an earlier instance on this SQLite file held, and remove the folders of its attempts."""
        if self.database.is_postgresql:
            await self._remove_stale()
            return
        async with self.database.write() as tx:
            await tx.execute(
                self.table.update()
                .where(self.table.c.state == "running", self.table.c.holder != self.instance)
                .values(lease_until_ms=-1)
            )
        if self.work.exists():
            await asyncio.to_thread(shutil.rmtree, self.work, True)

    async def _remove_stale(self) -> None:
        """Remove folders of attempts that no instance can be at: ours that were killed, where others may share the place."""
        paths = list(self.work.glob("*-*"))
        if not paths:
            return
        here = self.table.c.id.in_({path.name.rpartition("-")[0] for path in paths})
        async with self.database.read() as tx:
            rows = await tx.all(sa.select(self.table.c.id, self.table.c.token).where(here, self.table.c.state == "running"))
        held = {f"{row.id}-{row.token}" for row in rows}
        for path in paths:
            if path.name not in held:
                await asyncio.to_thread(shutil.rmtree, path, True)

    async def _remove_older(self, job: Job) -> None:
        """Remove what attempts before this one left here: who was at them is dead, or will be refused."""
        for path in self.work.glob(f"{job.id}-*"):
            token = path.name.rpartition("-")[2]
            if token.isdigit() and int(token) < job.token:
                await asyncio.to_thread(shutil.rmtree, path, True)

    def _has_room(self, worker: Worker) -> bool:
        return sum(job.kind == worker.kind for job, _ in self._running.values()) < worker.slots

    async def _claim_all(self) -> bool:
        """Claim one job per worker that has room; one that was cancelled in the queue needs none. True when any was claimed."""
        any_claimed = False
        for worker in self.workers:
            room = self._has_room(worker)
            # With room the claim itself looks: one transaction less before the work begins.
            if not room and not await self._any_withdrawn(worker):
                continue
            if job := await self._claim(worker, room):
                task = asyncio.create_task(self._attempt(worker, job))
                self._running[job.id] = (job, task)
                any_claimed = True
                # Let it begin: a task that is cancelled before its first step never runs, and could end nothing.
                await asyncio.sleep(0)
        return any_claimed

    async def _any_withdrawn(self, worker: Worker) -> bool:
        cancelled = self.database.jobs_cancelled
        if not self._may_be_cancelled(worker.kind):
            return False
        async with self.database.read() as tx:
            now = await self.database.now_ms(tx)
            found = await tx.one(self._candidates(worker, False), self._given(now)) is not None
        if not found:
            self._looked[worker.kind] = cancelled
        return found

    def _may_be_cancelled(self, what: str) -> bool:
        """Whether a job may have been cancelled since it was looked for `what`. A file has no other process that cancels."""
        return self.database.is_postgresql or self._looked.get(what) != self.database.jobs_cancelled

    def _given(self, now_ms: int) -> dict[str, Any]:
        """What the kept statement of `_candidates` is run with."""
        here = list(self._running)
        return {"now_ms": now_ms, "here": here if self.database.is_postgresql else to_json(here)}

    def _candidates(self, worker: Worker, room: bool) -> sa.Select[Any]:
        """The next job that this worker may take. Built once: building a statement costs more than running it."""
        kept = self._statements.get((worker.kind, room))
        if kept is not None:
            return kept
        table = self.table
        now_ms = sa.bindparam("now_ms", type_=sa.BigInteger)
        # One value, not as many as there are jobs: such a statement is written anew each time.
        if self.database.is_postgresql:
            elsewhere = table.c.id != sa.all_(sa.bindparam("here", type_=sa.ARRAY(sa.Text)))
        else:
            elsewhere = table.c.id.not_in(sa.select(sa.func.json_each(sa.bindparam("here")).table_valued("value").c.value))
        withdrawn = sa.and_(table.c.state == "queued", table.c.cancel != "")
        free = sa.or_(
            sa.and_(
                table.c.state == "queued",
                sa.or_(table.c.not_before_ms <= now_ms, table.c.not_before_ms > now_ms + FARTHEST_MS, table.c.cancel != ""),
            ),
            sa.and_(
                table.c.state == "running",
                sa.or_(table.c.lease_until_ms < now_ms, table.c.lease_until_ms > now_ms + FARTHEST_MS),
                elsewhere,
            ),
        )
        query = sa.select(table).where(table.c.kind == worker.kind, table.c.state != "ended", free)
        if not room:
            query = query.where(withdrawn)
        if worker.serial_per_key:
            # What was withdrawn does no work: it is ended at once, whatever is ahead of it.
            before = table.alias("before")
            ahead = sa.exists().where(
                before.c.kind == table.c.kind,
                before.c.key == table.c.key,
                before.c.state != "ended",
                before.c.number < table.c.number,
            )
            query = query.where(sa.or_(withdrawn, ~ahead))
        kept = self._statements[worker.kind, room] = query.order_by(table.c.number).limit(1)
        return kept

    def fence(self, *, ending: bool) -> sa.Update:
        """What changes a row only while its attempt holds it. Built once, for it is the most frequent of a job's statements."""
        kept = self._statements.get(("fence", ending))
        if kept is None:
            table, holder = self.table, sa.bindparam("held_by")
            values: dict[str, Any] = {"holder": holder}
            if ending:
                over = sa.bindparam("over_at_ms", type_=sa.BigInteger)
                values |= {"state": "ended", "outcome": sa.bindparam("came_to"), "ended_at_ms": over}
            kept = self._statements["fence", ending] = (
                table.update()
                .where(
                    table.c.id == sa.bindparam("attempt_of"),
                    table.c.token == sa.bindparam("attempt"),
                    table.c.holder == holder,
                    table.c.state == "running",
                )
                .values(**values)
            )
        return kept

    def _taking(self) -> sa.Update:
        """What makes a job ours. Built once."""
        kept = self._statements.get(("taking", True))
        if kept is None:
            table = self.table
            given = {
                name: sa.bindparam(name, type_=table.c[name].type) for name in ("token", "failures", "holder", "lease_until_ms")
            }
            taking = table.update().where(table.c.id == sa.bindparam("taken")).values(state="running", **given)
            kept = self._statements["taking", True] = taking
        return kept

    async def _claim(self, worker: Worker, room: bool) -> Job | None:
        table = self.table
        async with self.database.write() as tx:
            now = await self.database.now_ms(tx)
            query = self._candidates(worker, room)
            if self.database.is_postgresql:
                query = query.with_for_update(skip_locked=True, of=table)
            row = await tx.one(query, self._given(now))
            if row is None:
                return None
            crashed = 1 if row.state == "running" else 0
            point("job.claiming")
            await tx.execute(
                self._taking(),
                {
                    "taken": row.id,
                    "token": row.token + 1,
                    "failures": row.failures + crashed,
                    "holder": self.instance,
                    "lease_until_ms": now + int(self.lease_seconds * 1000),
                },
            )
        point("job.claimed")
        context = Context(
            correlation=row.run,
            causation=row.context.get("causation", ""),
            traceparent=row.context.get("traceparent", ""),
            organisation=row.organisation_id,
            service=self.mark.service,
        )
        return Job(
            id=row.id,
            kind=row.kind,
            key=row.key,
            run=row.run,
            organisation=row.organisation_id,
            payload=row.payload,
            token=row.token + 1,
            failures=row.failures + crashed,
            deadline_seconds=row.deadline_seconds,
            context=context,
            mark=self.mark,
            created_at_ms=row.created_at_ms,
            cancel=row.cancel,
            _jobs=self,
            _folder=self.work / f"{row.id}-{row.token + 1}",
        )

    async def _attempt(self, worker: Worker, job: Job) -> None:
        current.set(job.context)
        began = time.perf_counter()
        log = logging.get(self.mark.service).bind(job=job.id, kind=job.kind, token=job.token)
        try:
            if job.token > 1:
                await self._remove_older(job)
            try:
                await self._work(worker, job, log)
            except LeaseLost:
                log.warning("this attempt was taken over; its results were refused")
            except Unavailable as error:
                # The database did not take the end of the job. The row is still ours and running: when its lease
                # runs out (or at the next start) it is done again.
                log.error("the job's end could not be written", error=str(error))
        except asyncio.CancelledError:
            raise
        except Exception:
            log.exception("a worker broke")
        finally:
            self._running.pop(job.id, None)
            ended = (job.kind, job.outcome or ("lost" if job.lost else "again"))
            self.outcomes[ended] = self.outcomes.get(ended, 0) + 1
            self.took.setdefault(job.kind, Durations(JOB_BUCKETS)).observe(time.perf_counter() - began)
            if job._folder.exists():
                await asyncio.shield(asyncio.to_thread(shutil.rmtree, job._folder, True))
            self.database.jobs_wake.set()

    async def _work(self, worker: Worker, job: Job, log: Any) -> None:
        if job.cancel:
            job.stopping = True
            await self._end_cancelled(worker, job, job.cancel)
            return
        if job.failures >= worker.max_attempts:
            await self._end_failed(
                worker,
                job,
                Broken("job.attempts", f"given up after {job.failures} attempts that did not come to an end"),
            )
            return
        if self.database.clock.age_ms(job.created_at_ms) > worker.queue_deadline_seconds * 1000 and job.token == 1:
            await self._end_failed(
                worker,
                job,
                Broken("job.queue_deadline", f"waited longer than {worker.queue_deadline_seconds // 60} min for a worker"),
            )
            return
        try:
            async with asyncio.timeout(job.deadline_seconds):
                about = {"kiops.job.id": job.id, "kiops.job.kind": job.kind, "kiops.job.attempt": job.token}
                with tracing.span(f"work {job.kind}", about, root=True):
                    await worker.run(job)
            if not job.ended:
                async with job.finish():
                    pass
        except LeaseLost:
            raise
        except TimeoutError:
            await self._end_failed(
                worker,
                job,
                Broken(
                    "job.deadline",
                    f"did not end within {job.deadline_seconds} s and was stopped",
                    "Raise its deadline.",
                ),
            )
        except asyncio.CancelledError:
            await self._cancelled(worker, job)
        except Unavailable as error:
            await self._later(worker, job, error, log)
        except Rejected as error:
            await self._end_failed(worker, job, error)
        except KiopsError as error:
            await self._end_failed(worker, job, error)
        except OSError as error:
            if error.errno not in NO_ROOM:
                log.exception("a job broke")
                await self._end_failed(worker, job, Broken("job.broken", f"{type(error).__name__}: {error}"))
                return
            await self._later(worker, job, Unavailable("disk.full", f"there is no room: {error}", "Make room on the disk."), log)
        except Exception as error:
            log.exception("a job broke")
            await self._end_failed(worker, job, Broken("job.broken", f"{type(error).__name__}: {error}"))

    async def _later(self, worker: Worker, job: Job, error: Unavailable, log: Any) -> None:
        if job.failures + 1 >= worker.max_attempts:
            await self._end_failed(worker, job, error)
        else:
            await self._again(job, error, log)

    async def _cancelled(self, worker: Worker, job: Job) -> None:
        """The task was cancelled: by a person (the row says so), by a lost lease, or because we stop."""
        task = asyncio.current_task()
        if task:
            task.uncancel()
        if job.ended:
            return
        reason = await self._cancel_reason(job)
        if reason:
            await self._end_cancelled(worker, job, reason)
        elif not job.lost:
            async with self.database.write() as tx:
                await tx.execute(
                    self.table.update()
                    .where(self.table.c.id == job.id, self.table.c.token == job.token, self.table.c.state == "running")
                    .values(state="queued", holder="", lease_until_ms=0)
                )

    async def _again(self, job: Job, error: Unavailable, log: Any) -> None:
        delay = min(60.0, 2.0**job.failures) * random.uniform(0.8, 1.2)
        log.warning("tried again later", error=str(error), seconds=round(delay, 1))
        async with self.database.write() as tx:
            now = await self.database.now_ms(tx)
            await tx.execute(
                self.table.update()
                .where(self.table.c.id == job.id, self.table.c.token == job.token, self.table.c.state == "running")
                .values(
                    state="queued",
                    failures=job.failures + 1,
                    holder="",
                    lease_until_ms=0,
                    not_before_ms=now + int(delay * 1000),
                )
            )

    async def _end_failed(self, worker: Worker, job: Job, error: KiopsError) -> None:
        if job.ended:
            return
        async with job.finish("failed") as tx:
            await worker.on_failed(tx, job, error)

    async def _end_cancelled(self, worker: Worker, job: Job, reason: str) -> None:
        async with job.finish("cancelled") as tx:
            if worker.on_cancelled:
                await worker.on_cancelled(tx, job, reason)

    async def _cancel_reason(self, job: Job) -> str:
        async with self.database.read() as tx:
            return await tx.scalar(sa.select(self.table.c.cancel).where(self.table.c.id == job.id)) or ""

    async def _cancel_marked(self) -> None:
        cancelled = self.database.jobs_cancelled
        if not self._running or not self._may_be_cancelled("running"):
            return
        async with self.database.read() as tx:
            rows = await tx.all(
                sa.select(self.table.c.id).where(self.table.c.id.in_(list(self._running)), self.table.c.cancel != "")
            )
        for row in rows:
            if row.id not in self._running:
                continue
            job, task = self._running[row.id]
            # Once: a second cancel would break off the transaction that tells of the first.
            if not job.stopping:
                job.stopping = True
                task.cancel()
        self._looked["running"] = cancelled

    async def _heartbeat(self) -> None:
        while True:
            await asyncio.sleep(self.heartbeat_seconds)
            held = list(self._running)
            if not held:
                continue
            try:
                # On a file, who reads it after the machine crashed takes every job anyway.
                async with self.database.write(durable=False) as tx:
                    now = await self.database.now_ms(tx)
                    await tx.execute(
                        self.table.update()
                        .where(
                            self.table.c.id.in_(held),
                            self.table.c.holder == self.instance,
                            self.table.c.state == "running",
                        )
                        .values(lease_until_ms=now + int(self.lease_seconds * 1000))
                    )
                    rows = await tx.all(
                        sa.select(self.table.c.id).where(self.table.c.id.in_(held), self.table.c.holder == self.instance)
                    )
            except Unavailable:
                continue
            except Exception:
                # Without a heartbeat every lease would run out while its work goes on.
                logging.get(self.mark.service).exception("a heartbeat broke and is tried again")
                continue
            kept = {row.id for row in rows}
            for name in held:
                if name not in kept and name in self._running:
                    job, task = self._running[name]
                    logging.get(self.mark.service).warning("this attempt was taken over and is stopped", job=name, token=job.token)
                    job.lost = True
                    task.cancel()

    def _due(self) -> sa.Select[Any]:
        kept = self._statements.get(("due", True))
        if kept is None:
            not_before = self.table.c.not_before_ms
            later = sa.and_(self.table.c.state == "queued", not_before > sa.bindparam("now_ms", type_=sa.BigInteger))
            kept = self._statements["due", True] = sa.select(sa.func.min(not_before)).where(later)
        return kept

    async def _idle_seconds(self) -> float:
        """Until the next delayed job is due; at most 1 s where others may enqueue too, else 15 s."""
        longest = 1.0 if self.database.is_postgresql else 15.0
        async with self.database.read() as tx:
            now = await self.database.now_ms(tx)
            due = await tx.scalar(self._due(), {"now_ms": now})
        return min(longest, max(0.05, (due - now) / 1000)) if due else longest

    async def depths(self) -> dict[str, tuple[dict[str, int], float]]:
        """By kind: how many jobs are waiting, delayed and running, and the age of the oldest waiting one in seconds."""
        table = self.table
        found: dict[str, tuple[dict[str, int], float]] = {}
        async with self.database.read() as tx:
            now = await self.database.now_ms(tx)
            delayed = sa.case((table.c.not_before_ms > now, 1), else_=0)
            rows = await tx.all(
                sa.select(table.c.kind, table.c.state, delayed, sa.func.count(), sa.func.min(table.c.created_at_ms))
                .where(table.c.state != "ended")
                .group_by(table.c.kind, table.c.state, delayed)
            )
        for kind, state, is_delayed, number, oldest_ms in rows:
            states, oldest = found.get(kind, ({}, 0.0))
            name = "running" if state == "running" else "delayed" if is_delayed else "waiting"
            states[name] = states.get(name, 0) + number
            if name == "waiting":
                oldest = max(oldest, (self.database.clock.now_ms() - oldest_ms) / 1000)
            found[kind] = states, oldest
        return found

    async def open_jobs(self) -> int:
        """How many jobs have not ended."""
        async with self.database.read() as tx:
            return await tx.scalar(sa.select(sa.func.count()).where(self.table.c.state != "ended")) or 0
