"""Doors of the clock: the build job, and the clean-up of images that nothing needs any more."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any, Protocol

from shared.bus import Bus
from shared.clock import Clock
from shared.database import Database, Tx
from shared.engine import EngineAway
from shared.errors import KiopsError, Unavailable
from shared.git import Credential, read_address, read_credential
from shared.jobs import MAX_ATTEMPTS, Job, Worker
from shared.logs import LogWriter
from shared.queries.gateway import LeaseCredential
from shared.sealing import KeyPair

from builder import store
from builder.clients.git import Fetched
from builder.domain.build import Stage, Ticket, Timing, cause_line, image_name, labels
from builder.domain.dockerfile import bases
from builder.domain.plan import Abilities, BuildPlan
from builder.domain.steps import Built, Event
from builder.errors import BuildDeadline, BuildError
from builder.handlers import Handlers
from builder.log import BuildLog
from builder.settings import BuilderSettings
from shared import tracing


class Sources(Protocol):
    """Where source comes from; `clients.git.Git` in earnest. `job` marks the processes it starts."""

    async def fetch(
        self,
        repository_url: str,
        commit: str,
        folder: Path,
        *,
        credential: Awaitable[Credential | None] | None = None,
        say: Callable[[str], None] = ...,
        job: Any = None,
    ) -> Fetched: ...


class Images(Protocol):
    """What makes images and keeps them; `clients.buildkit.BuildKit` in earnest."""

    async def ready(self) -> None: ...

    async def abilities(self) -> Abilities: ...

    def build(self, plan: BuildPlan, *, job: Any = None) -> AsyncIterator[Event]:
        """An async generator of events, the last of which is Built."""
        ...

    async def tag(self, image_id: str, name: str, version: str) -> None: ...

    async def exists(self, image_id: str) -> bool: ...

    async def remove(self, image_id: str) -> bool: ...

    async def sweep(self, job: str, before: int) -> list[str]: ...


class Credentials:
    """Asks the gateway for a sealed credential and opens it with the builder's own key, in memory."""

    def __init__(self, bus: Bus, keys: KeyPair) -> None:
        self._bus, self._keys = bus, keys

    async def lease(self, organisation: str, reference: str) -> Credential:
        """The credential of this reference. Raises Unavailable `bus.no_answer`, Rejected `credential.not_found`."""
        answer = await self._bus.ask(LeaseCredential(organisation=organisation, credential=reference, asker="builder"))
        return read_credential(self._keys.open(answer.sealed))


class Builds:
    """The worker of kind `build`: one attempt at one build, safe to do again."""

    def __init__(
        self,
        *,
        handlers: Handlers,
        database: Database,
        settings: BuilderSettings,
        git: Sources,
        images: Images,
        credentials: Credentials,
        logs: LogWriter,
        platform: str,
    ) -> None:
        self.handlers, self.database, self.settings = handlers, database, settings
        self.git, self.images, self.credentials, self.logs = git, images, credentials, logs
        self.platform = platform
        self._endings: dict[str, tuple[Stage, Timing]] = {}

    def worker(self) -> Worker:
        """As the chassis wants it."""
        return Worker(
            kind="build",
            run=self.run,
            on_failed=self.on_failed,
            on_cancelled=self.on_cancelled,
            slots=self.settings.slots,
            serial_per_key=True,
            queue_deadline_seconds=self.settings.queue_deadline_seconds,
        )

    async def run(self, job: Job) -> None:
        """Fetch, build, name the image, tell. Ends the job itself when the build came to an end, good or bad."""
        attempt = Attempt(self, job)
        try:
            async with asyncio.timeout(self.settings.build_deadline_seconds) as deadline:
                await attempt.work()
        except Unavailable as error:
            if isinstance(error, EngineAway):
                attempt.stage = attempt.log.stage = Stage.BUILD
            attempt.log.failed(error)
            if job.failures + 1 < MAX_ATTEMPTS:
                attempt.log.say("It is tried again.")
                await attempt.log.abandon()
            else:
                self._endings[job.id] = attempt.stage, await attempt.timing()
            raise
        except asyncio.CancelledError:
            await self._stopped(job, attempt)
            raise
        except TimeoutError:
            if not deadline.expired():
                raise
            await self._failed(job, attempt, BuildDeadline(self.settings.build_deadline_seconds, str(attempt.stage)))
        except KiopsError as error:
            if job.lost:
                await attempt.log.abandon()
                raise
            await self._failed(job, attempt, error)

    async def _failed(self, job: Job, attempt: Attempt, error: KiopsError) -> None:
        error.message, error.advice = attempt.log.masked(error.message), attempt.log.masked(error.advice)
        attempt.log.failed(error)
        timing = await attempt.timing()
        async with job.finish("failed") as tx:
            await self.handlers.fail(tx, attempt.ticket, attempt.stage, error, timing)

    async def _stopped(self, job: Job, attempt: Attempt) -> None:
        """The task was cancelled. Only when somebody asked for the end of this build is its log kept."""
        reason = ""
        if not job.lost:
            async with self.database.read() as tx:
                reason = await store.cancel_reason(tx, job.id)
        if not reason:
            await attempt.log.abandon()
            return
        attempt.log.say(f"Stopped: {reason}")
        self._endings[job.id] = attempt.stage, await attempt.timing()

    async def on_failed(self, tx: Tx, job: Job, error: KiopsError) -> None:
        """The job ended without its own word: too many attempts, a deadline, a defect."""
        stage, timing = self._endings.pop(job.id, (Stage.BUILD, Timing(0)))
        await self.handlers.fail(tx, Ticket.read(job.payload), stage, named(error), timing)

    async def on_cancelled(self, tx: Tx, job: Job, reason: str) -> None:
        """The build was stopped, running or queued."""
        _, timing = self._endings.pop(job.id, (Stage.BUILD, Timing(0)))
        await self.handlers.cancelled(tx, Ticket.read(job.payload), reason, timing)


