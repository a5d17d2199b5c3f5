"""Scans of areas, their findings, and what of them is open: the steps sast, sca and dast."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from shared.facts.scanner import (
    FindingLine,
    ScanCancelled,
    ScanFailed,
    ScanFinished,
    ScanQueued,
    ScanStarted,
)
from shared.words import ScanState, Severity, StepState

from gateway.domain.steps import AREAS, STEP_OF_AREA, areas_state
from gateway.projections import model as tables
from gateway.projections import moves
from gateway.projections.model import Model, Row
from gateway.projections.told import Told

RANKS = {str(severity): rank for rank, severity in enumerate(Severity)}
_PROOF = (ScanState.COMPLETED, ScanState.PARTIAL, ScanState.NOT_APPLICABLE)


def _steps(areas: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(STEP_OF_AREA[area] for area in areas if area in STEP_OF_AREA))


def _note(model: Model, message: Any, areas: Sequence[str], values: dict[str, Any]) -> None:
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
    rows = model.scans.setdefault(message.run, {})
    for area in map(str, areas):
        if area not in rows:
            rows[area] = tables.scans.new({"area": area})
        model.change(tables.scans, rows[area], **row, area=area)


def _areas(model: Model, message: Any, step: str) -> dict[str, tuple[str, dict[str, int]]]:
    rows = model.scans.get(message.run, {})
    return {area: (rows[area]["state"], rows[area]["counts"]) for area in map(str, AREAS[step]) if area in rows}


def scan_queued(model: Model, message: ScanQueued, told: Told) -> None:
    _note(model, message, message.areas, {"state": "queued", "queued_at_ms": told.stored_at_ms} | _EMPTY)
    for step in _steps(message.areas):
        moves.wait(model, message, step, told.stored_at_ms, "for a scanner")


def scan_started(model: Model, message: ScanStarted, told: Told) -> None:
    values = {"state": "running", "started_at_ms": told.stored_at_ms, "attempt": message.attempt}
    _note(model, message, message.areas, values | _EMPTY)
    for step in _steps(message.areas):
        moves.begin(model, message, step, told.stored_at_ms, attempt=message.attempt)


# Values of rows are replaced, never changed, so that all rows may share these.
_EMPTY: dict[str, Any] = {"engines": [], "coverage": {}, "counts": {}, "reason": "", "code": "", "advice": ""}


def scan_finished(model: Model, message: ScanFinished, told: Told) -> None:
    _remember(model, message, told)
    _note(
        model,
        message,
        [message.area],
        {
            "state": str(message.state),
            "reason": message.reason,
            "code": "",
            "advice": "",
            "engines": message.engines,
            "coverage": message.coverage,
            "counts": message.counts,
            "findings_total": message.findings_total,
            "data_date": message.data_date,
            "sample_data": message.sample_data,
            "duration_ms": message.duration_ms,
            "report": message.report,
            "ended_at_ms": told.stored_at_ms,
        },
    )
    _area(model, message, str(message.state), told, message.counts)
    _end_step(model, message, told)


def scan_failed(model: Model, message: ScanFailed, told: Told) -> None:
    """Nothing is known of the area, so nothing is resolved: its open findings stay open."""
    _note(
        model,
        message,
        [message.area],
        _EMPTY
        | {
            "state": "failed",
            "reason": message.reason,
            "code": message.code,
            "advice": message.advice,
            "engines": message.engines,
            "duration_ms": message.duration_ms,
            "ended_at_ms": told.stored_at_ms,
        },
    )
    _area(model, message, "failed", told, None)
    _end_step(model, message, told)


def scan_cancelled(model: Model, message: ScanCancelled, told: Told) -> None:
    rows = model.scans.get(message.run, {})
    for area in message.areas:
        row = rows.get(str(area))
        if row is not None and row["state"] in ("queued", "running"):
            model.change(tables.scans, row, state="cancelled", reason=message.reason, ended_at_ms=told.stored_at_ms)
    for step in _steps(message.areas):
        moves.cancel(model, message, step, told.stored_at_ms, message.reason)


def _end_step(model: Model, message: ScanFinished | ScanFailed, told: Told) -> None:
    step = STEP_OF_AREA.get(str(message.area))
    if step is None:
        return
    found = _areas(model, message, step)
    state = areas_state([str(area) for area in AREAS[step]], found)
    if state in (StepState.RUNNING, StepState.WAITING):
        moves.begin(model, message, step, told.stored_at_ms, text=_text(found))
        return
    # Of the two contracts only a failure has a code.
    failed = {"code": message.code, "advice": message.advice} if hasattr(message, "advice") else {}
    moves.end(model, message, step, told.stored_at_ms, state, text=_text(found), **failed)


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


def _area(model: Model, message: Any, state: str, told: Told, counts: dict[str, int] | None) -> None:
    """What is known of the service's area now. Only a scan with proof changes the counts."""
    rows = model.areas.setdefault(message.service, {})
    area = str(message.area)
    row = rows.get(area)
    if row is not None and row["proof_number"] is not None and row["proof_number"] > message.number:
        return
    if row is None:
        row = rows[area] = tables.service_areas.new({"service_id": message.service, "area": area})
    model.change(
        tables.service_areas,
        row,
        organisation_id=message.organisation,
        last_run_id=message.run,
        last_state=state,
        last_at_ms=told.stored_at_ms,
    )
    if state in _PROOF:
        model.change(
            tables.service_areas,
            row,
            proof_run_id=message.run,
            proof_number=message.number,
            proof_at_ms=told.stored_at_ms,
            counts=counts or {},
        )
    model.touched_services[message.service] = None


