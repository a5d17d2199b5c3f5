"""One engine's share of an area, and how the shares of several engines become what is known of the area."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from shared.words import Area, ScanState

from scanner.domain.evidence import ADVICE, AreaScan, EngineRun, worst_state
from scanner.domain.findings import Finding, identified


@dataclass(frozen=True)
class Part:
    """How one engine did, what it found and how many files it `read`. `code` says why it failed, when it did."""

    state: ScanState
    engine: EngineRun
    findings: tuple[Finding, ...] = ()
    read: int = 0
    code: str = ""
    advice: str = ""


def combined(area: Area, parts: Sequence[Part], coverage: dict[str, int]) -> AreaScan:
    """The area from its parts. What a failed engine said is left out; what the others said counts, as partial."""
    state = worst_state(part.state for part in parts)
    troubled = [part for part in parts if part.engine.problem]
    first = next((part for part in parts if part.state == ScanState.FAILED), None)
    code = first.code if first and state == ScanState.FAILED else ""
    findings = [f for part in parts if part.state != ScanState.FAILED for f in part.findings]
    return AreaScan(
        area,
        state,
        "; ".join(f"{part.engine.name}: {part.engine.problem}" for part in troubled),
        code=code,
        advice=(first.advice if first else "") or ADVICE.get(code, ""),
        engines=tuple(part.engine for part in parts),
        coverage=coverage,
        findings=tuple(identified(findings)),
        duration_ms=max((part.engine.duration_ms for part in parts), default=0),
    )
