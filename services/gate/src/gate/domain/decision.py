"""The decision: the shape a policy's answer must have, and the deny that stands in for every other answer."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gate.errors import EngineProblem

AREAS = ("secrets", "sca", "image", "sast", "iac", "license", "sbom", "dast")
SEVERITY_ORDER = ("pass", "warn", "block")

Area = Literal["secrets", "sca", "image", "sast", "iac", "license", "sbom", "dast"]
Evidence = Literal["fresh", "stale", "missing", "running", "failed", "partial", "no_data", "not_applicable"]
Verdict = Literal["pass", "warn", "block"]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class AreaRow(_Strict):
    """One area: the state of its evidence, its verdict, and both in words."""

    area: Area
    evidence: Evidence
    verdict: Verdict
    text: str
    threshold: str
    counts: dict[str, int]


class Reason(_Strict):
    """Why an area warns or blocks. `area` is `other` only when the engine itself is the reason."""

    area: Area | Literal["other"]
    rule: str
    effect: Verdict
    finding: str
    text: str
    pass_by: str


class Decision(_Strict):
    """What the policy says. `holds_seconds` is how long it stays true by itself; `waits_for` names areas still running."""

    verdict: Verdict
    sentence: str = Field(min_length=1)
    areas: list[AreaRow]
    reasons: list[Reason]
    ways: list[str]
    waits_for: list[Area] = []
    holds_seconds: int = Field(ge=0)
    policy: str
    version: int
    problem: str = ""


def read_decision(answer: Any) -> Decision:
    """The policy's answer as a Decision. Raises EngineProblem `policy.wrong_shape` for anything else.

    Not only the fields: every area once, the verdict no milder than its worst area, and no block without a reason.
    """
    try:
        decision = Decision.model_validate(answer)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the answer"
        raise EngineProblem("policy.wrong_shape", f"the policy's answer is no decision: {where}: {first['msg']}") from None
    if sorted(row.area for row in decision.areas) != sorted(AREAS):
        raise EngineProblem("policy.wrong_shape", "the policy's answer does not name each of the eight areas once")
    worst = max((row.verdict for row in decision.areas), key=SEVERITY_ORDER.index)
    if SEVERITY_ORDER.index(decision.verdict) < SEVERITY_ORDER.index(worst):
        raise EngineProblem("policy.wrong_shape", f"the policy says {decision.verdict} though an area says {worst}")
    if decision.verdict == "block" and not any(reason.effect == "block" for reason in decision.reasons):
        raise EngineProblem("policy.wrong_shape", "the policy blocks without a reason")
    return decision


def denied(document: dict[str, Any], code: str, message: str, advice: str) -> Decision:
    """The decision when the policy could not decide: block, and the one reason is why."""
    subject, environment = document.get("subject", {}), document.get("environment", {})
    what = subject.get("service_name", "") or "this image"
    if commit := subject.get("commit", ""):
        what = f"{what} at {commit[:7]}"
    where = environment.get("name", "") or "any environment"
    reason = Reason(area="other", rule=code, effect="block", finding="", text=message, pass_by=advice)
    return Decision(
        verdict="block",
        sentence=f"{what} may not go to {where}: {message}.",
        areas=[],
        reasons=[reason],
        ways=[advice],
        holds_seconds=0,
        policy="",
        version=0,
        problem=code,
    )