class Attempt:
    """One try: where it is, how long its stages took, its log."""

    def __init__(self, builds: Builds, job: Job) -> None:
        self.builds, self.job = builds, job
        self.ticket = Ticket.read(job.payload)
        self.stage = Stage.CLONE
        self.log = BuildLog(builds.logs.open(job.id, job.organisation))
        self._began = self._stage_began = time.monotonic()
        self._stages_ms: dict[str, int] = {}

    async def work(self) -> None:
        """The whole attempt. The first process starts before anything is waited for."""
        request, log = self.ticket.request, self.log
        log.say(cause_line(request.trigger, request.executor, request.cause, request.ref), Stage.CLONE)
        fetching = asyncio.create_task(self._fetch())
        probing = asyncio.create_task(self._prepare())
        try:
            async with self.job.progress() as tx:
                await self.builds.handlers.begin(tx, self.ticket, self.job.token)
            fetched = await self._first(fetching, probing)
            built, base_image = await self._build(fetched)
            await self._hand_over(built, base_image)
        finally:
            for task in (fetching, probing):
                task.cancel()
            await asyncio.gather(fetching, probing, return_exceptions=True)

    async def _first(self, fetching: asyncio.Task[Fetched], probing: asyncio.Task[None]) -> Fetched:
        """The fetched source; an engine that is away is known before a long clone is over."""
        await asyncio.wait((fetching, probing), return_when=asyncio.FIRST_EXCEPTION)
        for task in (fetching, probing):
            if task.done():
                task.result()
        return fetching.result()

    async def _fetch(self) -> Fetched:
        request, log = self.ticket.request, self.log
        log.progress(0, Stage.CLONE, "fetching the source")
        self._mask_address(request.repository_url)
        # A coroutine that is never awaited warns; a task is awaited by the client, or cancelled with this one.
        credential = asyncio.create_task(self._credential()) if request.credential else None
        try:
            with tracing.span("clone", {"vcs.ref.head.revision": request.commit}) as span:
                fetched = await self.builds.git.fetch(
                    request.repository_url, request.commit, self.job.folder, credential=credential, say=log.say, job=self.job
                )
                span.note("kiops.source.files", fetched.files)
        finally:
            if credential is not None:
                credential.cancel()
        log.say(f"{fetched.files} files in {fetched.duration_ms / 1000:.1f} s; {fetched.author}: {fetched.message}")
        if fetched.submodules:
            log.say("This repository has submodules; they are not fetched.", stream=2)
        return fetched

    def _mask_address(self, url: str) -> None:
        if "@" in url and (found := read_address(url, ()) if "://" in url and not url.startswith("file:") else None):
            self.log.mask(found.credential)

    async def _credential(self) -> Credential:
        request = self.ticket.request
        credential = await self.builds.credentials.lease(request.organisation, request.credential or "")
        self.log.mask(credential)
        return credential

    async def _prepare(self) -> None:
        """Ask the engine what it can do, and remove what older tries at this build left in its store."""
        if self.job.token > 1:
            for image in await self.builds.images.sweep(self.job.id, self.job.token):
                self.log.say(f"Removed image {image[:19]}, left over from an earlier try")
        abilities = await self.builds.images.abilities()
        self.log.say(f"Engine {abilities.sentence()}")

    async def _build(self, fetched: Fetched) -> tuple[Built, str]:
        with tracing.span("buildkit", {"kiops.service.id": self.ticket.request.service}) as span:
            built, base_image = await self._solve(fetched)
            span.note("container.image.id", built.image_id)
            span.note("kiops.image.bytes", built.size_bytes)
        return built, base_image

    async def _solve(self, fetched: Fetched) -> tuple[Built, str]:
        request = self.ticket.request
        self._next(Stage.ANALYSE)
        async with self.job.progress() as tx:
            await self.builds.handlers.fetched(
                tx,
                self.ticket,
                files=fetched.files,
                duration_ms=fetched.duration_ms,
                author=self.log.masked(fetched.author),
                message=self.log.masked(fetched.message),
            )
        plan = BuildPlan(
            source=fetched.folder,
            scratch=self.job.folder,
            dockerfile=request.dockerfile or "./Dockerfile",
            context=request.context or ".",
            labels=labels(
                platform=self.builds.platform,
                job=self.job.id,
                token=self.job.token,
                service=request.service,
                commit=request.commit,
                version=self.ticket.version,
                run=request.run,
            ),
        )
        async with aclosing(self.builds.images.build(plan, job=self.job)) as events:  # type: ignore[type-var]
            async for event in events:
                if isinstance(event, Built):
                    return event, bases(event.dockerfile).final
                if self.stage is Stage.ANALYSE and self.log.begins(event):
                    self._next(Stage.BUILD)
                self.log.show(event)
        raise BuildError("build.image_missing", "The build ended without an image.", "Read the last lines of the log.")

    async def _hand_over(self, built: Built, base_image: str) -> None:
        """Give the image its name and tell of it. The name is given only while this attempt still holds the build."""
        request = self.ticket.request
        self._next(Stage.PUSH)
        name = image_name(request.service_name, request.service)
        async with self.job.progress():
            pass
        await self.builds.images.tag(built.image_id, name, self.ticket.version)
        self.log.say(f"{name}:{self.ticket.version} is {built.image_id}, {built.size_bytes / 1e6:.1f} MB, in the engine's store")
        timing = await self.timing()
        async with self.job.finish() as tx:
            await self.builds.handlers.succeed(tx, self.ticket, built, base_image, timing)

    def _next(self, stage: Stage) -> None:
        """A stage is over, the next one begins."""
        now = time.monotonic()
        self._stages_ms[self.stage] = int((now - self._stage_began) * 1000)
        self.stage, self._stage_began = stage, now
        self.log.stage = stage

    async def timing(self) -> Timing:
        """Close the log and tell how long it all took."""
        self._next(self.stage)
        ref, lines = await self.log.close()
        whole = int((time.monotonic() - self._began) * 1000)
        return Timing(whole, {str(stage): took for stage, took in self._stages_ms.items()}, ref, lines)


