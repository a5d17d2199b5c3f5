"""Scans of areas, their findings, and what of them is open: the steps sast, sca and dast."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from shared.database import Tx
from shared.facts.scanner import (
    FindingLine,
    ScanCancelled,
    ScanFailed,
    ScanFinished,
    ScanQueued,
    ScanStarted,
)
from shared.subscribers import Envelope
from shared.words import ScanState, Severity, StepState

from gateway.domain.steps import AREAS, STEP_OF_AREA, areas_state
from gateway.projections import moves
from gateway.projections.many import upsert_all
from gateway.tables.read_model import current_findings, findings, scans, service_areas

RANKS = {str(severity): rank for rank, severity in enumerate(Severity)}


def _steps(areas: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(STEP_OF_AREA[area] for area in areas if area in STEP_OF_AREA))


async def _note(tx: Tx, message: Any, areas: Sequence[str], values: dict[str, Any]) -> None:
    """The rows of this run's areas; a newer scan of one takes its row over."""
    row = {
        "run_id": message.run,
        "organisation_id": message.organisation,
        "service_id": message.service,
        "number": message.number,
        "scan_id": message.scan,
        "commit": message.commit,
        "image_id": message.image_id,
        **values,
    }
    await upsert_all(tx, scans, [row | {"area": str(area)} for area in dict.fromkeys(areas)], ["run_id", "area"])


async def _areas(tx: Tx, message: Any, step: str) -> dict[str, tuple[str, dict[str, int]]]:
    rows = await tx.all(
        sa.select(scans.c.area, scans.c.state, scans.c.counts).where(
            scans.c.run_id == message.run, scans.c.area.in_([str(area) for area in AREAS[step]])
        )
    )
    return {row.area: (row.state, dict(row.counts or {})) for row in rows}


async def scan_queued(tx: Tx, message: ScanQueued, envelope: Envelope) -> None:
    values = {"state": "queued", "queued_at_ms": envelope.stored_at_ms}
    await _note(tx, message, message.areas, values | _empty())
    for step in _steps(message.areas):
        await moves.wait(tx, message, step, envelope.stored_at_ms, "for a scanner")


async def scan_started(tx: Tx, message: ScanStarted, envelope: Envelope) -> None:
    values = {"state": "running", "started_at_ms": envelope.stored_at_ms, "attempt": message.attempt}
    await _note(tx, message, message.areas, values | _empty())
    for step in _steps(message.areas):
        await moves.begin(tx, message, step, envelope.stored_at_ms, attempt=message.attempt)


def _empty() -> dict[str, Any]:
    return {"engines": [], "coverage": {}, "counts": {}, "reason": "", "code": "", "advice": ""}


async def scan_finished(tx: Tx, message: ScanFinished, envelope: Envelope) -> None:
    await _note(
        tx,
        message,
        [message.area],
        {
            "state": str(message.state),
            "reason": message.reason,
            "code": "",
            "advice": "",
            "engines": [engine.model_dump(mode="json") for engine in message.engines],
            "coverage": dict(message.coverage),
            "counts": dict(message.counts),
            "findings_total": message.findings_total,
            "data_date": message.data_date,
            "sample_data": message.sample_data,
            "duration_ms": message.duration_ms,
            "report": message.report,
            "ended_at_ms": envelope.stored_at_ms,
        },
    )
    await _remember(tx, message, envelope)
    await _area(tx, message, str(message.state), envelope, dict(message.counts))
    await _end_step(tx, message, envelope)


async def scan_failed(tx: Tx, message: ScanFailed, envelope: Envelope) -> None:
    """Nothing is known of the area, so nothing is resolved: its open findings stay open."""
    await _note(
        tx,
        message,
        [message.area],
        _empty()
        | {
            "state": "failed",
            "reason": message.reason,
            "code": message.code,
            "advice": message.advice,
            "engines": [engine.model_dump(mode="json") for engine in message.engines],
            "duration_ms": message.duration_ms,
            "ended_at_ms": envelope.stored_at_ms,
        },
    )
    await _area(tx, message, "failed", envelope, None)
    await _end_step(tx, message, envelope)


async def scan_cancelled(tx: Tx, message: ScanCancelled, envelope: Envelope) -> None:
    for area in message.areas:
        values = {"state": "cancelled", "reason": message.reason, "ended_at_ms": envelope.stored_at_ms}
        await tx.execute(
            scans.update()
            .where(scans.c.run_id == message.run, scans.c.area == area, scans.c.state.in_(("queued", "running")))
            .values(**values)
        )
    for step in _steps(message.areas):
        await moves.cancel(tx, message, step, envelope.stored_at_ms, message.reason)


async def _end_step(tx: Tx, message: ScanFinished | ScanFailed, envelope: Envelope) -> None:
    step = STEP_OF_AREA.get(str(message.area))
    if step is None:
        return
    found = await _areas(tx, message, step)
    state = areas_state([str(area) for area in AREAS[step]], found)
    if state in (StepState.RUNNING, StepState.WAITING):
        await moves.begin(tx, message, step, envelope.stored_at_ms, text=_text(found))
        return
    failed = isinstance(message, ScanFailed)
    await moves.end(
        tx,
        message,
        step,
        envelope.stored_at_ms,
        state,
        text=_text(found),
        **({"code": message.code, "advice": message.advice} if failed else {}),
    )


