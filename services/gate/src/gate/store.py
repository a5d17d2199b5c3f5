"""Every query and write of the gate. Rows become the domain's values here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from shared.database import Tx

from gate.domain.document import Evidence
from gate.tables import decisions, evidence, questions, runs, services

EVIDENCE_FIELDS = (
    "state",
    "reason",
    "code",
    "advice",
    "finished_at_ms",
    "data_date",
    "sample_data",
    "counts",
    "coverage",
    "engines",
    "findings",
    "findings_total",
    "report",
)


# -- services and runs -------------------------------------------------------------------------------------------------
async def remember_service(tx: Tx, organisation: str, service: str, name: str) -> None:
    await tx.upsert(services, {"id": service, "organisation_id": organisation, "name": name}, key=["id"])


async def forget_service(tx: Tx, service: str, now_ms: int) -> None:
    await tx.execute(services.update().where(services.c.id == service).values(deleted_at_ms=now_ms))


async def note_tested(tx: Tx, organisation: str, service: str, now_ms: int) -> None:
    await tx.insert_new(services, {"id": service, "organisation_id": organisation, "name": ""})
    await tx.execute(
        services.update().where(services.c.id == service, services.c.tested_at_ms.is_(None)).values(tested_at_ms=now_ms)
    )


async def tested(tx: Tx, service: str) -> bool:
    """Whether a deploy to an environment that is not production was ready once."""
    return bool(await tx.scalar(sa.select(services.c.tested_at_ms).where(services.c.id == service)))


async def add_run(tx: Tx, values: Mapping[str, Any]) -> bool:
    return await tx.insert_new(runs, values)


async def set_image(tx: Tx, run: str, image_id: str) -> None:
    await tx.execute(runs.update().where(runs.c.id == run).values(image_id=image_id))


async def end_run(tx: Tx, run: str, now_ms: int) -> None:
    await tx.execute(runs.update().where(runs.c.id == run, runs.c.ended_at_ms.is_(None)).values(ended_at_ms=now_ms))


_RUN = sa.select(runs).where(runs.c.id == sa.bindparam("wanted"))
_STATES = sa.select(evidence.c.area, evidence.c.state).where(evidence.c.run_id == sa.bindparam("of_run"))
_EVIDENCE = sa.select(evidence).where(evidence.c.run_id == sa.bindparam("of_run"))
_WAITING = sa.select(questions).where(questions.c.run_id == sa.bindparam("of_run"), questions.c.state == "waiting")
"""The statements that each fact of a scan runs are made once: making one costs more than running it."""


async def run(tx: Tx, run_id: str) -> sa.Row[Any] | None:
    return await tx.one(_RUN, {"wanted": run_id})


# -- evidence ----------------------------------------------------------------------------------------------------------
async def note_running(tx: Tx, organisation: str, service: str, run_id: str, scan: str, areas: Sequence[str], now_ms: int) -> None:
    """A scan of these areas is on its way. What has reported already stays: a scan that is repeated proves nothing yet."""
    rows = [
        {
            "run_id": run_id,
            "area": area,
            "organisation_id": organisation,
            "service_id": service,
            "commit_id": "",
            "image_id": "",
            "scan_id": scan,
            "state": "running",
            "reason": "",
            "code": "",
            "advice": "",
            "heard_at_ms": now_ms,
            "sample_data": False,
            "counts": {},
            "coverage": {},
            "engines": [],
            "findings": [],
            "findings_total": 0,
        }
        for area in areas
    ]
    await tx.insert_all_new(evidence, rows)


async def note_evidence(
    tx: Tx, organisation: str, service: str, run_id: str, commit: str, image_id: str, told: Evidence, now_ms: int
) -> None:
    await tx.upsert(
        evidence,
        {
            "run_id": run_id,
            "area": told.area,
            "organisation_id": organisation,
            "service_id": service,
            "commit_id": commit,
            "image_id": image_id,
            "scan_id": told.scan,
            "heard_at_ms": now_ms,
            **{name: getattr(told, name) for name in EVIDENCE_FIELDS},
        },
        key=["run_id", "area"],
    )


async def stop_running(tx: Tx, run_id: str, areas: Sequence[str], reason: str) -> None:
    """These areas will not report any more."""
    await tx.execute(
        evidence.update()
        .where(evidence.c.run_id == run_id, evidence.c.area.in_(list(areas)), evidence.c.state == "running")
        .values(state="failed", reason=reason, code="scan.cancelled")
    )


async def reported_states(tx: Tx, run_id: str) -> dict[str, Evidence]:
    """Area -> evidence with nothing but its state: all that is needed to see whether something is outstanding."""
    rows = await tx.all(_STATES, {"of_run": run_id})
    return {row.area: Evidence(row.area, row.state) for row in rows}


async def evidence_of_run(tx: Tx, run_id: str) -> dict[str, Evidence]:
    rows = await tx.all(_EVIDENCE, {"of_run": run_id})
    return {row.area: _evidence(row) for row in rows}


async def stored_evidence(tx: Tx, service: str, commit: str, image_id: str) -> list[tuple[Evidence, int]]:
    """All that was ever reported of this commit or this image, as (evidence, heard at)."""
    about = []
    if commit:
        about.append(sa.and_(evidence.c.commit_id == commit, evidence.c.area.in_(("sast", "secrets", "iac", "dast"))))
    if image_id:
        about.append(sa.and_(evidence.c.image_id == image_id, evidence.c.area.in_(("sca", "sbom", "license", "image"))))
    if not about:
        return []
    rows = await tx.all(sa.select(evidence).where(evidence.c.service_id == service, evidence.c.state != "running", sa.or_(*about)))
    return [(_evidence(row), row.heard_at_ms) for row in rows]


def _evidence(row: sa.Row[Any]) -> Evidence:
    return Evidence(area=row.area, scan=row.scan_id, **{name: getattr(row, name) for name in EVIDENCE_FIELDS})


# -- questions ---------------------------------------------------------------------------------------------------------
async def add_question(tx: Tx, values: Mapping[str, Any]) -> bool:
    return await tx.insert_new(questions, {"state": "waiting", **values})


async def question(tx: Tx, question_id: str) -> sa.Row[Any] | None:
    return await tx.one(sa.select(questions).where(questions.c.id == question_id))


async def waiting_questions(tx: Tx, run_id: str) -> Sequence[sa.Row[Any]]:
    return await tx.all(_WAITING, {"of_run": run_id})


async def open_questions(tx: Tx) -> Sequence[sa.Row[Any]]:
    """Those whose waiting time runs, oldest first."""
    return await tx.all(
        sa.select(questions)
        .where(questions.c.state == "waiting", questions.c.asked_at_ms.is_not(None))
        .order_by(questions.c.asked_at_ms)
    )


async def start_clock(tx: Tx, run_id: str, image_id: str, now_ms: int) -> None:
    """The waiting time of a run that goes nowhere begins when its image is there."""
    await tx.execute(
        questions.update()
        .where(questions.c.run_id == run_id, questions.c.asked_at_ms.is_(None))
        .values(asked_at_ms=now_ms, image_id=image_id)
    )


async def set_question(tx: Tx, question_id: str, state: str, *, was: Sequence[str]) -> bool:
    """Move a question on. False when it was somewhere else already."""
    changed = await tx.execute(
        questions.update().where(questions.c.id == question_id, questions.c.state.in_(list(was))).values(state=state)
    )
    return changed.rowcount == 1


async def withdraw(tx: Tx, run_id: str) -> None:
    await tx.execute(
        questions.update()
        .where(questions.c.run_id == run_id, questions.c.state.in_(("waiting", "asked")))
        .values(state="withdrawn")
    )


# -- decisions ---------------------------------------------------------------------------------------------------------
async def add_decision(tx: Tx, values: Mapping[str, Any]) -> bool:
    """False when the question has its decision already."""
    return await tx.insert_new(decisions, values)


async def served_before(tx: Tx, service: str, environment: str, image_id: str) -> bool:
    """Whether this image was allowed into this environment before."""
    found = await tx.scalar(
        sa.select(decisions.c.id)
        .where(
            decisions.c.service_id == service,
            decisions.c.environment == environment,
            decisions.c.image_id == image_id,
            decisions.c.verdict.in_(("pass", "warn")),
        )
        .limit(1)
    )
    return found is not None


async def decision_of(tx: Tx, question_id: str) -> sa.Row[Any] | None:
    return await tx.one(sa.select(decisions).where(decisions.c.question_id == question_id))
