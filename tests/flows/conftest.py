"""All seven services in one process on a real nats-server, with stand-ins for the tools outside, and a Git host that pushes."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from shared.bus import SERVICES
from shared.hosting import Platform

from kiops.chaos.city import ENDED
from kiops.chaos.member import wire_of


@dataclass
class Town:
    """The platform, its API, and one registered service."""

    platform: Platform
    client: httpx.AsyncClient
    stamps: Path
    path: str = ""
    secret: str = ""

    async def register(self, name: str = "shop", repository: str = "", **rule: Any) -> None:
        made = await self.client.post(
            "/api/v1/services",
            json={
                "name": name,
                "repository_url": repository or f"https://git.invalid/{name}.git",
                "environment": {"name": "development", "container_port": 8080, "observe_seconds": 1},
                "rule": {"branches": ["main", "feature/*"], "environments": ["development"], **rule},
            },
        )
        assert made.status_code == 201, made.text
        rows = await self.until("an endpoint", lambda: self._endpoints(name))
        shown = (await self.client.post(f"/api/v1/endpoints/{rows[0]['id']}/secret")).json()
        self.path, self.secret = shown["path"], shown["secret"]

    async def _endpoints(self, name: str) -> list[Any]:
        detail = (await self.client.get(f"/api/v1/services/{name}")).json()
        rows = (await self.client.get(f"/api/v1/services/{name}/endpoints")).json()["items"]
        return rows if detail.get("rule") and detail["environments"] else []

    async def push(self, branch: str = "main", commit: str = "") -> httpx.Response:
        commit = commit or hashlib.sha1(str(uuid.uuid4()).encode()).hexdigest()
        body = json.dumps(
            {"ref": f"refs/heads/{branch}", "after": commit, "before": "1" * 40, "pusher": {"name": "Ada"}, "commits": []}
        ).encode()
        return await self.client.post(
            self.path,
            content=body,
            headers={
                "Content-Type": "application/json",
                "X-Kiops-Event": "push",
                "X-Kiops-Delivery": str(uuid.uuid4()),
                "X-Kiops-Signature": "sha256=" + hmac.new(self.secret.encode(), body, hashlib.sha256).hexdigest(),
            },
        )

    async def run(self, number: int, service: str = "shop") -> dict[str, Any]:
        answer = await self.client.get(f"/api/v1/services/{service}/runs/{number}")
        return answer.json() if answer.status_code == 200 else {}

    async def ended(self, number: int) -> dict[str, Any]:
        async def over() -> dict[str, Any] | None:
            run = await self.run(number)
            return run if run.get("state") in ENDED else None

        return await self.until(f"the end of run {number}", over)

    async def until(self, what: str, condition: Callable[[], Awaitable[Any]], seconds: float = 40) -> Any:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if found := await condition():
                return found
            await asyncio.sleep(0.05)
        raise AssertionError(f"{what}: not within {seconds} s")


@asynccontextmanager
async def town_of(
    platform: Any, folder: Path, *, build: float = 1.0, wires: dict[str, Any] | None = None, **settings: Any
) -> AsyncIterator[Town]:
    """All seven, with these settings of the platform. `build`: the seconds that a build takes; `wires` are others than these."""
    stamps = folder / "stamps"
    stamps.touch()
    wires = wires or {name: wire_of(name, stamps, build=build) for name in SERVICES}
    async with platform(wires, **settings) as running:
        token = (running.settings.root / "cli.token").read_text().strip()
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(running.app),
            base_url="http://127.0.0.1:8640",
            headers={"Authorization": f"Bearer {token}"},
            timeout=20,
        ) as client:
            yield Town(running, client, stamps)


@pytest.fixture
async def town(platform: Any, tmp_path: Path) -> AsyncIterator[Town]:
    async with town_of(platform, tmp_path) as found:
        yield found


def pytest_itemcollected(item: pytest.Item) -> None:
    """All seven services, journey after journey: none of these tests is over in a second."""
    item.add_marker(pytest.mark.slow)
