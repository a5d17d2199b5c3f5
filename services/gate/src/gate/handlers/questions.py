"""Takes the questions and sees when they are ripe: every area of the plan has reported, or the waiting time is over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from shared.clock import Clock
from shared.database import Database, Tx

from gate import store
from gate.domain.waiting import outstanding, purpose_of

DECIDE = "decide"


@dataclass(frozen=True)
class Asked:
    """A deploy request as the gate sees it."""

    request: str
    organisation: str
    service: str
    run: str
    number: int
    environment: str
    environment_kind: str
    cause: str
    image_id: str
    digest: str | None
    commit: str


class Questions:
    """Questions wait in a table; a job decides them, never the loop."""

    def __init__(self, database: Database, clock: Clock, wait_seconds: int, job_deadline_seconds: int) -> None:
        self.database, self.clock = database, clock
        self.wait_ms = wait_seconds * 1000
        self.job_deadline_seconds = job_deadline_seconds

    async def run_began(
        self,
        tx: Tx,
        organisation: str,
        service: str,
        run: str,
        number: int,
        service_name: str,
        commit: str,
        plan: Sequence[str],
        environments: Sequence[str],
        at_ms: int,
    ) -> None:
        """A run was born. One that goes nowhere is judged for information when its plan's scans are over."""
        await store.add_run(
            tx,
            {
                "id": run,
                "organisation_id": organisation,
                "service_id": service,
                "number": number,
                "service_name": service_name,
                "commit_id": commit,
                "plan": list(plan),
            },
        )
        if environments or "gate" not in plan:
            return
        await store.add_question(
            tx,
            {
                "id": run,
                "organisation_id": organisation,
                "service_id": service,
                "run_id": run,
                "number": number,
                "request_id": None,
                "environment": "",
                "environment_kind": "not_production",
                "purpose": "information",
                "image_id": "",
                "digest": None,
                "commit_id": commit,
                "asked_at_ms": None if "build" in plan else at_ms,
            },
        )
        await self.consider(tx, run)

    async def image_built(self, tx: Tx, run: str, image_id: str, at_ms: int) -> None:
        """The run has an image: from now on its scans are waited for."""
        await store.set_image(tx, run, image_id)
        await store.start_clock(tx, run, image_id, at_ms)
        await self.consider(tx, run)

    async def ask(self, tx: Tx, asked: Asked, at_ms: int) -> None:
        """A deploy request came. A rollback is decided at once by what is stored."""
        run = await store.run(tx, asked.run)
        if run is not None and run.ended_at_ms:
            return  # the run ended while the request was on its way
        new = await store.add_question(
            tx,
            {
                "id": asked.request,
                "organisation_id": asked.organisation,
                "service_id": asked.service,
                "run_id": asked.run,
                "number": asked.number,
                "request_id": asked.request,
                "environment": asked.environment,
                "environment_kind": asked.environment_kind,
                "purpose": purpose_of(asked.cause),
                "image_id": asked.image_id,
                "digest": asked.digest,
                "commit_id": asked.commit,
                "asked_at_ms": at_ms,
            },
        )
        if new:
            await self.consider(tx, asked.run)

    async def consider(self, tx: Tx, run: str) -> None:
        """At the end of the transaction, hand the run's waiting questions to the worker if nothing is outstanding any more."""
        tx.before_commit(f"consider {run}", lambda tx: self._consider(tx, run))

    async def _consider(self, tx: Tx, run: str) -> None:
        waiting = await store.waiting_questions(tx, run)
        ripe = [question for question in waiting if question.asked_at_ms is not None]
        if not ripe:
            return
        row = await store.run(tx, run)
        missing = outstanding(row.plan if row else (), await store.reported_states(tx, run))
        for question in ripe:
            if question.purpose == "rollback" or not missing:
                await self._decide(tx, question)

    async def withdraw(self, tx: Tx, run: str, at_ms: int, reason: str) -> None:
        """The run is over: nobody waits for an answer any more."""
        await store.end_run(tx, run, at_ms)
        await store.withdraw(tx, run)
        await tx.cancel_jobs(run=run, kind=DECIDE, reason=reason)

    async def withdraw_one(self, tx: Tx, request: str) -> None:
        """The deployer took its request back."""
        await store.set_question(tx, request, "withdrawn", was=("waiting", "asked"))

    async def ask_overdue(self) -> int:
        """Decide what has waited long enough; what has not reported counts as missing. Returns how many."""
        async with self.database.read() as tx:
            if not await self._overdue(tx):
                return 0
        async with self.database.write() as tx:
            overdue = await self._overdue(tx)
            for question in overdue:
                await self._decide(tx, question)
        return len(overdue)

    async def _overdue(self, tx: Tx) -> list[sa.Row[Any]]:
        return [row for row in await store.open_questions(tx) if self.clock.age_ms(row.asked_at_ms) >= self.wait_ms][:100]

    async def _decide(self, tx: Tx, row: sa.Row[Any]) -> None:
        if await store.set_question(tx, row.id, "asked", was=("waiting",)):
            await tx.enqueue(
                DECIDE,
                key=row.service_id,
                run=row.run_id,
                organisation=row.organisation_id,
                payload={"question": row.id},
                deadline_seconds=self.job_deadline_seconds,
            )
