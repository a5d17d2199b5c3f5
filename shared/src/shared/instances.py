"""Which instances of a service there are, and which of them has each role since when.

On PostgreSQL every instance says a few times a minute that it is there, in a row of the lease table beside those of the roles; who
has a role says the lease's own row. On SQLite there is one instance, which has every role.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from shared import logging
from shared.errors import KiopsError

if TYPE_CHECKING:
    from shared.hosting import Running

ROLES = ("reader", "relay", "scheduler")
PREFIX = "instance "
TELL_SECONDS = 5.0
"""How often an instance says that it is there; a change of its roles it says within a second."""
SILENT_SECONDS = 15.0
"""Whoever has said nothing for so long is shown as silent."""
FORGET_SECONDS = 600.0
"""How long a silent one is shown."""


class Presence:
    """What one instance says of itself in its service's database. Only for PostgreSQL."""

    def __init__(self, running: Running) -> None:
        self._running, self._database = running, running.service.database
        self._said: dict[str, int] | None = None
        self._said_at = 0.0

    async def serve(self) -> None:
        """Say it until cancelled."""
        log = logging.get(self._database.name)
        while True:
            try:
                await self._say()
            except KiopsError as error:
                log.warning("this instance could not say that it is there", error=str(error))
            await asyncio.sleep(1)

    async def _say(self) -> None:
        clock, host = self._database.clock, self._running.host
        roles = {lease.name: lease.since_ms for lease in self._running.leases() if lease.ours}
        if roles == self._said and clock.monotonic() - self._said_at < TELL_SECONDS:
            return
        table = self._database.metadata.tables["lease"]
        about = {**_about(host.settings.port), "roles": roles}
        async with self._database.write() as tx:
            now = await self._database.now_ms(tx)
            row = {"name": PREFIX + host.instance, "holder": json.dumps(about), "token": 0}
            await tx.upsert(table, {**row, "until_ms": now + int(SILENT_SECONDS * 1000)}, ["name"])
            over = now - int((FORGET_SECONDS - SILENT_SECONDS) * 1000)
            await tx.execute(table.delete().where(table.c.name.startswith(PREFIX), table.c.until_ms < over))
        self._said, self._said_at = roles, clock.monotonic()

    async def leave(self) -> None:
        """Say that this instance has ended."""
        table = self._database.metadata.tables["lease"]
        with contextlib.suppress(KiopsError):
            async with self._database.write() as tx:
                await tx.execute(table.delete().where(table.c.name == PREFIX + self._running.host.instance))


async def known(running: Running) -> list[dict[str, Any]]:
    """The instances of a service, oldest first: [{"id", "here", "node", "port", "pid", "started_at_ms", "silent_seconds",
    "roles"}].

    `here` is the one that answers. `silent_seconds` is 0 for one that has said lately that it is there. `roles` is
    {role: {"held_seconds", "left_seconds"}}: since when it has the role, and how long the lease lasts if it is not renewed;
    either is None where nobody knows. Raises Unavailable when the database is away.
    """
    host, database = running.host, running.service.database
    if not database.is_postgresql:
        age = max(0.0, (host.clock.now_ms() - _started(host.instance)) / 1000)
        roles = {lease.name: {"held_seconds": round(age, 1), "left_seconds": None} for lease in running.leases()}
        return [_one(host.instance, host.instance, _about(host.settings.port), 0.0, roles)]
    held, said, now = await _rows(running)
    found: dict[str, dict[str, Any]] = {
        name: _one(name, host.instance, about, _silent(until - now), {}) for name, (about, until) in said.items()
    }
    for role, (holder, until) in held.items():
        one = found.setdefault(holder, _one(holder, host.instance, {}, 0.0, {}))
        about, _ = said.get(holder, ({}, 0))
        since = about.get("roles", {}).get(role)
        one["roles"][role] = {
            "held_seconds": None if since is None else round(max(0.0, (now - since) / 1000), 1),
            "left_seconds": round((until - now) / 1000, 1),
        }
    return sorted(found.values(), key=lambda one: one["id"])


async def _rows(running: Running) -> tuple[dict[str, tuple[str, int]], dict[str, tuple[dict[str, Any], int]], int]:
    """Role -> (holder, end of the lease), instance -> (what it says of itself, until when), and the database's clock."""
    held: dict[str, tuple[str, int]] = {}
    said: dict[str, tuple[dict[str, Any], int]] = {}
    now = 0
    service = running.service
    for database in dict.fromkeys((service.loop_database or service.database, service.database)):
        table = database.metadata.tables["lease"]
        async with database.read() as tx:
            now = await database.now_ms(tx)
            rows = await tx.all(sa.select(table).where(table.c.name.in_(ROLES) | table.c.name.startswith(PREFIX)))
        for row in rows:
            if row.name.startswith(PREFIX):
                said[row.name.removeprefix(PREFIX)] = (json.loads(row.holder), row.until_ms)
            elif row.until_ms >= now:
                held[row.name] = (row.holder, row.until_ms)
    return held, said, now


def _one(name: str, here: str, about: dict[str, Any], silent: float, roles: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": name,
        "here": name == here,
        "node": about.get("node", ""),
        "port": about.get("port", 0),
        "pid": about.get("pid", 0),
        "started_at_ms": _started(name),
        "silent_seconds": round(silent, 1),
        "roles": roles,
    }


def _silent(left_ms: int) -> float:
    """Seconds since an instance last said that it is there; 0 while that is not long ago."""
    return SILENT_SECONDS - left_ms / 1000 if left_ms < 0 else 0.0


def _about(port: int) -> dict[str, Any]:
    return {"node": socket.gethostname(), "port": port, "pid": os.getpid()}


def _started(instance: str) -> int:
    """When an instance began, which its id says: a UUID of version 7. 0 when it is none."""
    try:
        return int(instance[:12], 16)
    except ValueError:
        return 0
