"""What the scanner can do: queue scans, begin one, keep and tell an area, end one well or badly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from shared.clock import Clock
from shared.database import Tx
from shared.errors import KiopsError
from shared.facts.scanner import (
    Engine,
    FindingLine,
    ScanCancelled,
    ScanFailed,
    ScanFinished,
    ScanQueued,
    ScanStarted,
)
from shared.jobs import Job
from shared.objects import ObjectStore
from shared.words import Area, ScanState

from scanner import store
from scanner.domain.evidence import IMAGE_AREAS, SOURCE_AREAS, AreaScan
from scanner.domain.findings import counts
from scanner.domain.report import clean, lines_of, report_of
from shared import ids

AREAS: dict[str, tuple[Area, ...]] = {"source": SOURCE_AREAS, "image": IMAGE_AREAS}
MOST_LICENCES = 200


@dataclass(frozen=True)
class Push:
    """A run with source, as far as scanning goes. `sample` marks the demo's service."""

    organisation: str
    service: str
    run: str
    number: int
    commit: str
    branch: str
    repository_url: str
    credential: str | None
    dockerfile: str
    sample: bool


@dataclass(frozen=True)
class Begun:
    """A scan that a worker has taken: its row, its run's row, and the areas that are still to be told."""

    scan: Any
    run: Any
    remaining: tuple[Area, ...]


class Handlers:
    """The use cases. Those that take `tx` write in the caller's transaction."""

    def __init__(self, clock: Clock, objects: ObjectStore, *, deadline_seconds: int) -> None:
        self.clock, self.objects, self.deadline_seconds = clock, objects, deadline_seconds

    # -- what is heard -----------------------------------------------------------------------------------------------
    async def know_service(self, tx: Tx, service: str, organisation: str, *, name: str, branch: str, sample: bool) -> None:
        """Keep what a scan needs to know of a service."""
        values = {"id": service, "organisation_id": organisation, "name": name, "branch": branch, "sample": sample}
        await store.put_service(tx, values)

    async def forget_service(self, tx: Tx, service: str) -> None:
        """The service left the catalogue: its findings are of no use any more."""
        await store.forget_service(tx, service)

    async def queue_source(self, tx: Tx, push: Push) -> None:
        """A run with source is born: scan the source. The same run again changes nothing."""
        new = await store.add_run(
            tx,
            {
                "id": push.run,
                "organisation_id": push.organisation,
                "service": push.service,
                "number": push.number,
                "commit_id": push.commit,
                "branch": push.branch,
                "repository_url": push.repository_url,
                "credential": push.credential,
                "dockerfile": push.dockerfile,
                "sample": push.sample or await store.is_sample(tx, push.service),
                "made_at_ms": self.clock.now_ms(),
            },
        )
        if new:
            await self._queue(tx, "source", push.organisation, push.service, push.run, push.number, push.commit, "")

    async def queue_image(self, tx: Tx, organisation: str, service: str, run: str, number: int, commit: str, image_id: str) -> None:
        """The run's image exists: scan it, unless the run was stopped."""
        row = await store.run(tx, run)
        if row is None or not row.stopped:
            await self._queue(tx, "image", organisation, service, run, number, commit, image_id)

    async def _queue(
        self, tx: Tx, kind: str, organisation: str, service: str, run: str, number: int, commit: str, image_id: str
    ) -> None:
        values = {
            "id": ids.new("scn"),
            "organisation_id": organisation,
            "service": service,
            "run": run,
            "number": number,
            "kind": kind,
            "commit_id": commit,
            "image_id": image_id,
            "state": "queued",
            "attempt": 0,
            "queued_at_ms": self.clock.now_ms(),
        }
        if not await store.add_scan(tx, values):
            return
        scan = str(values["id"])
        await tx.enqueue(
            kind, key=service, run=run, payload={"scan": scan}, deadline_seconds=self.deadline_seconds, organisation=organisation
        )
        about = {"organisation": organisation, "service": service, "run": run, "number": number, "commit": commit}
        fact = ScanQueued(**about, scan=scan, image_id=image_id, areas=[str(area) for area in AREAS[kind]])
        await tx.put(fact, correlation=run)

    async def stop_run(self, tx: Tx, run: str, reason: str) -> None:
        """The run was cancelled or superseded: its scans are stopped, later ones not begun."""
        await store.stop_run(tx, run, reason, self.clock.now_ms())
        await tx.cancel_jobs(run=run, reason=reason)

    async def end_run(self, tx: Tx, run: str) -> None:
        """The run is over, or will have no image."""
        await store.end_run(tx, run, self.clock.now_ms())

    # -- what a worker does ------------------------------------------------------------------------------------------
    async def begin(self, tx: Tx, job: Job) -> Begun:
        """A worker took the scan: say so, and find out what is still to be done of it."""
        scan = await store.scan(tx, job.payload["scan"])
        assert scan is not None, "a job is stored together with its scan"
        told = await store.told_areas(tx, scan.id)
        remaining = tuple(area for area in AREAS[scan.kind] if str(area) not in told)
        now = self.clock.now_ms()
        await store.change_scan(tx, scan.id, state="running", attempt=job.token, started_at_ms=now)
        fact = ScanStarted(**_about(scan), areas=[str(area) for area in remaining], attempt=job.token)
        await tx.put(fact, correlation=scan.run)
        return Begun(scan, await store.run(tx, scan.run), remaining)

    async def tell(self, job: Job, begun: Begun, area: AreaScan) -> None:
        """Keep what was found out of an area and announce it. Raises LeaseLost when another worker has the scan."""
        scan = begun.scan
        area = checked(area)
        if area.findings:
            async with job.progress() as tx:
                triage = await store.triage_of(tx, scan.service, [finding.id for finding in area.findings])
            area = replace(area, findings=tuple(replace(f, triage=triage.get(f.id, f.triage)) for f in area.findings))
        sbom = await self.objects.put(area.sbom, "cdx") if area.sbom else None
        about = {"scan": scan.id, "run": scan.run, "number": scan.number, "commit": scan.commit_id, "image_id": scan.image_id}
        report = await self.objects.put(report_of(area, about, sbom), "json")
        async with job.progress() as tx:
            await self._keep(tx, begun, area, report, sbom)

    async def _keep(self, tx: Tx, begun: Begun, area: AreaScan, report: str, sbom: str | None) -> None:
        scan, now = begun.scan, self.clock.now_ms()
        branch = begun.run.branch if begun.run else ""
        newest = await store.newest_number(tx, scan.service, branch, str(area.area))
        if not await store.add_area(tx, scan, branch, area, report=report, sbom=sbom, at_ms=now):
            return
        # An older run that comes in late says nothing about what is there now.
        if scan.number >= newest and area.state != ScanState.FAILED:
            await store.see(tx, scan, branch, area.findings, now)
            if area.state == ScanState.COMPLETED:
                await store.resolve(tx, scan, branch, str(area.area), now)
        await tx.put(fact_of(scan, area, report), correlation=scan.run)

    async def end(self, tx: Tx, begun: Begun, log: str | None) -> None:
        """All areas were told."""
        await store.change_scan(tx, begun.scan.id, state="done", ended_at_ms=self.clock.now_ms(), log=log)

    async def fail(self, tx: Tx, job: Job, error: KiopsError) -> None:
        """The scan came to nothing: each area that was not told yet has failed."""
        scan, remaining = await self._left(tx, job)
        if scan is None:
            return
        run = await store.run(tx, scan.run)
        for area in remaining:
            failed = AreaScan(area, ScanState.FAILED, clean(error.message, 1000), code=error.code, advice=error.advice)
            branch = run.branch if run else ""
            await store.add_area(tx, scan, branch, failed, report=None, sbom=None, at_ms=self.clock.now_ms())
            await tx.put(fact_of(scan, failed, None), correlation=scan.run)
        await store.change_scan(tx, scan.id, state="failed", ended_at_ms=self.clock.now_ms())

    async def cancel(self, tx: Tx, job: Job, reason: str) -> None:
        """The scan was stopped because its run was."""
        scan, remaining = await self._left(tx, job)
        if scan is None:
            return
        await store.change_scan(tx, scan.id, state="cancelled", ended_at_ms=self.clock.now_ms())
        fact = ScanCancelled(**_about(scan), areas=[str(area) for area in remaining], reason=reason)
        await tx.put(fact, correlation=scan.run)

    async def _left(self, tx: Tx, job: Job) -> tuple[Any, Sequence[Area]]:
        scan = await store.scan(tx, job.payload["scan"])
        if scan is None:
            return None, ()
        told = await store.told_areas(tx, scan.id)
        return scan, [area for area in AREAS[scan.kind] if str(area) not in told]


