"""The head of a service, from its row."""

from __future__ import annotations

from typing import Any

from gateway import labels
from gateway.contexts.frame import Counts, Version
from gateway.contexts.service import Header
from gateway.labels import State


def service_state(row: Any) -> State:
    state = labels.of(labels.SERVICE, row.state)
    why = row.state_text or ""
    return state.because("" if why.rstrip(".").lower() == state.word.lower() else why)


def version_of(text: str, by_hand: bool) -> Version:
    return Version(text, bool(by_hand))


def deployed(row: Any) -> Version | None:
    """What serves of a service; None when nothing does."""
    if row.deployed_release_id is None:
        return None
    return version_of(row.deployed_version or f"release {row.deployed_release_number}", row.deployed_by_hand)


def risk(row: Any) -> tuple[Counts | None, str]:
    """Counts, None when nothing was ever read; and what is not known of them."""
    counts = Counts(row.risk_critical, row.risk_high, row.risk_medium, row.risk_low)
    match row.risk_state:
        case "known":
            return counts, ""
        case "part":
            return counts, "known in part"
    return None, "not scanned"


def header(row: Any, runs: int) -> Header:
    return Header(
        id=row.id,
        name=row.name,
        description=row.description,
        state=service_state(row),
        sample=row.sample,
        version=deployed(row),
        environment=row.deployed_environment,
        commit=row.deployed_commit,
        since_ms=row.deployed_at_ms,
        url=row.deployed_url,
        runs=runs,
        broken=row.state in labels.FAILING,
        moving=row.state in labels.MOVING,
    )
