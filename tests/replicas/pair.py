"""A platform of which every service runs twice, and who of the two does what."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import httpx
from shared.bus import SERVICES

from kiops.chaos.city import City

WITHIN_SECONDS = 10.0
"""A role has moved this long after its holder was killed; a machine that is busy gets as much again before a test gives up."""


@dataclass
class Pair:
    """`name` and `name-2` are the two instances of a service."""

    city: City

    def url(self, called: str) -> str:
        return f"http://127.0.0.1:{self.city.ports[called]}"

    async def roles(self, called: str) -> dict[str, bool]:
        """Role -> whether this instance has it; empty when it does not answer."""
        with contextlib.suppress(httpx.HTTPError):
            answer = await self.city.client.get(f"{self.url(called)}/-/{called.removesuffix('-2')}/readyz")
            return answer.json()["roles"] if answer.status_code == 200 else {}
        return {}

    async def holder(self, name: str, role: str) -> str:
        """The one instance that has a role, once exactly one says so."""

        async def one() -> str:
            has = [called for called in (name, f"{name}-2") if (await self.roles(called)).get(role)]
            return has[0] if len(has) == 1 else ""

        return await until(f"one {role} of {name}", one)

    def other(self, called: str) -> str:
        return called.removesuffix("-2") if called.endswith("-2") else f"{called}-2"

    def start_again(self, called: str) -> None:
        """The same instance, at its address of before."""
        name = called.removesuffix("-2")
        file = self.city.member_file if called == name else self.city.folder / f"{called}.json"
        self.city._start(called, name, file)

    async def killed(self, called: str, role: str) -> float:
        """SIGKILL; the seconds until the other instance has the role."""
        process = self.city.processes[called]
        os.kill(process.pid, signal.SIGKILL)
        began = time.monotonic()
        process.wait()
        await until(f"{role} at {self.other(called)}", lambda: self._has(self.other(called), role))
        return time.monotonic() - began

    async def _has(self, called: str, role: str) -> bool:
        return (await self.roles(called)).get(role, False)

    def lease(self, name: str, role: str, *, database: str = "") -> dict[str, Any]:
        """The row of a lease as the database has it."""
        assert self.city.postgres
        where = self.city.prefix + (database or name).replace("-", "_")
        told = self.city.postgres.execute(f"select row_to_json(lease) from lease where name = '{role}'", where)
        return json.loads(told)

    async def ready(self) -> None:
        for name in SERVICES:
            for called in (name, f"{name}-2"):
                await self.city.ready(called, 120)


async def until(what: str, condition: Callable[[], Awaitable[Any]], seconds: float = 2 * WITHIN_SECONDS) -> Any:
    """Wait for what is true to be so; what the condition returned."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := await condition():
            return found
        await asyncio.sleep(0.1)
    raise AssertionError(f"{what}: not within {seconds:g} s")
