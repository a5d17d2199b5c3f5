"""What is made anew once per batch: the summary of each touched run, the roll-up of each touched service.

Both are functions of rows as they are at the batch's end, so that it does not matter where a batch ends.
"""

from __future__ import annotations

from typing import Any

from shared.words import RUN_ENDED

from gateway.domain.rollup import LastRun, Place, foremost, roll_up
from gateway.domain.steps import standing, summary
from gateway.projections import model as tables
from gateway.projections.model import Model, Row

RISK_AREAS = ("sast", "sca", "secrets", "iac", "image")
_RISKS = ("critical", "high", "medium", "low")
ENDED = {str(each) for each in RUN_ENDED}


def fold(model: Model) -> None:
    """Runs first: a service's state is made of its last run as it is folded."""
    for run in model.touched_runs:
        _fold_run(model, run)
    for service in model.touched_services:
        _fold_service(model, service)


def _change(model: Model, table: tables.Table, row: Row, values: dict[str, Any]) -> None:
    if any(row[name] != value for name, value in values.items()):
        model.change(table, row, **values)


def _fold_run(model: Model, run: str) -> None:
    row, steps = model.runs.get(run), model.steps.get(run)
    if row is None or not steps:
        return
    ordered = sorted(steps.values(), key=lambda each: (each["position"], each["environment"]))
    said = standing(
        row["state"], row["reason"], ((each["step"], each["state"], each["text"], each["waits_for"]) for each in ordered)
    )
    _change(model, tables.runs, row, {"steps": summary((each["step"], each["state"]) for each in ordered), "state_text": said})


def _fold_service(model: Model, service: str) -> None:
    row = model.services.get(service)
    if row is None:
        return
    last = model.runs.get(row["last_run_id"]) if row["last_run_id"] else None
    rows = sorted(model.places.get(service, {}).values(), key=lambda place: place["name"])
    places = [
        Place(
            place["name"],
            place["kind"],
            place["state"],
            _answers(model, place["runtime"]),
            place["since_ms"] if place["release_id"] else None,
        )
        for place in rows
    ]
    state, where = roll_up(places, LastRun(last["state"], last["ended_step"], last["steps"]) if last else None)
    values: dict[str, Any] = {
        "state": state,
        "state_environment": where,
        "state_text": next((place["state_text"] for place in rows if place["name"] == where), last["state_text"] if last else ""),
    }
    if last is not None:
        values |= {"last_run_number": last["number"], "last_run_state": last["state"], "last_run_at_ms": last["born_at_ms"]}
    best = foremost(places)
    values |= _deployed(next((place for place in rows if best and place["name"] == best.name), None))
    values |= _risk(model, service)
    _change(model, tables.services, row, values)


def _answers(model: Model, runtime: str) -> bool:
    """A runtime of which nothing was said yet is not called unreachable."""
    row = model.runtimes.get(runtime)
    return row is None or bool(row["reachable"])


_NOTHING_DEPLOYED: dict[str, Any] = (
    dict.fromkeys(
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
    | {"deployed_by_hand": False}
    | {f"deployed_{name}": None for name in ("digest", "release_id", "release_number", "run_number", "at_ms")}
)


def _deployed(row: Row | None) -> dict[str, Any]:
    if row is None:
        return _NOTHING_DEPLOYED
    return {
        "deployed_environment": row["name"],
        "deployed_version": row["version"],
        "deployed_by_hand": row["by_hand"],
        "deployed_commit": row["commit"],
        "deployed_image": row["image"],
        "deployed_image_id": row["image_id"],
        "deployed_digest": row["digest"],
        "deployed_url": row["url"],
        "deployed_release_id": row["release_id"],
        "deployed_release_number": row["release_number"],
        "deployed_run_number": row["run_number"],
        "deployed_at_ms": row["since_ms"],
    }


def _risk(model: Model, service: str) -> dict[str, Any]:
    areas = [row for area, row in sorted(model.areas.get(service, {}).items()) if area in RISK_AREAS]
    counted = [row for row in areas if row["proof_run_id"] is not None]
    values: dict[str, Any] = {f"risk_{name}": sum(int(row["counts"].get(name, 0)) for row in counted) for name in _RISKS}
    whole = all(row["last_state"] in ("completed", "not_applicable") for row in areas)
    values["risk_state"] = "none" if not areas else "known" if whole else "part"
    newest = max(counted, key=lambda row: row["proof_number"], default=None)
    values["risk_run_id"] = newest["proof_run_id"] if newest else None
    return values
