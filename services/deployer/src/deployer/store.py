"""Every query and write of the deployer. Rows become the domain's values here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from shared.database import Tx

from deployer.domain.history import Past
from deployer.domain.queue import OPEN, QUEUED, Hold, Waiting
from deployer.domain.releases import Content
from deployer.tables import environments, releases, requests, rollouts, runs, runtimes, services

Row = sa.Row[Any]


# -- services, runtimes, runs ------------------------------------------------------------------------------------------
async def remember_service(tx: Tx, organisation: str, service: str, name: str) -> None:
    await tx.upsert(services, {"id": service, "organisation_id": organisation, "name": name, "deleted_at_ms": None}, key=["id"])


async def service(tx: Tx, service_id: str) -> Row | None:
    """A service of the catalogue; None when it is not there or was deleted."""
    return await tx.one(sa.select(services).where(services.c.id == service_id, services.c.deleted_at_ms.is_(None)))


async def forget_service(tx: Tx, service_id: str, now_ms: int) -> None:
    await tx.execute(services.update().where(services.c.id == service_id).values(deleted_at_ms=now_ms))
    await tx.execute(environments.delete().where(environments.c.service_id == service_id))


async def remember_runtime(tx: Tx, organisation: str, runtime: str, reachable: bool, reason: str) -> None:
    values = {"organisation_id": organisation, "id": runtime, "reachable": reachable, "reason": reason}
    await tx.upsert(runtimes, values, key=["organisation_id", "id"])


async def trouble_of_runtime(tx: Tx, organisation: str, runtime: str) -> str:
    """What a runtime last said of itself when it does not answer; empty when it does or nothing is known."""
    row = await tx.one(sa.select(runtimes).where(runtimes.c.organisation_id == organisation, runtimes.c.id == runtime))
    return "" if row is None or row.reachable else row.reason or "it does not answer"


async def add_run(tx: Tx, values: Mapping[str, Any]) -> bool:
    return await tx.insert_new(runs, values)


async def run(tx: Tx, run_id: str) -> Row | None:
    return await tx.one(sa.select(runs).where(runs.c.id == run_id))


async def end_run(tx: Tx, run_id: str, now_ms: int) -> None:
    await tx.execute(runs.update().where(runs.c.id == run_id, runs.c.ended_at_ms.is_(None)).values(ended_at_ms=now_ms))


# -- environments ------------------------------------------------------------------------------------------------------
async def environment(tx: Tx, service_id: str, name: str) -> Row | None:
    return await tx.one(sa.select(environments).where(environments.c.service_id == service_id, environments.c.name == name))


async def environments_of(tx: Tx, service_id: str) -> Sequence[Row]:
    return await tx.all(sa.select(environments).where(environments.c.service_id == service_id).order_by(environments.c.name))


async def put_environment(tx: Tx, values: Mapping[str, Any]) -> None:
    await tx.upsert(environments, values, key=["service_id", "name"])


async def change_environment(tx: Tx, service_id: str, name: str, **values: Any) -> None:
    await tx.execute(
        environments.update().where(environments.c.service_id == service_id, environments.c.name == name).values(**values)
    )


def hold_of(row: Row) -> Hold | None:
    return Hold(row.hold["number"], tuple(row.hold["commits"])) if row.hold else None


def content_of_environment(row: Row, image: str, image_id: str) -> Content:
    """What a new release in this environment is made of."""
    return Content(
        image=image,
        image_id=image_id,
        container_port=row.container_port,
        health_path=row.health_path,
        own_port=row.own_port,
        observe_seconds=row.observe_seconds,
        variables=row.variables,
    )


# -- requests ----------------------------------------------------------------------------------------------------------
async def add_request(tx: Tx, values: Mapping[str, Any]) -> bool:
    """False when this run has asked for this environment already."""
    return await tx.insert_new(requests, values)


async def request(tx: Tx, request_id: str) -> Row | None:
    return await tx.one(sa.select(requests).where(requests.c.id == request_id))


async def move_request(tx: Tx, request_id: str, state: str, *, was: str | Sequence[str], **values: Any) -> bool:
    """Move a request on. False when it was somewhere else already."""
    states = [was] if isinstance(was, str) else list(was)
    changed = await tx.execute(
        requests.update().where(requests.c.id == request_id, requests.c.state.in_(states)).values(state=state, **values)
    )
    return changed.rowcount == 1


async def queue(tx: Tx, service_id: str, environment: str) -> list[Waiting]:
    rows = await tx.all(
        sa.select(requests.c.id, requests.c.number, requests.c.state, requests.c.asked_at_ms).where(
            requests.c.service_id == service_id,
            requests.c.environment == environment,
            requests.c.state.in_(sorted(OPEN)),
        )
    )
    return [Waiting(row.id, row.number, row.state, row.asked_at_ms) for row in rows]


async def queued_of_run(tx: Tx, run_id: str) -> Sequence[Row]:
    return await tx.all(sa.select(requests).where(requests.c.run_id == run_id, requests.c.state.in_(sorted(QUEUED))))


async def queued_of_service(tx: Tx, service_id: str) -> Sequence[Row]:
    return await tx.all(sa.select(requests).where(requests.c.service_id == service_id, requests.c.state.in_(sorted(QUEUED))))


async def undecided(tx: Tx) -> Sequence[Row]:
    """Requests that the gate was asked about."""
    return await tx.all(sa.select(requests).where(requests.c.state == "asked"))


# -- releases ----------------------------------------------------------------------------------------------------------
async def add_release(tx: Tx, values: Mapping[str, Any], now_ms: int) -> None:
    await tx.execute(releases.insert().values(**values))
    await tx.execute(
        rollouts.insert().values(
            release_id=values["id"],
            organisation_id=values["organisation_id"],
            state="placing",
            started=False,
            served=False,
            heard_at_ms=now_ms,
        )
    )


def _with_rollout() -> sa.Select[Any]:
    columns = [rollouts.c[name] for name in ("state", "started", "served", "heard_at_ms", "ready_at_ms")]
    return sa.select(releases, *columns).join(rollouts, rollouts.c.release_id == releases.c.id)


async def release(tx: Tx, release_id: str | None) -> Row | None:
    """A release with how it went."""
    return await tx.one(_with_rollout().where(releases.c.id == release_id)) if release_id else None


async def release_of_request(tx: Tx, request_id: str) -> Row | None:
    return await tx.one(_with_rollout().where(releases.c.request_id == request_id))


async def change_rollout(tx: Tx, release_id: str, **values: Any) -> None:
    await tx.execute(rollouts.update().where(rollouts.c.release_id == release_id).values(**values))


async def past(tx: Tx, service_id: str, environment: str) -> dict[str, Past]:
    """All releases of an environment, as history sees them."""
    rows = await tx.all(
        sa.select(releases.c.id, releases.c.number, releases.c.origin_id, releases.c.before_id, releases.c.commit_id).where(
            releases.c.service_id == service_id, releases.c.environment == environment
        )
    )
    return {row.id: Past(row.id, row.number, row.origin_id, row.before_id, row.commit_id) for row in rows}


async def placing(tx: Tx) -> Sequence[Row]:
    """Releases being put in place."""
    return await tx.all(_with_rollout().where(rollouts.c.state == "placing"))


async def watched(tx: Tx) -> Sequence[Row]:
    """Releases that serve and are watched."""
    return await tx.all(_with_rollout().where(rollouts.c.state == "ready"))


def content_of_release(row: Row) -> Content:
    return Content(
        image=row.image,
        image_id=row.image_id,
        container_port=row.container_port,
        health_path=row.health_path,
        own_port=row.own_port,
        observe_seconds=row.observe_seconds,
        variables=row.variables,
    )
