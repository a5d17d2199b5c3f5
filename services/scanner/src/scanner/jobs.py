"""Door: the clock. Workers that scan source and images, one attempt at a time, safe to do again."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing

from shared.database import Tx
from shared.errors import KiopsError
from shared.git import Credential
from shared.jobs import Job, Worker
from shared.logs import JobLog, LogWriter
from shared.words import ScanState

from scanner.clients.git import FetchesSource
from scanner.domain.evidence import AreaScan
from scanner.domain.findings import counts
from scanner.engines import Engines
from scanner.handlers import Begun, Handlers
from shared import tracing

Lease = Callable[[str, str, str], Awaitable[Credential]]
"""(organisation, service, credential) -> the credential, opened in memory."""


class Scans:
    """What the workers do. Nothing outside outlives an attempt: engines are children, files lie in the attempt's folder."""

    def __init__(self, handlers: Handlers, git: FetchesSource, engines: Engines, lease: Lease, logs: LogWriter) -> None:
        self.handlers, self.git, self.engines, self.lease, self.logs = handlers, git, engines, lease, logs

    def workers(self, slots: int) -> list[Worker]:
        """One worker for source, one for images."""
        return [
            Worker(kind=kind, run=run, on_failed=self._failed, on_cancelled=self._cancelled, slots=slots)
            for kind, run in (("source", self.source), ("image", self.image))
        ]

    async def source(self, job: Job) -> None:
        """Fetch the run's commit with its history once, and have the three engines read it."""

        async def areas(begun: Begun, log: JobLog) -> AsyncIterator[AreaScan]:
            run = begun.run
            credential = None
            if run.credential:
                credential = await self.lease(run.organisation_id, run.service, run.credential)
                log.mask(credential.password)
                log.mask(credential.private_key)
            log.line(f"Fetching commit {run.commit_id[:12]} with its history", stage="source")
            with tracing.span("clone", {"vcs.ref.head.revision": run.commit_id}):
                source = await self.git.fetch(
                    run.repository_url, run.commit_id, job.folder / "source", credential=credential, job=job
                )
            log.line(f"{source.commits} commits, {source.files} files", stage="source")
            async with aclosing(self.engines.source_areas(source, dockerfile=run.dockerfile, job=job)) as found:  # type: ignore[type-var]
                async for area in found:
                    yield area

        await self._work(job, areas)

    async def image(self, job: Job) -> None:
        """Have Trivy read the run's image."""

        async def areas(begun: Begun, log: JobLog) -> AsyncIterator[AreaScan]:
            log.line(f"Reading image {begun.scan.image_id[:19]}", stage="image")
            is_sample = bool(begun.run and begun.run.sample)
            async with aclosing(self.engines.image_areas(begun.scan.image_id, is_sample=is_sample, job=job)) as found:  # type: ignore[type-var]
                async for area in found:
                    yield area

        await self._work(job, areas)

    async def _work(self, job: Job, areas: Callable[[Begun, JobLog], AsyncIterator[AreaScan]]) -> None:
        async with job.progress() as tx:
            begun = await self.handlers.begin(tx, job)
        log = self.logs.open(job.id, job.organisation)
        closed = False
        try:
            if begun.remaining:
                async with aclosing(areas(begun, log)) as found:  # type: ignore[type-var]
                    async for area in found:
                        log.line(sentence(area), stage=str(area.area), stream=2 if area.state == ScanState.FAILED else 1)
                        if area.area in begun.remaining:
                            await self.handlers.tell(job, begun, area)
            closed = True
            reference, _ = await log.close()
            async with job.finish() as tx:
                await self.handlers.end(tx, begun, reference)
        finally:
            if not closed:
                await log.abandon()

    async def _failed(self, tx: Tx, job: Job, error: KiopsError) -> None:
        await self.handlers.fail(tx, job, error)

    async def _cancelled(self, tx: Tx, job: Job, reason: str) -> None:
        await self.handlers.cancel(tx, job, reason)


def sentence(area: AreaScan) -> str:
    """One line of the log about an area."""
    engines = ", ".join(f"{run.name} {run.version}".strip() for run in area.engines)
    found = ", ".join(f"{number} {severity}" for severity, number in counts(area.findings).items()) or "nothing found"
    read = ", ".join(f"{number} {what.replace('_', ' ')}" for what, number in area.coverage.items())
    text = f"{area.area}: {area.state}"
    if area.state not in (ScanState.FAILED, ScanState.NOT_APPLICABLE):
        text += f", {found}"
    for more in (engines, read, area.reason):
        text += f"; {more}" if more else ""
    return text
