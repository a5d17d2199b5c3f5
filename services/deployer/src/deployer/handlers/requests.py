"""The way of a deploy request: asked of the gate, queued, put in place one after another, or taken back."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from shared.clock import Clock
from shared.database import Tx
from shared.errors import KiopsError
from shared.facts.deployer import DeployCancelled, DeployFailed, DeployRequested

from deployer import store
from deployer.domain.queue import ALLOWED, ASKED, CHECKING, PLACING, QUEUED, refused, turn
from deployer.errors import EnvironmentUnknown, ReleaseUnknown
from deployer.handlers.placing import common, make_release, version
from deployer.settings import DeployerSettings
from shared import ids

CHECK = "check"
CHECK_DEADLINE_SECONDS = 60
ALLOWING = ("pass", "warn")


class Requests:
    """Everything here is SQL inside the loop's transaction; what asks others (is the image there?) is a job."""

    def __init__(self, clock: Clock, settings: DeployerSettings) -> None:
        self.clock, self.settings = clock, settings

    # -- asking --------------------------------------------------------------------------------------------------------
    async def image_built(
        self, tx: Tx, run_id: str, image: str, image_id: str, digest: str | None, version: str, by_hand: bool, commit: str
    ) -> None:
        """A run has an image: ask once for each of its environments."""
        run = await store.run(tx, run_id)
        if run is None or run.ended_at_ms:
            return
        for name in run.environments:
            made = {"image": image, "image_id": image_id, "digest": digest, "version": version, "version_by_hand": by_hand}
            await self._ask(tx, run, name, "build", None, {**made, "commit_id": commit or run.commit_id})

    async def release_wanted(self, tx: Tx, run_id: str, release_id: str | None) -> None:
        """A run without source wants a release again, in its own environment or in another one (a promotion)."""
        run = await store.run(tx, run_id)
        if run is None or run.ended_at_ms:
            return
        release = await store.release(tx, release_id)
        if release is not None and release.service_id != run.service_id:
            release = None
        cause = {"rollback": "rollback", "promotion": "promotion"}.get(run.begun_by, "manual")
        for name in run.environments:
            if release is None:
                await self._fail_unasked(tx, run, name, cause, ReleaseUnknown(release_id or "without a name"))
                continue
            made = {
                "image": release.image,
                "image_id": release.image_id,
                "digest": release.digest,
                "version": release.version,
                "version_by_hand": release.version_by_hand,
                "commit_id": release.commit_id,
            }
            await self._ask(tx, run, name, cause, release.id, made)

    async def _ask(self, tx: Tx, run: sa.Row[Any], name: str, cause: str, back_to: str | None, made: dict[str, Any]) -> None:
        environment = await store.environment(tx, run.service_id, name)
        if environment is None:
            await self._fail_unasked(tx, run, name, cause, EnvironmentUnknown(name), made)
            return
        values = {
            "id": ids.new("req"),
            "organisation_id": run.organisation_id,
            "service_id": run.service_id,
            "run_id": run.id,
            "number": run.number,
            "environment": name,
            "environment_kind": environment.kind,
            "cause": cause,
            "back_to": back_to,
            "state": ASKED,
            "asked_at_ms": self.clock.now_ms(),
            **made,
        }
        if not await store.add_request(tx, values):
            return
        row = await store.request(tx, values["id"])
        assert row is not None
        await tx.put(DeployRequested(**common(row), cause=cause, back_to=back_to, **version(row)), correlation=run.id)

    async def _fail_unasked(
        self, tx: Tx, run: sa.Row[Any], name: str, cause: str, error: KiopsError, made: dict[str, Any] | None = None
    ) -> None:
        """A request that cannot even be asked is still told and ended, so that its run does not wait for it."""
        values = {"image": "", "image_id": "", "digest": None, "version": "", "version_by_hand": False, "commit_id": run.commit_id}
        values |= made or {}
        values |= {
            "id": ids.new("req"),
            "organisation_id": run.organisation_id,
            "service_id": run.service_id,
            "run_id": run.id,
            "number": run.number,
            "environment": name,
            "environment_kind": "not_production",
            "cause": cause,
            "back_to": None,
            "state": "failed",
            "asked_at_ms": self.clock.now_ms(),
        }
        if not await store.add_request(tx, values):
            return
        row = await store.request(tx, values["id"])
        assert row is not None
        await self._tell_failed(tx, row, error)

    # -- deciding and queueing -----------------------------------------------------------------------------------------
    async def decided(self, tx: Tx, request_id: str, verdict: str, sentence: str, decision: str) -> None:
        """The gate answered. Only pass and warn go on."""
        request = await store.request(tx, request_id)
        if request is None:
            return
        if verdict in ALLOWING:
            if await store.move_request(tx, request.id, ALLOWED, was=ASKED, decision_id=decision):
                await self.advance(tx, request.service_id, request.environment)
            return
        if await store.move_request(tx, request.id, "blocked", was=ASKED, decision_id=decision):
            await self._tell_cancelled(tx, request, f"blocked by the gate: {sentence}")
            await self.advance(tx, request.service_id, request.environment)

    async def advance(self, tx: Tx, service: str, environment: str) -> None:
        """Put in place whatever is due in this environment."""
        while (next_one := turn(await store.queue(tx, service, environment))) is not None:
            request = await store.request(tx, next_one.id)
            assert request is not None
            row = await store.environment(tx, service, environment)
            if row is None:
                await self.fail(tx, request, EnvironmentUnknown(environment))
                continue
            run = await store.run(tx, request.run_id)
            why_not = refused(
                number=request.number,
                commit=request.commit_id,
                cause=request.cause,
                trigger=run.begun_by if run else "",
                newest_placed=row.newest_run,
                hold=store.hold_of(row),
            )
            if why_not:
                await store.move_request(tx, request.id, "cancelled", was=ALLOWED)
                await self._tell_cancelled(tx, request, why_not)
                continue
            if request.back_to:
                await self._check_first(tx, request)
            else:
                await self.place(tx, request, was=ALLOWED)
            return

    async def _check_first(self, tx: Tx, request: sa.Row[Any]) -> None:
        """An older release's image may have been removed since: ask before anything is changed."""
        if await store.move_request(tx, request.id, CHECKING, was=ALLOWED):
            await tx.enqueue(
                CHECK,
                key=request.service_id,
                run=request.run_id,
                organisation=request.organisation_id,
                payload={"request": request.id},
                deadline_seconds=CHECK_DEADLINE_SECONDS,
            )

    async def place(self, tx: Tx, request: sa.Row[Any], *, was: str) -> None:
        """Make the release and order the runtime to put it in place. From here on it is not taken back."""
        environment = await store.environment(tx, request.service_id, request.environment)
        if environment is None:
            await self.fail(tx, request, EnvironmentUnknown(request.environment))
            return
        if not await store.move_request(tx, request.id, PLACING, was=was):
            return
        await make_release(tx, request, environment, self.clock.now_ms(), self.settings)

    # -- ends ----------------------------------------------------------------------------------------------------------
    async def run_over(self, tx: Tx, run: str, reason: str, now_ms: int) -> None:
        """The run was cancelled, superseded or is over: what is still queued of it leaves the queue; a switch goes on."""
        await store.end_run(tx, run, now_ms)
        for request in await store.queued_of_run(tx, run):
            await self.take_back(tx, request, reason)

    async def take_back(self, tx: Tx, request: sa.Row[Any], reason: str) -> None:
        """Take a request out of the queue, tell so, and let the next one go on."""
        if await store.move_request(tx, request.id, "cancelled", was=sorted(QUEUED)):
            await tx.cancel_jobs(run=request.run_id, kind=CHECK, reason=reason)
            await self._tell_cancelled(tx, request, reason)
            await self.advance(tx, request.service_id, request.environment)

    async def fail(self, tx: Tx, request: sa.Row[Any], error: KiopsError, release: sa.Row[Any] | None = None) -> None:
        """The request came to nothing. The next one of its environment goes on."""
        if await store.move_request(tx, request.id, "failed", was=(*sorted(QUEUED), PLACING)):
            await self._tell_failed(tx, request, error, release)
            await self.advance(tx, request.service_id, request.environment)

    async def _tell_failed(self, tx: Tx, request: sa.Row[Any], error: KiopsError, release: sa.Row[Any] | None = None) -> None:
        environment = await store.environment(tx, request.service_id, request.environment)
        serving = await store.release(tx, environment.release_id) if environment else None
        await tx.put(
            DeployFailed(
                **common(request),
                release=release.id if release else "",
                release_number=release.number if release else 0,
                code=error.code,
                reason=error.message,
                advice=error.advice,
                still_serving=serving.number if serving else None,
            ),
            correlation=request.run_id,
        )

    async def _tell_cancelled(self, tx: Tx, request: sa.Row[Any], reason: str) -> None:
        await tx.put(DeployCancelled(**common(request), reason=reason), correlation=request.run_id)
