"""When the policy may be asked: every area it asks for has reported, or the time for waiting is over."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from gate.domain.decision import AREAS
from gate.domain.document import Evidence

STEP_AREAS = {
    "sast": ("sast", "secrets", "iac"),
    "sca": ("sca", "sbom", "license", "image"),
}
"""DAST looks at what runs, after the deploy that is asked for: it is judged by what an earlier run found, never waited for."""


def asked_areas(plan: Iterable[str]) -> list[str]:
    """The areas that a run with this plan will report. A step that is not in the plan is not waited for."""
    planned = {area for step in plan for area in STEP_AREAS.get(step, ())}
    return [area for area in AREAS if area in planned]


def outstanding(plan: Iterable[str], evidence: Mapping[str, Evidence]) -> list[str]:
    """The areas of the plan that have not come to an end yet."""
    return [area for area in asked_areas(plan) if area not in evidence or not evidence[area].reported]


def purpose_of(cause: str) -> str:
    """What a deploy request is for the policy: a rollback has rules of its own, everything else is a deploy."""
    return "rollback" if cause == "rollback" else "deploy"


def choose_evidence(candidates: Iterable[tuple[Evidence, int]]) -> dict[str, Evidence]:
    """Of several results per area the newest that says something (completed, partial, no data, not applicable), else the newest.

    Candidates are (evidence, order) where a larger order is newer. A later failed scan does not hide what an earlier one read.
    """
    best: dict[str, tuple[tuple[bool, int], Evidence]] = {}
    for evidence, order in candidates:
        rank = (evidence.state in ("completed", "partial", "no_data", "not_applicable"), order)
        if evidence.area not in best or rank > best[evidence.area][0]:
            best[evidence.area] = (rank, evidence)
    return {area: evidence for area, (_, evidence) in best.items()}
