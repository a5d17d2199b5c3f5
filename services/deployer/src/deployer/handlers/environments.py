"""Makes and changes the environments of a service."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from shared.database import Tx
from shared.facts.deployer import EnvironmentChanged

from deployer import store
from deployer.errors import EnvironmentWrong, RuntimeInUse, ServiceUnknown

NAME = re.compile(r"^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$")
VARIABLE = re.compile(r"^[A-Za-z_][A-Za-z0-9_]{0,127}$")
LONGEST_VALUE = 32 * 1024
MOST_VARIABLES_BYTES = 128 * 1024


@dataclass(frozen=True)
class Wanted:
    """An environment as a person wants it."""

    organisation: str
    service: str
    name: str
    kind: str
    runtime: str
    container_port: int
    health_path: str
    own_port: bool
    variables: Mapping[str, str]
    observe_seconds: int


def check(wanted: Wanted) -> None:
    """Raises EnvironmentWrong with what is wrong and what would be right."""
    if not NAME.match(wanted.name):
        raise EnvironmentWrong(f"{wanted.name[:60]!r} is no name of an environment", "Small letters, digits and -, at most 40.")
    if wanted.kind not in ("production", "not_production"):
        raise EnvironmentWrong(f"{wanted.kind!r} is no kind of environment", "production or not_production.")
    if not NAME.match(wanted.runtime):
        raise EnvironmentWrong(f"{wanted.runtime[:60]!r} is no runtime", "Name a registered one, such as local.")
    if not 1 <= wanted.container_port <= 65535:
        raise EnvironmentWrong(f"{wanted.container_port} is no port", "A number from 1 to 65535.")
    if not wanted.health_path.startswith("/") or any(c.isspace() or not c.isprintable() for c in wanted.health_path):
        raise EnvironmentWrong(f"{wanted.health_path[:60]!r} is no path", "A path such as /healthz, without spaces.")
    if not 0 <= wanted.observe_seconds <= 3600:
        raise EnvironmentWrong(f"{wanted.observe_seconds} s of watching is not possible", "From 0 to 3600 seconds.")
    for name, value in wanted.variables.items():
        if not VARIABLE.match(name):
            raise EnvironmentWrong(f"{name[:60]!r} is no name of a variable", "Letters, digits and _, not beginning with a digit.")
        if "\0" in value or len(value.encode("utf-8", "replace")) > LONGEST_VALUE:
            raise EnvironmentWrong(f"the value of {name} cannot be set", "No U+0000, at most 32 KiB.")
    if sum(len(n) + len(v.encode("utf-8", "replace")) for n, v in wanted.variables.items()) > MOST_VARIABLES_BYTES:
        raise EnvironmentWrong("the variables are too long together", "At most 128 KiB in all.")


class Environments:
    """Environments are changed by people; what runs in them changes with the next deploy only."""

    async def set(self, tx: Tx, wanted: Wanted) -> None:
        """Make or change an environment and announce it. Raises EnvironmentWrong, ServiceUnknown, RuntimeInUse."""
        check(wanted)
        if await store.service(tx, wanted.service) is None:
            raise ServiceUnknown(wanted.service)
        there = await store.environment(tx, wanted.service, wanted.name)
        if there and there.release_id and there.runtime != wanted.runtime:
            raise RuntimeInUse(wanted.name, there.runtime)
        await store.put_environment(
            tx,
            {
                "service_id": wanted.service,
                "name": wanted.name,
                "organisation_id": wanted.organisation,
                "kind": wanted.kind,
                "runtime": wanted.runtime,
                "container_port": wanted.container_port,
                "health_path": wanted.health_path,
                "own_port": wanted.own_port,
                "variables": dict(wanted.variables),
                "observe_seconds": wanted.observe_seconds,
            },
        )
        await announce(tx, await store.environment(tx, wanted.service, wanted.name))


async def announce(tx: Tx, row: sa.Row[Any] | None) -> None:
    """Tell what this environment is now."""
    if row is None:
        return
    await tx.put(
        EnvironmentChanged(
            organisation=row.organisation_id,
            service=row.service_id,
            environment=row.name,
            environment_kind=row.kind,
            runtime=row.runtime,
            container_port=row.container_port,
            health_path=row.health_path,
            url=row.url,
            release=row.release_id,
        )
    )
