"""Every query and write of the builder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from shared.database import Tx

from builder.domain.build import BuildState, Taken
from builder.tables import builds, metadata, releases, services

OPEN = (BuildState.QUEUED, BuildState.RUNNING)
KEPT_RELEASES = 10


async def add_build(tx: Tx, values: Mapping[str, Any]) -> bool:
    """Remember a new build; False when its run has one already."""
    return await tx.insert_new(builds, values)


async def change_build(tx: Tx, build: str, **values: Any) -> None:
    """Change columns of a build."""
    await tx.execute(builds.update().where(builds.c.id == build).values(**values))


async def build_of_run(tx: Tx, run: str) -> sa.Row[Any] | None:
    """The build of a run."""
    return await tx.one(sa.select(builds).where(builds.c.run_id == run))


async def taken(tx: Tx, service: str, version: str) -> Taken | None:
    """Who has a version of a service: a build that became an image, or still may. Failed ones use up no version."""
    row = await tx.one(
        sa.select(builds.c.commit, builds.c.number)
        .where(
            builds.c.service_id == service,
            builds.c.version == version,
            builds.c.state.in_((BuildState.SUCCEEDED, *OPEN)),
        )
        .order_by(builds.c.queued_at_ms.desc())
        .limit(1)
    )
    return Taken(row.commit, row.number) if row else None


async def ahead(tx: Tx, service: str) -> list[int]:
    """Run numbers of the service's builds that are not over."""
    return [row.number for row in await tx.all(sa.select(builds.c.number).where(*_open(service)))]


async def open_runs(tx: Tx, service: str) -> list[str]:
    """Runs of the service's builds that are not over."""
    return [row.run_id for row in await tx.all(sa.select(builds.c.run_id).where(*_open(service)))]


def _open(service: str) -> tuple[sa.ColumnElement[bool], ...]:
    return builds.c.service_id == service, builds.c.ended_at_ms.is_(None)


async def running(tx: Tx) -> int:
    """How many builds run now."""
    found = sa.select(sa.func.count()).where(builds.c.ended_at_ms.is_(None), builds.c.state == BuildState.RUNNING)
    return await tx.scalar(found) or 0


async def cancel_reason(tx: Tx, job: str) -> str:
    """Why a job is to end, empty when nobody asked for it."""
    table = metadata.tables["job"]
    return await tx.scalar(sa.select(table.c.cancel).where(table.c.id == job)) or ""


async def put_service(tx: Tx, service: str, organisation: str, name: str) -> None:
    """Remember a service and its name."""
    await tx.upsert(services, {"id": service, "organisation_id": organisation, "name": name, "deleted_at_ms": None}, key=["id"])


async def delete_service(tx: Tx, service: str, now_ms: int) -> None:
    """The service left the catalogue."""
    await tx.execute(services.update().where(services.c.id == service).values(deleted_at_ms=now_ms))


async def put_release(tx: Tx, values: Mapping[str, Any]) -> None:
    """Remember which image a release needs."""
    await tx.upsert(releases, values, key=["id"])


async def images_not_needed(tx: Tx, kept: int) -> list[str]:
    """Ids of images that may go: neither among a service's newest `kept` nor needed by an environment's last 10 releases.

    Of a service that was deleted nothing is kept.
    """
    newest = _ranked(builds.c.image_id, builds.c.queued_at_ms, builds.c.service_id).where(
        builds.c.state == BuildState.SUCCEEDED, builds.c.image_removed_at_ms.is_(None)
    )
    needed = _ranked(releases.c.image_id, releases.c.ready_at_ms, releases.c.service_id, releases.c.environment_id)
    gone = sa.select(services.c.id).where(services.c.deleted_at_ms.is_not(None))
    keep: set[str] = set()
    every: list[str] = []
    for row in await tx.all(newest.add_columns(builds.c.service_id.in_(gone).label("deleted"))):
        every.append(row.image_id)
        if row.rank <= kept and not row.deleted:
            keep.add(row.image_id)
    for row in await tx.all(needed.add_columns(releases.c.service_id.in_(gone).label("deleted"))):
        if row.rank <= KEPT_RELEASES and not row.deleted:
            keep.add(row.image_id)
    return sorted(set(every) - keep)


def _ranked(image: sa.Column[Any], time: sa.Column[Any], *group: sa.Column[Any]) -> sa.Select[Any]:
    """Images with their rank in their group, the newest first."""
    return sa.select(image, sa.func.row_number().over(partition_by=group, order_by=time.desc()).label("rank"))


async def mark_removed(tx: Tx, images: Sequence[str], now_ms: int) -> None:
    """These images are not in the store any more."""
    await tx.execute(builds.update().where(builds.c.image_id.in_(images)).values(image_removed_at_ms=now_ms))