def named(error: KiopsError) -> KiopsError:
    """The chassis' word for why a job ended, in the words of builds."""
    messages = {
        "job.deadline": ("build.deadline", "Make the build faster, or raise BUILDER_BUILD_DEADLINE_SECONDS."),
        "job.queue_deadline": ("build.queue_deadline", "Raise BUILDER_SLOTS, or cancel what is ahead."),
        "job.attempts": ("build.gave_up", "Read the service's own log; then start the build again."),
    }
    if error.code in messages:
        code, advice = messages[error.code]
        return BuildError(code, f"The build {error.message}.", advice)
    return error


async def clean_up(database: Database, images: Images, clock: Clock, kept: int) -> list[str]:
    """Remove images that nothing needs any more; returns those that are gone. One in use by a container stays."""
    async with database.read() as tx:
        candidates = await store.images_not_needed(tx, kept)
    gone = []
    for image in candidates:
        try:
            if await images.remove(image) or not await images.exists(image):
                gone.append(image)
        except EngineAway:
            break
    if gone:
        async with database.write() as tx:
            await store.mark_removed(tx, gone, clock.now_ms())
    return gone


async def clean_up_for_ever(database: Database, images: Images, clock: Clock, settings: BuilderSettings) -> None:
    """The periodic task."""
    while True:
        await asyncio.sleep(settings.clean_up_seconds)
        await clean_up(database, images, clock, settings.kept_images)
