"""Decides one question: gathers what is known, asks the policy engine, stores and announces the answer."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from shared.clock import Clock
from shared.database import Database, Tx
from shared.errors import KiopsError
from shared.facts.gate import AreaVerdict, GateDecided, Reason
from shared.jobs import Job
from shared.objects import ObjectStore
from shared.words import Area, Evidence, Step, Verdict

from gate import store
from gate.clients.bundle import Bundle
from gate.clients.engine import PolicyEngine
from gate.domain import document as documents
from gate.domain.decision import Decision, denied
from gate.domain.waiting import asked_areas, choose_evidence
from shared import ids, logging


class Deciding:
    """The worker's use case. Everything the policy sees is put into the object store before the decision is announced."""

    def __init__(self, database: Database, clock: Clock, objects: ObjectStore, bundle: Bundle, engine: PolicyEngine) -> None:
        self.database, self.clock, self.objects = database, clock, objects
        self.bundle, self.engine = bundle, engine

    async def decide(self, job: Job) -> None:
        """Run one job of kind `decide`. Doing it again gives one decision: the question's row is unique."""
        gathered = await self._gather(job.payload["question"])
        if gathered is None:
            async with job.finish("withdrawn"):
                return
        question, evidence, document = gathered
        begun = self.clock.monotonic()
        decision = await self.engine.evaluate(self.bundle, document)
        duration_ms = round((self.clock.monotonic() - begun) * 1000)
        if decision.waits_for and not decision.problem:
            async with job.finish("waits") as tx:
                await store.set_question(tx, question.id, "waiting", was=("asked",))
            return
        reference = await self.objects.put(documents.canonical(document), suffix="json")
        async with job.finish() as tx:
            await self._announce(tx, question, evidence, document, decision, duration_ms, reference)

    async def failed(self, tx: Tx, job: Job, error: KiopsError) -> None:
        """The job itself came to nothing: the answer is a deny with that reason, so that no request stays in the air."""
        question = await store.question(tx, job.payload["question"])
        if question is None or question.state not in ("waiting", "asked"):
            return
        row = await store.run(tx, question.run_id)
        document = {
            "subject": {"service_name": row.service_name if row else "", "commit": question.commit_id},
            "environment": {"name": question.environment, "kind": question.environment_kind},
        }
        advice = error.advice or "Deploy again; if it comes back, look at the log of the gate."
        decision = denied(document, error.code, error.message, advice)
        await self._announce(tx, question, {}, document, decision, 0, None)

    async def cancelled(self, tx: Tx, job: Job, reason: str) -> None:
        """Nobody waits for the answer any more."""
        await store.set_question(tx, job.payload["question"], "withdrawn", was=("waiting", "asked"))

    async def _gather(self, question_id: str) -> tuple[sa.Row[Any], dict[str, documents.Evidence], dict[str, Any]] | None:
        async with self.database.read() as tx:
            question = await store.question(tx, question_id)
            if question is None or question.state != "asked":
                return None
            run = await store.run(tx, question.run_id)
            plan = run.plan if run else []
            kept = choose_evidence(await store.stored_evidence(tx, question.service_id, question.commit_id, question.image_id))
            told = await store.evidence_of_run(tx, question.run_id)
            # DAST asks a named test environment. A run whose plan has no such step has nobody to ask, so that nothing is missing.
            tested = Step.DAST in plan and await store.tested(tx, question.service_id)
            served = await store.served_before(tx, question.service_id, question.environment, question.image_id)
        # What this run's plan scans is judged by this run alone; the rest by what is stored of the same commit and image.
        evidence = {a: e for a, e in kept.items() if a not in asked_areas(plan)} | told
        evidence = {area: await self._whole(each) for area, each in evidence.items()}
        now_ms = self.clock.now_ms()
        asked = documents.Question(
            service=question.service_id,
            service_name=run.service_name if run else question.service_id,
            run=question.run_id,
            number=question.number,
            commit=question.commit_id,
            image_id=question.image_id,
            digest=question.digest,
            environment=question.environment,
            environment_kind=question.environment_kind,
            purpose=question.purpose,
            tested=tested,
            served_before=served,
        )
        waited = self.clock.age_ms(question.asked_at_ms or now_ms) // 1000
        return question, evidence, documents.build_document(asked, evidence, now_ms=now_ms, waited_seconds=waited)

    async def _whole(self, evidence: documents.Evidence) -> documents.Evidence:
        """With all findings, when the message had room for the first only and the report has them. Else the policy takes
        those that did not come along for the worst of their severity."""
        short = evidence.findings_total > len(evidence.findings)
        # The components matter only when some are banned; else they would make every stored input large for nothing.
        listed = evidence.area == "sbom" and bool(self.bundle.data["gate_config"].get("banned_components"))
        if not evidence.report or not (short or listed):
            return evidence
        try:
            report = json.loads(await self.objects.get(evidence.report))
        except (KiopsError, ValueError) as error:
            logging.get("gate").warning("a report cannot be read", area=evidence.area, error=str(error))
            return evidence
        found = documents.findings_of_report(report, evidence.findings_total) if short else []
        components = documents.components_of_report(report) if listed else None
        return replace(evidence, findings=found or evidence.findings, components=components)

    async def _announce(
        self,
        tx: Tx,
        question: sa.Row[Any],
        evidence: dict[str, documents.Evidence],
        document: dict[str, Any],
        decision: Decision,
        duration_ms: int,
        reference: str | None,
    ) -> None:
        if not await store.set_question(tx, question.id, "decided", was=("waiting", "asked")):
            return
        now_ms = self.clock.now_ms()
        holds_until_ms = now_ms + decision.holds_seconds * 1000
        input_hash = documents.hash_of(document)
        name = ids.new("dec")
        await store.add_decision(
            tx,
            {
                "id": name,
                "organisation_id": question.organisation_id,
                "service_id": question.service_id,
                "run_id": question.run_id,
                "question_id": question.id,
                "environment": question.environment,
                "image_id": question.image_id,
                "verdict": decision.verdict,
                "sentence": decision.sentence,
                "answer": decision.model_dump(mode="json"),
                "input": reference,
                "input_hash": input_hash,
                "policy": self.bundle.name,
                "policy_hash": self.bundle.hash,
                "engine": self.engine.name,
                "duration_ms": duration_ms,
                "decided_at_ms": now_ms,
                "holds_until_ms": holds_until_ms,
            },
        )
        await tx.put(
            GateDecided(
                organisation=question.organisation_id,
                service=question.service_id,
                decision=name,
                run=question.run_id,
                number=question.number,
                request=question.request_id,
                environment=question.environment,
                environment_kind=question.environment_kind,
                image_id=question.image_id,
                digest=question.digest,
                commit=question.commit_id,
                verdict=Verdict(decision.verdict),
                sentence=decision.sentence,
                areas=[_area(row, evidence) for row in decision.areas],
                reasons=[
                    Reason(
                        area=Area(r.area),
                        rule=r.rule,
                        effect=Verdict(r.effect),
                        text=r.text,
                        finding=r.finding,
                        pass_by=r.pass_by,
                    )
                    for r in decision.reasons
                ],
                ways=decision.ways,
                policy=self.bundle.name,
                policy_hash=self.bundle.hash,
                input_hash=input_hash,
                input=reference,
                engine=self.engine.name,
                duration_ms=duration_ms,
                decided_at=_iso(now_ms),
                holds_until=_iso(holds_until_ms),
            ),
            correlation=question.run_id,
        )


def _area(row: Any, evidence: dict[str, documents.Evidence]) -> AreaVerdict:
    known = evidence.get(row.area, documents.Evidence(row.area))
    return AreaVerdict(
        area=Area(row.area),
        evidence=Evidence(row.evidence),
        verdict=Verdict(row.verdict),
        text=row.text,
        threshold=row.threshold,
        counts=row.counts,
        data_date=known.data_date,
        sample_data=known.sample_data,
        scan=known.scan,
    )


def _iso(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds")
