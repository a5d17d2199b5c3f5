"""What a scan of one area may claim, and the proof it needs for that."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from shared.words import Area, ScanState

from scanner.domain.findings import Finding

SOURCE_AREAS = (Area.SECRETS, Area.SAST, Area.IAC)
IMAGE_AREAS = (Area.SCA, Area.SBOM, Area.LICENSE, Area.IMAGE)


@dataclass(frozen=True)
class EngineRun:
    """One run of one engine: which program it was (version and SHA-256), how it ended, and what it could not do.

    `rules` is how many rules it had, `data_date` the ISO date of its vulnerability data, `problem` empty when all went well."""

    name: str
    version: str
    sha256: str = ""
    exit_code: int | None = None
    rules: int | None = None
    data_date: str | None = None
    sample_data: bool = False
    problem: str = ""
    duration_ms: int = 0


@dataclass(frozen=True)
class Proof:
    """What an engine run can show: `ended_well` (an exit code that means it did its work), `readable` output, its version, how
    much it `read` (files, commits, layers), and the `problems` it or we met (each one means that something was not read)."""

    ended_well: bool
    readable: bool
    version: str
    read: int
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class AreaScan:
    """What is known of one area after a scan. `code` and `advice` say more when the state is failed. `components` and `sbom`
    (a CycloneDX document) come with the areas of an image."""

    area: Area
    state: ScanState
    reason: str = ""
    code: str = ""
    advice: str = ""
    engines: tuple[EngineRun, ...] = ()
    coverage: dict[str, int] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    data_date: str | None = None
    sample_data: bool = False
    duration_ms: int = 0
    components: tuple[dict[str, object], ...] = ()
    sbom: bytes | None = None


def judged(proof: Proof) -> tuple[ScanState, str, str]:
    """State, code and reason of a run with this proof. Completed only with all of it; only completed resolves findings."""
    if not proof.ended_well:
        return ScanState.FAILED, "engine.failed", _sentence(proof.problems) or "the engine ended with an error"
    if not proof.readable:
        return ScanState.FAILED, "engine.output", _sentence(proof.problems) or "the engine's output could not be read"
    if not proof.version:
        return ScanState.FAILED, "engine.version", "the engine did not say its version"
    if proof.read <= 0:
        return ScanState.FAILED, "engine.read_nothing", _sentence(proof.problems) or "the engine read nothing"
    if proof.problems:
        return ScanState.PARTIAL, "", _sentence(proof.problems)
    return ScanState.COMPLETED, "", ""


def _sentence(problems: tuple[str, ...], most: int = 3) -> str:
    text = "; ".join(problems[:most])
    more = len(problems) - most
    return f"{text}; and {more} more" if more > 0 else text


def not_applicable(area: Area, reason: str, coverage: dict[str, int] | None = None) -> AreaScan:
    """There is nothing of this kind to look at, and why."""
    return AreaScan(area, ScanState.NOT_APPLICABLE, reason, coverage=coverage or {})


def failed(area: Area, code: str, reason: str, advice: str = "", engines: Iterable[EngineRun] = ()) -> AreaScan:
    """Nothing is known of this area."""
    return AreaScan(area, ScanState.FAILED, reason, code=code, advice=advice, engines=tuple(engines))


def worst_state(states: Iterable[ScanState]) -> ScanState:
    """The state of an area that several engines looked at: one that failed beside one that did not leaves it partial."""
    all_states = set(states)
    if all_states == {ScanState.FAILED}:
        return ScanState.FAILED
    for state in (ScanState.FAILED, ScanState.PARTIAL):
        if state in all_states:
            return ScanState.PARTIAL
    return ScanState.NO_DATA if ScanState.NO_DATA in all_states else ScanState.COMPLETED


ADVICE = {
    "engine.failed": "Read the engine's words above; start the run again. If it stays, look at `kiops doctor`.",
    "engine.output": "The engine's version may not fit ours: `kiops doctor` shows which one is expected.",
    "engine.version": "The program may not be the engine: `kiops doctor` shows its path and checksum.",
    "engine.read_nothing": "A scan that read nothing proves nothing. Look at the repository or image, then start the run again.",
    "engine.timeout": "Raise SCANNER_ENGINE_SECONDS, or look for very large generated files in the repository.",
}
