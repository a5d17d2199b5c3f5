"""What the gate can do: keep evidence, take questions, decide."""

from __future__ import annotations

from dataclasses import dataclass

from gate.handlers.deciding import Deciding
from gate.handlers.evidence import EvidenceKeeper
from gate.handlers.questions import Questions


@dataclass(frozen=True)
class Handlers:
    """The gate's use cases, one object per noun."""

    evidence: EvidenceKeeper
    questions: Questions
    deciding: Deciding


__all__ = ["Deciding", "EvidenceKeeper", "Handlers", "Questions"]
