"""What is made anew once per batch: the summary of each touched run, the roll-up of each touched service."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from shared.database import Tx
from shared.words import RUN_ENDED, RunState

from gateway.domain.rollup import LastRun, Place, foremost, roll_up
from gateway.domain.steps import standing, summary
from gateway.projections import ledger
from gateway.tables.read_model import environments, runs, runtimes, service_areas, services

RISK_AREAS = ("sast", "sca", "secrets", "iac", "image")
_RISKS = ("critical", "high", "medium", "low")
ENDED = {str(each) for each in RUN_ENDED}


def touch_run(tx: Tx, run: str, service: str) -> None:
    """Fold this run before the commit, then its service."""

    async def fold(at_end: Tx) -> None:
        # Only now, and only when it matters: the service's state is made of its runs as they are folded.
        if await _fold_run(at_end, run):
            touch_service(at_end, service)

    tx.before_commit(f"run {run}", fold)


def touch_service(tx: Tx, service: str) -> None:
    """Fold this service before the commit."""

    async def fold(at_end: Tx) -> None:
        await _fold_service(at_end, service)

    tx.before_commit(f"service {service}", fold)


async def _fold_run(tx: Tx, run: str) -> bool:
    """Write what moved and the run's summary; True when something changed that a service shows."""
    book = ledger.opened(tx, run)
    if book is not None:
        await book.write(tx)
    row = await tx.one(
        sa.select(runs.c.state, runs.c.reason, runs.c.started_at_ms, runs.c.steps, runs.c.state_text).where(runs.c.id == run)
    )
    if row is None or book is None:
        return True
    steps = book.ordered()
    state, reason = row.state, row.reason
    begun = [each["started_at_ms"] for each in steps if each["started_at_ms"] is not None]
    if state == RunState.PENDING and begun:
        state = str(RunState.RUNNING)
    values = {
        "state": state,
        "started_at_ms": min(begun) if begun and row.started_at_ms is None else row.started_at_ms,
        "steps": summary((each["step"], each["state"]) for each in steps),
        "state_text": standing(state, reason, ((each["step"], each["state"], each["text"], each["waits_for"]) for each in steps)),
    }
    if all(getattr(row, name) == value for name, value in values.items()):
        return state in ENDED
    await tx.execute(runs.update().where(runs.c.id == run).values(**values))
    return True


async def _fold_service(tx: Tx, service: str) -> None:
    last = await tx.one(sa.select(runs).where(runs.c.service_id == service).order_by(runs.c.number.desc()).limit(1))
    rows = await tx.all(
        sa.select(environments, runtimes.c.reachable)
        .outerjoin(runtimes, runtimes.c.id == environments.c.runtime)
        .where(environments.c.service_id == service)
    )
    # A runtime of which nothing was said yet is not called unreachable.
    places = [
        Place(row.name, row.kind, row.state, row.reachable is not False, row.since_ms if row.release_id else None) for row in rows
    ]
    state, where = roll_up(places, LastRun(last.state, last.ended_step, last.steps) if last else None)
    values: dict[str, Any] = {
        "state": state,
        "state_environment": where,
        "state_text": next((row.state_text for row in rows if row.name == where), last.state_text if last else ""),
    }
    if last is not None:
        values |= {
            "last_run_id": last.id,
            "last_run_number": last.number,
            "last_run_state": last.state,
            "last_run_at_ms": last.born_at_ms,
        }
    values |= _deployed(next((row for row in rows if (best := foremost(places)) and row.name == best.name), None))
    values |= await _risk(tx, service)
    await tx.execute(services.update().where(services.c.id == service).values(**values))


def _deployed(row: Any) -> dict[str, Any]:
    if row is None:
        empty: dict[str, Any] = dict.fromkeys(
            (
                "deployed_environment",
                "deployed_version",
                "deployed_commit",
                "deployed_image",
                "deployed_image_id",
                "deployed_url",
            ),
            "",
        )
        none = ("digest", "release_id", "release_number", "run_number", "at_ms")
        return empty | {"deployed_by_hand": False} | {f"deployed_{name}": None for name in none}
    return {
        "deployed_environment": row.name,
        "deployed_version": row.version,
        "deployed_by_hand": row.by_hand,
        "deployed_commit": row.commit,
        "deployed_image": row.image,
        "deployed_image_id": row.image_id,
        "deployed_digest": row.digest,
        "deployed_url": row.url,
        "deployed_release_id": row.release_id,
        "deployed_release_number": row.release_number,
        "deployed_run_number": row.run_number,
        "deployed_at_ms": row.since_ms,
    }


async def _risk(tx: Tx, service: str) -> dict[str, Any]:
    areas = await tx.all(
        sa.select(service_areas).where(service_areas.c.service_id == service, service_areas.c.area.in_(RISK_AREAS))
    )
    counted = [row for row in areas if row.proof_run_id is not None]
    values: dict[str, Any] = {f"risk_{name}": sum(int(row.counts.get(name, 0)) for row in counted) for name in _RISKS}
    whole = all(row.last_state in ("completed", "not_applicable") for row in areas)
    values["risk_state"] = "none" if not areas else "known" if whole else "part"
    newest = max(counted, key=lambda row: row.proof_number, default=None)
    values["risk_run_id"] = newest.proof_run_id if newest else None
    return values


async def run_ended(tx: Tx, run: str) -> bool:
    """Whether the run has a final state already."""
    state = await tx.scalar(sa.select(runs.c.state).where(runs.c.id == run))
    return state in ENDED