def _remember(model: Model, message: ScanFinished, told: Told) -> None:
    """The run's findings, and what of the service's findings is open, new, reopened or fixed by them."""
    area = str(message.area)
    known = model.known.setdefault((message.service, area), {})
    before = model.scans.get(message.run, {}).get(area)
    again = before is not None and before["ended_at_ms"] is not None
    lines = {line.id: line for line in message.findings}
    model.replace_findings(
        message.run, area, [_finding(message, area, line, known.get(line.id)) for line in lines.values()], again=again
    )
    for line in lines.values():
        _open(model, message, area, line, known, told)
    # The fact has at most 200 lines: what is missing of a longer list is not known to be fixed.
    if message.state == ScanState.COMPLETED and message.findings_total <= len(message.findings):
        for name, row in known.items():
            if row["state"] == "open" and name not in lines and row["last_number"] <= message.number:
                fixed = {"state": "fixed", "fixed_number": message.number, "fixed_at_ms": told.stored_at_ms}
                model.change(tables.current_findings, row, **fixed)


def _finding(message: ScanFinished, area: str, line: FindingLine, before: Row | None) -> Row:
    if before is None or before["first_run_id"] == message.run:
        novelty = "new"
    else:
        novelty = "reopened" if before["state"] == "fixed" else "existing"
    severity = str(line.severity)
    return {
        "run_id": message.run,
        "area": area,
        "finding_id": line.id,
        "organisation_id": message.organisation,
        "service_id": message.service,
        "rule": line.rule,
        "severity": severity,
        "rank": RANKS.get(severity, len(RANKS)),
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
        "first_number": message.number if before is None else before["first_number"],
    }


def _open(model: Model, message: ScanFinished, area: str, line: FindingLine, known: dict[str, Row], told: Told) -> None:
    """The open finding as this run saw it last; nothing when a newer run has told of it already."""
    row = known.get(line.id)
    if row is not None and row["last_number"] > message.number:
        return
    if row is None:
        row = known[line.id] = tables.current_findings.new(
            {
                "service_id": message.service,
                "area": area,
                "finding_id": line.id,
                "first_run_id": message.run,
                "first_number": message.number,
                "first_at_ms": told.stored_at_ms,
            }
        )
    severity = str(line.severity)
    model.change(
        tables.current_findings,
        row,
        organisation_id=message.organisation,
        state="open",
        severity=severity,
        rank=RANKS.get(severity, len(RANKS)),
        title=line.title,
        last_run_id=message.run,
        last_number=message.number,
        last_at_ms=told.stored_at_ms,
        fixed_number=None,
        fixed_at_ms=None,
    )