def checked(area: AreaScan) -> AreaScan:
    """A decision about licences needs all of them: more than fit the fact leave the area partial."""
    if area.area == Area.LICENSE and area.state == ScanState.COMPLETED and len(area.findings) > MOST_LICENCES:
        return replace(area, state=ScanState.PARTIAL, reason=f"only {MOST_LICENCES} of {len(area.findings)} licences are told")
    return area


def _about(scan: Any) -> dict[str, Any]:
    return {
        "organisation": scan.organisation_id,
        "service": scan.service,
        "scan": scan.id,
        "run": scan.run,
        "number": scan.number,
        "commit": scan.commit_id,
        "image_id": scan.image_id,
    }


def fact_of(scan: Any, area: AreaScan, report: str | None) -> ScanFinished | ScanFailed:
    """The announcement of an area's result."""
    engines = [
        Engine(
            name=run.name,
            version=run.version,
            exit_code=run.exit_code,
            rules=run.rules,
            data_date=run.data_date,
            sample_data=run.sample_data,
            problem=clean(run.problem, 500),
        )
        for run in area.engines
    ]
    if area.state == ScanState.FAILED:
        return ScanFailed(
            **_about(scan),
            area=area.area,
            code=area.code or "scan.failed",
            reason=clean(area.reason, 1000),
            advice=area.advice,
            engines=engines,
            duration_ms=area.duration_ms,
        )
    return ScanFinished(
        **_about(scan),
        area=area.area,
        state=area.state,
        reason=clean(area.reason, 1000),
        engines=engines,
        coverage=area.coverage,
        counts=counts(area.findings),
        findings=[FindingLine(**line) for line in lines_of(area.findings)],
        findings_total=len(area.findings),
        data_date=area.data_date,
        sample_data=area.sample_data,
        duration_ms=area.duration_ms,
        report=report,
    )
