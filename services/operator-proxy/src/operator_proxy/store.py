"""Every query and write of the operator-proxy."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import sqlalchemy as sa
from shared.database import Tx

from operator_proxy.domain.naming import Target
from operator_proxy.tables import entry_ports, placements, runtimes, targets

OPEN, PLACED, FAILED = "open", "placed", "failed"


def _is(table: sa.Table, target: Target) -> sa.ColumnElement[bool]:
    return sa.and_(
        table.c.organisation_id == target.organisation,
        table.c.service == target.service,
        table.c.environment == target.environment,
    )


# -- targets -----------------------------------------------------------------------------------------------------------
async def target(tx: Tx, which: Target) -> sa.Row[Any] | None:
    return await tx.one(sa.select(targets).where(_is(targets, which)))


async def targets_of(tx: Tx, organisation: str, service: str) -> list[Target]:
    rows = await tx.all(sa.select(targets).where(targets.c.organisation_id == organisation, targets.c.service == service))
    return [Target(row.organisation_id, row.service, row.environment) for row in rows]


async def host_is_free(tx: Tx, host: str, which: Target) -> bool:
    """Whether no other target has this host name."""
    return await tx.scalar(sa.select(targets.c.key).where(targets.c.host == host, targets.c.key != which.key)) is None


async def raise_fence(tx: Tx, which: Target, runtime: str, host: str, fence: int, now_ms: int) -> None:
    """Remember the newest order of a target; makes the target when it is new."""
    values = {
        "organisation_id": which.organisation,
        "service": which.service,
        "environment": which.environment,
        "runtime": runtime,
        "key": which.key,
        "host": host,
        "fence": fence,
        "changed_at_ms": now_ms,
    }
    await tx.upsert(targets, values, key=["organisation_id", "service", "environment"])


async def now_serves(tx: Tx, which: Target, now_ms: int, **values: Any) -> None:
    """Remember what a target's route leads to. Without values: nothing."""
    names = ("release", "release_number", "release_fence", "run", "container", "image_id", "url")
    changes = {name: values.get(name) for name in names} | {"changed_at_ms": now_ms}
    await tx.execute(targets.update().where(_is(targets, which)).values(**changes))


# -- placements --------------------------------------------------------------------------------------------------------
async def open_placement(tx: Tx, which: Target, release: str, fence: int, run: str, now_ms: int) -> bool:
    """Remember an order. False when it is known already."""
    values = {
        "release": release,
        "fence": fence,
        "organisation_id": which.organisation,
        "service": which.service,
        "environment": which.environment,
        "run": run,
        "state": OPEN,
        "ordered_at_ms": now_ms,
    }
    return await tx.insert_new(placements, values)


async def end_placement(tx: Tx, release: str, fence: int, state: str, now_ms: int, code: str = "") -> None:
    where = (placements.c.release == release, placements.c.fence == fence)
    await tx.execute(placements.update().where(*where).values(state=state, code=code, ended_at_ms=now_ms))


async def known_releases(tx: Tx) -> tuple[set[tuple[str, int]], set[str]]:
    """The releases (with fence) that serve or are on their way, and the keys of targets that have one on its way."""
    serving = await tx.all(sa.select(targets.c.release, targets.c.release_fence).where(targets.c.release.is_not(None)))
    coming = await tx.all(sa.select(placements).where(placements.c.state == OPEN))
    known = {(row.release, row.release_fence) for row in serving} | {(row.release, row.fence) for row in coming}
    return known, {Target(row.organisation_id, row.service, row.environment).key for row in coming}


# -- entry ports -------------------------------------------------------------------------------------------------------
async def given_port(tx: Tx, which: Target) -> int | None:
    return await tx.scalar(sa.select(entry_ports.c.port).where(entry_ports.c.key == which.key))


async def give_port(tx: Tx, which: Target, runtime: str, ports: Collection[int], now_ms: int) -> int | None:
    """The target's entry port, the smallest free one of these when it has none; None when none is left."""
    if (port := await given_port(tx, which)) is not None:
        return port
    taken = {row.port for row in await tx.all(sa.select(entry_ports.c.port).where(entry_ports.c.runtime == runtime))}
    for port in sorted(set(ports) - taken):
        values = {
            "runtime": runtime,
            "port": port,
            "organisation_id": which.organisation,
            "key": which.key,
            "given_at_ms": now_ms,
        }
        if await tx.insert_new(entry_ports, values):
            return port
    return None


async def take_port_back(tx: Tx, which: Target) -> None:
    await tx.execute(entry_ports.delete().where(entry_ports.c.key == which.key))


# -- runtimes ----------------------------------------------------------------------------------------------------------
async def runtime(tx: Tx, name: str) -> sa.Row[Any] | None:
    return await tx.one(sa.select(runtimes).where(runtimes.c.id == name))


async def put_runtime(tx: Tx, values: dict[str, Any]) -> None:
    await tx.upsert(runtimes, values, key=["id"])
