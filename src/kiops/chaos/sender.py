"""A Git host: sends a delivery until it is acknowledged, under one id, and counts what was."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field

import httpx
from shared.errors import Broken

from kiops.chaos.city import City

PATIENCE_SECONDS = 120


@dataclass
class Sender:
    """Pushes to the endpoints (service -> (path, secret)), at most `ahead` of what is deployed already."""

    city: City
    endpoints: dict[str, tuple[str, str]]
    acked: dict[str, tuple[str, int]] = field(default_factory=dict)
    """commit -> (service, run number) of each acknowledged push."""

    async def send(self, pushes: int, *, ahead: int, rate: float) -> None:
        """Each service's pushes one after another, the services beside each other; at most `rate` a second.

        Raises Broken `chaos.not_acknowledged`.
        """
        allowed = asyncio.Semaphore(0)
        names = list(self.endpoints)

        async def one(service: str, count: int) -> None:
            for number in range(count):
                await allowed.acquire()
                await self.push(service, number)

        async def allow() -> None:
            began, given = time.monotonic(), 0
            moved, placed = began, 0
            while given < pushes:
                self.city.stamps.look()
                now = time.monotonic()
                if self.city.stamps.placed != placed:
                    moved, placed = now, self.city.stamps.placed
                # Failed runs are never placed: they may not hold the sender back for ever.
                room = ahead - (given - placed) if now - moved < 20 else 1
                due = int((now - began) * rate) + 1 - given
                for _ in range(max(0, min(room, due, pushes - given))):
                    allowed.release()
                    given += 1
                await asyncio.sleep(0.05)

        async with asyncio.TaskGroup() as group:
            group.create_task(allow())
            for index, service in enumerate(names):
                group.create_task(one(service, pushes // len(names) + (index < pushes % len(names))))

    async def push(self, service: str, number: int) -> None:
        path, secret = self.endpoints[service]
        commit = hashlib.sha1(f"{service} {number}".encode()).hexdigest()
        body = delivery(commit, number)
        headers = {
            "Content-Type": "application/json",
            "X-Kiops-Event": "push",
            "X-Kiops-Delivery": str(uuid.uuid4()),
            "X-Kiops-Signature": "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest(),
        }
        url = f"http://127.0.0.1:{self.city.ports['webhook']}{path}"
        end = time.monotonic() + PATIENCE_SECONDS
        told = ""
        while time.monotonic() < end:
            try:
                answer = await self.city.client.post(url, content=body, headers=headers)
            except httpx.HTTPError as error:
                told = f"{type(error).__name__}: {error}"
                await asyncio.sleep(0.1)
                continue
            if answer.status_code == 202:
                run = answer.json()["run"]
                if not run:
                    raise Broken("chaos.no_run", f"a push was acknowledged without a run: {answer.text}")
                self.acked[commit] = (service, run["number"])
                return
            told = f"{answer.status_code} {answer.text}"
            if answer.status_code != 503:
                break
            await asyncio.sleep(0.1)
        raise Broken("chaos.not_acknowledged", f"a push was not acknowledged within {PATIENCE_SECONDS} s: {told}")


def delivery(commit: str, number: int) -> bytes:
    """The body of a push of one commit to main."""
    change = {"id": commit, "message": f"change {number}", "author": {"name": "Ada"}, "added": [], "modified": ["a"], "removed": []}
    return json.dumps({
        "ref": "refs/heads/main", "after": commit, "before": "1" * 40, "forced": False, "pusher": {"name": "Ada"},
        "commits": [change],
    }).encode()  # fmt: skip


Say = Callable[[str], None]
