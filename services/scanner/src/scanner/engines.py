"""The engines together: a source or an image in, one result per area out, as each is known."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

from shared.engine import EngineAway
from shared.errors import KiopsError, LeaseLost
from shared.processes import ChildTimeout
from shared.words import Area, ScanState

from scanner.clients.engine import ContainerEngine
from scanner.clients.git import Source
from scanner.data.keeper import Keeper
from scanner.domain.evidence import ADVICE, IMAGE_AREAS, AreaScan, EngineRun, failed, not_applicable
from scanner.domain.findings import Finding
from scanner.domain.masking import hide_known
from scanner.scanners import gitleaks, semgrep, trivy_config, trivy_image
from scanner.scanners.part import Part, combined
from scanner.scanners.program import Program
from scanner.scanners.targets import Targets, prepare
from shared import tracing

T = TypeVar("T")


class Engines(Protocol):
    """What scans. `Installed` runs the programs; tests may give another."""

    def source_areas(self, source: Source, *, dockerfile: str, job: Any) -> AsyncIterator[AreaScan]:
        """Secrets, SAST and IaC of a source, in the order in which they are known."""
        ...

    def image_areas(self, image_id: str, *, is_sample: bool, job: Any) -> AsyncIterator[AreaScan]:
        """SCA, SBOM, licences and image. Raises ImageGone, EngineAway."""
        ...


@dataclass(frozen=True)
class Programs:
    """The engines' programs."""

    gitleaks: Program
    semgrep: Program
    trivy: Program


class Installed:
    """The engines installed on this machine, as child processes."""

    def __init__(
        self,
        programs: Programs,
        container_engine: ContainerEngine,
        keeper: Keeper,
        *,
        key: bytes,
        at_once: int = 2,
        file_max_bytes: int = 2_000_000,
    ) -> None:
        self._programs, self._engine, self._keeper, self._key = programs, container_engine, keeper, key
        self._at_once, self._file_max_bytes = at_once, file_max_bytes

    async def source_areas(self, source: Source, *, dockerfile: str, job: Any) -> AsyncIterator[AreaScan]:
        folder: Path = job.folder / "engines"
        targets = await asyncio.to_thread(
            prepare, source.tree, folder / "shown", dockerfile=dockerfile, max_bytes=self._file_max_bytes
        )
        slots = asyncio.Semaphore(self._at_once)
        secrets = asyncio.create_task(_in(slots, self._secrets(source, job, folder / "gitleaks")))
        code = asyncio.create_task(_in(slots, self._code(targets, job, folder / "semgrep")))
        config = asyncio.create_task(_in(slots, self._config(targets, job, folder / "trivy")))
        try:
            area, values = await secrets
            yield area
            # What Gitleaks found must not show in the code another engine quotes.
            parts = await code
            yield _masked(_sast(targets, parts), values)
            yield _masked(_iac(targets, parts, await config), values)
        finally:
            for task in (secrets, code, config):
                task.cancel()
            await asyncio.gather(secrets, code, config, return_exceptions=True)

    async def image_areas(self, image_id: str, *, is_sample: bool, job: Any) -> AsyncIterator[AreaScan]:
        home: Path = job.folder / "trivy"
        home.mkdir(parents=True)
        archive = job.folder / "image.tar"
        await self._engine.inspect(image_id)
        await self._engine.save(image_id, archive)
        given = await self._keeper.given(is_sample=is_sample, job=job, home=home)
        try:
            with _span("trivy", "image"):
                areas = await trivy_image.scan(self._programs.trivy, archive, bundle=given.bundle, job=job, home=home)
        except (LeaseLost, EngineAway):
            raise
        except KiopsError as error:
            areas = [_failure(area, "trivy", error) for area in IMAGE_AREAS]
        archive.unlink(missing_ok=True)
        for area in areas:
            if area.state == ScanState.NO_DATA and given.trouble and given.bundle is None:
                area = replace(area, reason=f"{area.reason} ({given.trouble})")
            yield area

    async def _secrets(self, source: Source, job: Any, home: Path) -> tuple[AreaScan, tuple[str, ...]]:
        try:
            with _span("gitleaks"):
                return await gitleaks.scan(
                    self._programs.gitleaks,
                    source.repository,
                    source.commit,
                    key=self._key,
                    commits=source.commits,
                    shallow=source.shallow,
                    job=job,
                    home=_made(home),
                )
        except LeaseLost:
            raise
        except KiopsError as error:
            return _failure(Area.SECRETS, "gitleaks", error), ()

    async def _code(self, targets: Targets, job: Any, home: Path) -> dict[Area, Part]:
        try:
            with _span("semgrep"):
                return await semgrep.scan(self._programs.semgrep, targets, job=job, home=_made(home))
        except LeaseLost:
            raise
        except KiopsError as error:
            wanted = [area for area, files in ((Area.SAST, targets.code), (Area.IAC, targets.dockerfiles)) if files]
            return {area: _failed_part("semgrep", error) for area in wanted}

    async def _config(self, targets: Targets, job: Any, home: Path) -> Part | None:
        try:
            with _span("trivy", "config"):
                return await trivy_config.scan(self._programs.trivy, targets, job=job, home=_made(home))
        except LeaseLost:
            raise
        except KiopsError as error:
            return _failed_part("trivy", error)