def _text(found: dict[str, tuple[str, dict[str, int]]]) -> str:
    """ "secrets: clean; sast: 2 high, 1 medium; iac: failed"."""
    parts = []
    for area, (state, counts) in sorted(found.items()):
        if state in ("queued", "running"):
            continue
        numbers = ", ".join(f"{counts[name]} {name}" for name in RANKS if counts.get(name))
        if state in (ScanState.COMPLETED, ScanState.PARTIAL):
            parts.append(f"{area}: {numbers or 'nothing found'}" + (" (partial)" if state == ScanState.PARTIAL else ""))
        else:
            parts.append(f"{area}: {state.replace('_', ' ')}")
    return "; ".join(parts)


async def _area(tx: Tx, message: Any, state: str, envelope: Envelope, counts: dict[str, int] | None) -> None:
    """What is known of the service's area now. Only a scan with proof changes the counts."""
    values: dict[str, Any] = {
        "service_id": message.service,
        "area": str(message.area),
        "organisation_id": message.organisation,
        "last_run_id": message.run,
        "last_state": state,
        "last_at_ms": envelope.stored_at_ms,
    }
    proof = state in (ScanState.COMPLETED, ScanState.PARTIAL, ScanState.NOT_APPLICABLE)
    if proof:
        values |= {
            "proof_run_id": message.run,
            "proof_number": message.number,
            "proof_at_ms": envelope.stored_at_ms,
            "counts": counts or {},
        }
    newer = await tx.scalar(
        sa.select(service_areas.c.proof_number).where(
            service_areas.c.service_id == message.service, service_areas.c.area == str(message.area)
        )
    )
    if newer is not None and newer > message.number:
        return
    if not proof:
        await tx.insert_new(service_areas, values | {"counts": {}})
    await tx.upsert(service_areas, values, ["service_id", "area"])


async def _remember(tx: Tx, message: ScanFinished, envelope: Envelope) -> None:
    """The run's findings, and what of the service's findings is open, new, reopened or fixed by them."""
    area = str(message.area)
    known = {
        row.finding_id: row
        for row in await tx.all(
            sa.select(current_findings).where(current_findings.c.service_id == message.service, current_findings.c.area == area)
        )
    }
    await tx.execute(findings.delete().where(findings.c.run_id == message.run, findings.c.area == area))
    lines = {line.id: line for line in message.findings}
    rows = [_finding(message, line, known.get(line.id)) for line in lines.values()]
    if rows:
        await tx.execute(findings.insert(), rows)
    seen = [_open(message, line, known.get(line.id), envelope) for line in lines.values()]
    await upsert_all(tx, current_findings, [row for row in seen if row], ["service_id", "area", "finding_id"])
    # The fact has at most 200 lines: what is missing of a longer list is not known to be fixed.
    if message.state == ScanState.COMPLETED and message.findings_total <= len(message.findings):
        gone = [name for name, row in known.items() if row.state == "open" and name not in lines]
        for start in range(0, len(gone), 500):
            await tx.execute(
                current_findings.update()
                .where(
                    current_findings.c.service_id == message.service,
                    current_findings.c.area == area,
                    current_findings.c.finding_id.in_(gone[start : start + 500]),
                    current_findings.c.last_number <= message.number,
                )
                .values(state="fixed", fixed_number=message.number, fixed_at_ms=envelope.stored_at_ms)
            )


def _finding(message: ScanFinished, line: FindingLine, before: Any) -> dict[str, Any]:
    novelty = "new" if before is None else "reopened" if before.state == "fixed" else "existing"
    if before is not None and before.first_run_id == message.run:
        novelty = "new"
    return {
        "run_id": message.run,
        "area": str(message.area),
        "finding_id": line.id,
        "organisation_id": message.organisation,
        "service_id": message.service,
        "rule": line.rule,
        "severity": str(line.severity),
        "rank": RANKS.get(str(line.severity), len(RANKS)),
        "title": line.title,
        "path": line.path,
        "line": line.line,
        "commit": line.commit,
        "package": line.package,
        "installed": line.installed,
        "fix": line.fix,
        "confidence": line.confidence,
        "licence": line.licence,
        "triage": line.triage,
        "novelty": novelty,
        "first_number": message.number if before is None else before.first_number,
    }


def _open(message: ScanFinished, line: FindingLine, before: Any, envelope: Envelope) -> dict[str, Any] | None:
    """The open finding as this run saw it last; None when a newer run has told of it already."""
    if before is not None and before.last_number > message.number:
        return None
    first = (before.first_run_id, before.first_number, before.first_at_ms) if before is not None else None
    run, number, at_ms = first or (message.run, message.number, envelope.stored_at_ms)
    return {
        "service_id": message.service,
        "area": str(message.area),
        "finding_id": line.id,
        "organisation_id": message.organisation,
        "state": "open",
        "severity": str(line.severity),
        "rank": RANKS.get(str(line.severity), len(RANKS)),
        "title": line.title,
        "first_run_id": run,
        "first_number": number,
        "first_at_ms": at_ms,
        "last_run_id": message.run,
        "last_number": message.number,
        "last_at_ms": envelope.stored_at_ms,
        "fixed_number": None,
        "fixed_at_ms": None,
    }
