"""What the builder does, one transaction each."""

from __future__ import annotations

from typing import Any, Protocol

from shared.clock import Clock
from shared.database import Tx
from shared.engine import EngineAway
from shared.errors import KiopsError
from shared.facts.builder import BuildCancelled, BuildFailed, BuildQueued, BuildStarted, BuildSucceeded, SourceFetched
from shared.queries.builder import ImageExists

from builder import store
from builder.domain.build import (
    BuildRequest,
    BuildState,
    Stage,
    Ticket,
    Timing,
    chosen_version,
    image_name,
    timestamp_version,
    waits_for,
)
from builder.domain.steps import Built
from builder.errors import BuildError
from builder.settings import BuilderSettings
from shared import ids

# A build's own deadline comes first, so that its log can say so; the job's is the net below it.
GRACE_SECONDS = 60


class Store(Protocol):
    """What answers whether an image is there: the engine's store."""

    async def exists(self, image_id: str) -> bool: ...


class Handlers:
    """Use cases. Those with a `tx` take part in the transaction of the door that calls them."""

    def __init__(self, settings: BuilderSettings, clock: Clock, images: Store) -> None:
        self._settings, self._clock, self._images = settings, clock, images

    async def queue_build(self, tx: Tx, request: BuildRequest) -> None:
        """A run wants an image: queue its build, or refuse it because of its version."""
        build = ids.new("bld")
        now = self._clock.now_ms()
        try:
            version, refused = await self._version(tx, request, now), None
        except BuildError as error:
            version, refused = request.version or "", error
        ticket = Ticket(build, request, version, version_by_hand=bool(request.version))
        ahead = await store.ahead(tx, request.service)
        if not await store.add_build(tx, _row(ticket, now)):
            return
        if refused is not None:
            await self.fail(tx, ticket, Stage.ANALYSE, refused, Timing(0))
            return
        await tx.enqueue(
            "build",
            key=request.service,
            run=request.run,
            payload=ticket.payload(),
            deadline_seconds=self._settings.build_deadline_seconds + GRACE_SECONDS,
            organisation=request.organisation,
            job_id=build,
        )
        waits = waits_for(ahead, await store.running(tx), self._settings.slots)
        await tx.put(BuildQueued(**_about(ticket), waits_for=waits), correlation=request.run)

    async def _version(self, tx: Tx, request: BuildRequest, now_ms: int) -> str:
        if request.version:
            taken = await store.taken(tx, request.service, request.version)
            return chosen_version(request.version, request.commit, taken)
        version = timestamp_version(now_ms, request.commit, request.number)
        if await store.taken(tx, request.service, version):
            version = f"{version}-{request.number}"
        return version

    async def begin(self, tx: Tx, ticket: Ticket, attempt: int) -> None:
        """A worker took the build."""
        now = self._clock.now_ms()
        await store.change_build(tx, ticket.build, state=BuildState.RUNNING, attempt=attempt, started_at_ms=now)
        await tx.put(BuildStarted(**_about(ticket), attempt=attempt), correlation=ticket.request.run)

    async def fetched(self, tx: Tx, ticket: Ticket, *, files: int, duration_ms: int, author: str, message: str) -> None:
        """The source is here."""
        await tx.put(
            SourceFetched(**_about(ticket), files=files, duration_ms=duration_ms, author=author, message=message),
            correlation=ticket.request.run,
        )

    async def succeed(self, tx: Tx, ticket: Ticket, built: Built, base_image: str, timing: Timing) -> None:
        """The image is in the engine's store under its name and version."""
        image = f"{image_name(ticket.request.service_name, ticket.request.service)}:{ticket.version}"
        of_image: dict[str, Any] = {
            "image": image,
            "image_id": built.image_id,
            "digest": built.digest,
            "base_image": base_image,
            "size_bytes": built.size_bytes,
            "steps": built.steps,
            "steps_cached": built.steps_cached,
        }
        await self._end(tx, ticket, BuildState.SUCCEEDED, timing, **of_image)
        await tx.put(
            BuildSucceeded(
                **_about(ticket),
                **of_image,
                version=ticket.version,
                version_by_hand=ticket.version_by_hand,
                stages_ms=dict(timing.stages_ms),
                duration_ms=timing.duration_ms,
                log=timing.log,
                log_lines=timing.log_lines,
            ),
            correlation=ticket.request.run,
        )

    async def fail(self, tx: Tx, ticket: Ticket, stage: str, error: KiopsError, timing: Timing) -> None:
        """The build ended without an image."""
        why: dict[str, Any] = {"stage": str(stage), "code": error.code, "reason": error.message, "advice": error.advice}
        await self._end(tx, ticket, BuildState.FAILED, timing, **why)
        await tx.put(
            BuildFailed(**_about(ticket), **why, duration_ms=timing.duration_ms, log=timing.log, log_lines=timing.log_lines),
            correlation=ticket.request.run,
        )

    async def cancelled(self, tx: Tx, ticket: Ticket, reason: str, timing: Timing) -> None:
        """The build was stopped, or taken from the queue."""
        await self._end(tx, ticket, BuildState.CANCELLED, timing, code="build.cancelled", reason=reason)
        await tx.put(
            BuildCancelled(**_about(ticket), reason=reason, log=timing.log, log_lines=timing.log_lines),
            correlation=ticket.request.run,
        )

    async def _end(self, tx: Tx, ticket: Ticket, state: BuildState, timing: Timing, **values: object) -> None:
        await store.change_build(
            tx,
            ticket.build,
            state=state,
            ended_at_ms=self._clock.now_ms(),
            stages_ms=dict(timing.stages_ms),
            duration_ms=timing.duration_ms,
            log=timing.log,
            log_lines=timing.log_lines,
            **values,
        )

    async def stop_run(self, tx: Tx, run: str, reason: str) -> None:
        """A run is over or was stopped: its build, if it is still queued or running, ends."""
        await tx.cancel_jobs(run=run, kind="build", reason=reason)

    async def know_service(self, tx: Tx, service: str, organisation: str, name: str) -> None:
        """A service is in the catalogue, or has another name."""
        await store.put_service(tx, service, organisation, name)

    async def forget_service(self, tx: Tx, service: str) -> None:
        """A service left the catalogue: its builds end, its images are removed at the next clean-up."""
        await store.delete_service(tx, service, self._clock.now_ms())
        for run in await store.open_runs(tx, service):
            await self.stop_run(tx, run, "the service was deleted")

    async def know_release(
        self, tx: Tx, *, release: str, organisation: str, service: str, environment: str, image_id: str, ready_at_ms: int
    ) -> None:
        """A release serves from an image, which is kept for a way back."""
        values = {"id": release, "organisation_id": organisation, "service_id": service, "environment_id": environment}
        await store.put_release(tx, {**values, "image_id": image_id, "ready_at_ms": ready_at_ms})

    async def image_exists(self, image_id: str) -> ImageExists:
        """Whether the engine has this image now; an engine that does not answer is no "no"."""
        try:
            return ImageExists(exists=await self._images.exists(image_id))
        except EngineAway as error:
            return ImageExists(error=error.code, detail=error.message, advice=error.advice)


def _about(ticket: Ticket) -> dict[str, Any]:
    """What every fact about a build says first."""
    request = ticket.request
    return {
        "organisation": request.organisation,
        "service": request.service,
        "build": ticket.build,
        "run": request.run,
        "number": request.number,
        "commit": request.commit,
    }


def _row(ticket: Ticket, now_ms: int) -> dict[str, object]:
    request = ticket.request
    return {
        "id": ticket.build,
        "organisation_id": request.organisation,
        "service_id": request.service,
        "service_name": request.service_name,
        "run_id": request.run,
        "number": request.number,
        "commit": request.commit,
        "ref": request.ref,
        "version": ticket.version,
        "version_by_hand": ticket.version_by_hand,
        "state": BuildState.QUEUED,
        "stages_ms": {},
        "queued_at_ms": now_ms,
    }