def _span(engine: str, what: str = "") -> AbstractContextManager[tracing.Span]:
    return tracing.span(f"scan {engine} {what}".strip(), {"kiops.engine": engine})


async def _in(slots: asyncio.Semaphore, work: Awaitable[T]) -> T:
    async with slots:
        return await work


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _sast(targets: Targets, parts: dict[Area, Part]) -> AreaScan:
    without = targets.without_rules
    part = parts.get(Area.SAST)
    if part is None and targets.too_large:
        return failed(Area.SAST, "engine.read_nothing", "all source files are too large to be read", ADVICE["engine.timeout"])
    if part is None:
        reason = f"no rules for {', '.join(without[:3])}" if without else "there is no source code"
        return not_applicable(Area.SAST, reason, {"files": 0})
    coverage = {"files": part.read, "rules": part.engine.rules or 0, "files_of_others": targets.foreign}
    coverage["files_without_rules"] = sum(targets.languages[name] for name in without)
    area = combined(Area.SAST, [part], coverage)
    if not without:
        return area
    note = f"no rules for {', '.join(without[:3])}"
    return replace(area, reason=f"{area.reason}; {note}" if area.reason else note)


def _iac(targets: Targets, parts: dict[Area, Part], config: Part | None) -> AreaScan:
    if config is None:
        return not_applicable(Area.IAC, "there is no Dockerfile, manifest or Terraform", {"files": 0})
    coverage = {"files": len(targets.dockerfiles | targets.manifests), "files_read": config.read}
    return combined(Area.IAC, [config, *([parts[Area.IAC]] if Area.IAC in parts else [])], coverage)


def _failure(area: Area, engine: str, error: KiopsError) -> AreaScan:
    part = _failed_part(engine, error)
    return failed(area, part.code, error.message, part.advice, [part.engine])


def _failed_part(engine: str, error: KiopsError) -> Part:
    code = "engine.timeout" if isinstance(error, ChildTimeout) else error.code
    run = EngineRun(engine, "", problem=error.message)
    return Part(ScanState.FAILED, run, code=code, advice=error.advice or ADVICE.get(code, ""))


def _masked(area: AreaScan, values: tuple[str, ...]) -> AreaScan:
    if not values:
        return area
    return replace(area, findings=tuple(_without(finding, values) for finding in area.findings))


def _without(finding: Finding, values: tuple[str, ...]) -> Finding:
    return replace(
        finding,
        title=hide_known(finding.title, values),
        message=hide_known(finding.message, values),
        matched=hide_known(finding.matched, values),
        code=tuple((number, hide_known(line, values)) for number, line in finding.code),
    )
