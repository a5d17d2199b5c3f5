"""Makes a release of an allowed request and orders the runtime to put it in place."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from shared.database import Tx
from shared.facts.deployer import DeployPlanned
from shared.orders.operator_proxy import ApplyRelease

from deployer import store
from deployer.domain.history import gone_behind, origin_of
from deployer.domain.queue import AUTOMATIC, held_commits, lifts
from deployer.domain.releases import Content, changes
from deployer.settings import DeployerSettings
from shared import ids


async def make_release(tx: Tx, request: sa.Row[Any], environment: sa.Row[Any], now_ms: int, settings: DeployerSettings) -> None:
    """The release row, `deploy.planned`, and the order with the environment's next fence: one transaction."""
    content, origin = await _content(tx, request, environment)
    before = await store.release(tx, environment.release_id)
    service = await store.service(tx, request.service_id)
    run = await store.run(tx, request.run_id)
    name = service.name if service else run.service_name if run else request.service_id
    release, number, fence = ids.new("rel"), environment.last_number + 1, environment.fence + 1
    parts: dict[str, Any] = {
        "image": content.image,
        "image_id": content.image_id,
        "container_port": content.container_port,
        "health_path": content.health_path,
        "own_port": content.own_port,
        "variables": dict(content.variables),
        "observe_seconds": content.observe_seconds,
    }
    await store.add_release(
        tx,
        {
            "id": release,
            "organisation_id": request.organisation_id,
            "service_id": request.service_id,
            "environment": request.environment,
            "environment_kind": environment.kind,
            "number": number,
            "run_id": request.run_id,
            "run_number": request.number,
            "request_id": request.id,
            "decision_id": request.decision_id,
            "cause": request.cause,
            "runtime": environment.runtime,
            "service_name": name,
            "digest": request.digest,
            "commit_id": request.commit_id,
            "version": request.version,
            "version_by_hand": request.version_by_hand,
            "fence": fence,
            "origin_id": origin or release,
            "back_to": request.back_to,
            "before_id": before.id if before else None,
            "planned_at_ms": now_ms,
            **parts,
        },
        now_ms,
    )
    await store.change_environment(tx, request.service_id, request.environment, fence=fence, last_number=number)
    planned = DeployPlanned(
        **common(request),
        **version(request),
        release=release,
        release_number=number,
        runtime=environment.runtime,
        before=before.id if before else None,
        back_to=request.back_to,
        changes=changes(store.content_of_release(before) if before else None, content),
    )
    await tx.put(planned, correlation=request.run_id)
    order = ApplyRelease(
        organisation=request.organisation_id,
        service=request.service_id,
        runtime=environment.runtime,
        release=release,
        release_number=number,
        run=request.run_id,
        environment=request.environment,
        service_name=name,
        fence=fence,
        deadline_seconds=settings.healthy_seconds,
        drain_seconds=settings.drain_seconds,
        **parts,
    )
    await tx.put(order, correlation=request.run_id)


async def _content(tx: Tx, request: sa.Row[Any], environment: sa.Row[Any]) -> tuple[Content, str | None]:
    """What the release is made of, and the release that had this content first (None: this one).

    A release that comes back to its own environment brings its variables and settings along; in another one it takes those
    of that environment.
    """
    older = await store.release(tx, request.back_to)
    if older is None or older.environment != request.environment:
        return store.content_of_environment(environment, request.image, request.image_id), None
    return store.content_of_release(older), older.origin_id


async def note_ready(tx: Tx, release: sa.Row[Any], url: str) -> None:
    """The release serves now. A rollback holds automatic deploys of what it went behind; a newer commit lifts the hold."""
    environment = await store.environment(tx, release.service_id, release.environment)
    if environment is None:
        return
    run = await store.run(tx, release.run_id)
    by_hand = run is None or run.begun_by not in AUTOMATIC
    hold = environment.hold
    if release.cause == "rollback":
        past = await store.past(tx, release.service_id, release.environment)
        origin = origin_of(release.id, past)
        behind = gone_behind(origin.id, past) if origin else []
        hold = {"number": release.run_number, "commits": list(held_commits(behind))}
    elif lifts(store.hold_of(environment), number=release.run_number, commit=release.commit_id, by_hand=by_hand):
        hold = None
    await store.change_environment(
        tx,
        release.service_id,
        release.environment,
        release_id=release.id,
        url=url,
        newest_run=max(environment.newest_run, release.run_number),
        hold=hold,
    )


def common(request: sa.Row[Any]) -> dict[str, Any]:
    """The fields that every fact of a deploy has."""
    return {
        "organisation": request.organisation_id,
        "service": request.service_id,
        "run": request.run_id,
        "number": request.number,
        "environment": request.environment,
        "environment_kind": request.environment_kind,
        "request": request.id,
        "image_id": request.image_id,
        "image": request.image,
        "digest": request.digest,
        "commit": request.commit_id,
    }


def version(request: sa.Row[Any]) -> dict[str, Any]:
    """The fields of a version."""
    return {"version": request.version, "version_by_hand": request.version_by_hand}
