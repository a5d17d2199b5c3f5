"""Concludes from what the runtime shows: started, progressed, ready, settled, failed, gone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from shared.clock import Clock
from shared.database import Database, Tx
from shared.errors import KiopsError, Rejected
from shared.facts.deployer import (
    DeployProgressed,
    DeployReady,
    DeployRolledBack,
    DeploySettled,
    DeployStarted,
)

from deployer import store
from deployer.domain.queue import PLACING
from deployer.domain.releases import came_back
from deployer.errors import ImageGone, NoAnswer, NoDecision
from deployer.handlers.environments import announce
from deployer.handlers.placing import common, note_ready, version
from deployer.handlers.requests import Requests
from deployer.settings import DeployerSettings

MOVING = ("starting", "probing", "switched", "draining")


@dataclass(frozen=True)
class Observed:
    """What a runtime showed of a release."""

    release: str
    phase: str
    at_ms: int
    step: int = 0
    steps: int = 0
    text: str = ""
    container: str = ""
    url: str = ""
    stages_ms: Mapping[str, int] = field(default_factory=dict)
    seconds: int = 0
    code: str = ""
    reason: str = ""
    advice: str = ""


class Rollouts:
    """A release ends in exactly one of ready and failed; ready then settles, well or not."""

    def __init__(self, database: Database, clock: Clock, settings: DeployerSettings, requests: Requests) -> None:
        self.database, self.clock, self.settings, self.requests = database, clock, settings, requests

    async def observed(self, tx: Tx, seen: Observed) -> None:
        """Act on one observation. What is heard twice, or after the end, changes nothing."""
        release = await store.release(tx, seen.release)
        if release is None:
            return
        request = await store.request(tx, release.request_id)
        assert request is not None
        if seen.phase in MOVING and release.state == "placing":
            await self._moves(tx, request, release, seen)
        elif seen.phase == "healthy" and release.state in ("placing", "failed"):
            await self._ready(tx, request, release, seen)
        elif seen.phase == "failed" and release.state == "placing":
            await self._failed(tx, request, release, _error(seen, release))
        elif seen.phase in ("settled", "unhealthy") and release.state == "ready":
            await self._settled(tx, request, release, seen)
        elif seen.phase == "gone":
            await self._gone(tx, request, release, seen)

    async def _moves(self, tx: Tx, request: sa.Row[Any], release: sa.Row[Any], seen: Observed) -> None:
        await store.change_rollout(tx, release.id, heard_at_ms=seen.at_ms, started=True)
        facts = _facts(request, release)
        if not release.started:
            await tx.put(DeployStarted(**facts), correlation=release.run_id)
        progress = DeployProgressed(**facts, step=seen.step, steps=seen.steps, text=seen.text)
        await tx.put(progress, correlation=release.run_id)

    async def _ready(self, tx: Tx, request: sa.Row[Any], release: sa.Row[Any], seen: Observed) -> None:
        environment = await store.environment(tx, release.service_id, release.environment)
        if release.state == "failed" and (environment is None or environment.fence != release.fence):
            return  # a late sign of a release that has been given up and followed by another one
        await store.change_rollout(
            tx, release.id, state="ready", started=True, served=True, heard_at_ms=seen.at_ms, ready_at_ms=seen.at_ms
        )
        await store.move_request(tx, request.id, "ready", was=(PLACING, "failed"))
        await note_ready(tx, release, seen.url)
        facts = _facts(request, release)
        if not release.started:
            await tx.put(DeployStarted(**facts), correlation=release.run_id)
        if release.cause == "rollback":
            await self._tell_rolled_back(tx, release, facts)
        await tx.put(
            DeployReady(
                **facts,
                url=seen.url,
                container=seen.container,
                back_to=release.back_to,
                stages_ms=dict(seen.stages_ms),
                text=seen.text,
            ),
            correlation=release.run_id,
        )
        await self.requests.advance(tx, release.service_id, release.environment)

    async def _tell_rolled_back(self, tx: Tx, release: sa.Row[Any], facts: Mapping[str, Any]) -> None:
        before = await store.release(tx, release.before_id)
        origin = await store.release(tx, release.origin_id)
        content = store.content_of_release(release)
        await tx.put(
            DeployRolledBack(
                **facts,
                from_release=before.id if before else None,
                from_number=before.number if before else None,
                to_number=origin.number if origin else release.number,
                came_back=came_back(store.content_of_release(before) if before else None, content),
            ),
            correlation=release.run_id,
        )

    async def _failed(self, tx: Tx, request: sa.Row[Any], release: sa.Row[Any], error: KiopsError) -> None:
        now_ms = self.clock.now_ms()
        await store.change_rollout(tx, release.id, state="failed", heard_at_ms=now_ms, code=error.code, reason=error.message)
        await self.requests.fail(tx, request, error, release)

    async def _settled(self, tx: Tx, request: sa.Row[Any], release: sa.Row[Any], seen: Observed) -> None:
        healthy = seen.phase == "settled"
        state = "settled" if healthy else "unhealthy"
        await store.change_rollout(tx, release.id, state=state, heard_at_ms=seen.at_ms, code=seen.code, reason=seen.reason)
        await tx.put(
            DeploySettled(
                **_facts(request, release),
                healthy=healthy,
                seconds=seen.seconds,
                code=seen.code,
                reason=seen.reason,
                advice=seen.advice,
            ),
            correlation=release.run_id,
        )

    async def _gone(self, tx: Tx, request: sa.Row[Any], release: sa.Row[Any], seen: Observed) -> None:
        if release.state == "placing":
            gone = Rejected("deploy.removed", seen.reason or "the release was removed from its runtime", "Deploy again.")
            await self._failed(tx, request, release, gone)
        elif release.state == "ready":
            told = Observed(release.id, "unhealthy", seen.at_ms, code="deploy.removed", reason="it was removed from its runtime")
            await self._settled(tx, request, release, told)
        environment = await store.environment(tx, release.service_id, release.environment)
        if environment is not None and environment.release_id == release.id:
            await store.change_environment(tx, release.service_id, release.environment, release_id=None, url="")
            await announce(tx, await store.environment(tx, release.service_id, release.environment))
        await store.change_rollout(tx, release.id, state="gone")

    async def end_silent(self) -> int:
        """Fail what nobody has said a word about for too long. Returns how many were ended."""
        async with self.database.read() as tx:
            if not any(await self._silent(tx)):
                return 0
        async with self.database.write() as tx:
            undecided, silent, unwatched = await self._silent(tx)
            for request in undecided:
                await self.requests.fail(tx, request, NoDecision(self.settings.no_decision_seconds // 60))
            for release in (*silent, *unwatched):
                request = await store.request(tx, release.request_id)
                assert request is not None
                error = await self._no_answer(tx, release)
                if release.state == "placing":
                    await self._failed(tx, request, release, error)
                else:
                    await self._settled(tx, request, release, _unwatched(release, error, self.clock.now_ms()))
        return len(undecided) + len(silent) + len(unwatched)

    async def _no_answer(self, tx: Tx, release: sa.Row[Any]) -> NoAnswer:
        trouble = await store.trouble_of_runtime(tx, release.organisation_id, release.runtime)
        return NoAnswer(release.runtime, self.settings.no_answer_seconds // 60, trouble)

    async def _silent(self, tx: Tx) -> tuple[Any, Any, Any]:
        def late(at_ms: int, seconds: int) -> bool:
            return self.clock.age_ms(at_ms) >= seconds * 1000

        decide, answer = self.settings.no_decision_seconds, self.settings.no_answer_seconds
        return (
            [row for row in await store.undecided(tx) if late(row.asked_at_ms, decide)][:100],
            [row for row in await store.placing(tx) if late(row.heard_at_ms, answer)][:100],
            [row for row in await store.watched(tx) if late(row.heard_at_ms, answer + row.observe_seconds)][:100],
        )


def _facts(request: sa.Row[Any], release: sa.Row[Any]) -> dict[str, Any]:
    return {
        **common(request),
        **version(request),
        "release": release.id,
        "release_number": release.number,
        "runtime": release.runtime,
    }


def _unwatched(release: sa.Row[Any], error: KiopsError, now_ms: int) -> Observed:
    """What stands for the end of a watch of which the runtime said nothing."""
    return Observed(release.id, "unhealthy", now_ms, code=error.code, reason=error.message, advice=error.advice)


def _error(seen: Observed, release: sa.Row[Any]) -> KiopsError:
    """Why the runtime could not. A removed image has one code, whoever found out."""
    if seen.code == "image.gone":
        return ImageGone(release.image or release.image_id[:19], release.number)
    return Rejected(seen.code or "deploy.failed", seen.reason or "the runtime did not say why", seen.advice)
