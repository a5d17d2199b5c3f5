"""What the gate announces: whether this image may go to this environment, and why."""

from __future__ import annotations

from pydantic import Field

from shared.facts._base import Fact, Part
from shared.words import Area, EnvironmentKind, Evidence, Verdict


class Reason(Part):
    """Why an area warned or blocked. `rule` is the policy's rule (secrets.none), `finding` its identity if there is one,
    `pass_by` what would make it pass, in words."""

    area: Area
    rule: str
    effect: Verdict
    text: str
    finding: str = ""
    pass_by: str = ""


class AreaVerdict(Part):
    """One row of the verdict."""

    area: Area
    evidence: Evidence
    verdict: Verdict
    text: str = ""
    threshold: str = ""
    counts: dict[str, int] = Field(default_factory=dict)
    data_date: str | None = None
    sample_data: bool = False
    scan: str = ""


class GateDecided(Fact, owner="gate", name="gate.decided"):
    """The verdict on an image for an environment. `request` is the deploy request it answers; None when the run goes nowhere and
    the decision is for information. `sentence` says it in one; `ways` lists what would make it pass, the smallest first.
    `input` is an object with the policy's whole input, so that the decision can be computed again; `holds_until` is the ISO time
    at which the evidence alone would change it."""

    decision: str
    run: str
    number: int
    request: str | None = None
    environment: str = ""
    environment_kind: EnvironmentKind = EnvironmentKind.NOT_PRODUCTION
    image_id: str = ""
    digest: str | None = None
    commit: str = ""
    verdict: Verdict
    sentence: str
    areas: list[AreaVerdict] = Field(default_factory=list)
    reasons: list[Reason] = Field(default_factory=list)
    ways: list[str] = Field(default_factory=list)
    policy: str = ""
    policy_hash: str = ""
    input_hash: str = ""
    input: str | None = None
    engine: str = ""
    duration_ms: int = 0
    decided_at: str = ""
    holds_until: str = ""
