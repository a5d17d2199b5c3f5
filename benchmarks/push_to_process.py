"""Push accepted -> builder's first process started, in the one-process form, against the floor of starting that process alone.

    python -m benchmarks.push_to_process [--pushes 100]

Real: nats-server, the services on SQLite, HTTP on loopback, signed deliveries, a child process. The child is bash, which writes
the time it began to run; Git, BuildKit and the scan engines do nothing here. Accepted is when the sender has read the 202. The
floor is `run_child` of the same program by itself in the same process. Wall clock on one machine, microseconds
(bash's EPOCHREALTIME).
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import hmac
import importlib
import json
import tempfile
import time
import uuid
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
from shared.bootstrap import bootstrap
from shared.bus import SERVICES
from shared.processes import run_child
from shared.runtime import Platform, running, serve_http
from shared.settings import PlatformSettings
from shared.testing.nats import NatsServer, free_port

from shared import logging
from tests.processes import stand_ins

SCRIPT = 'echo "$1 $EPOCHREALTIME" >> "$2"'


async def child(name: str, stamps: Path, job: Any = None) -> None:
    await run_child(["/bin/bash", "-c", SCRIPT, "bash", name, str(stamps)], job=job, timeout_seconds=10)


class Sources(stand_ins.Sources):
    """Git's place: the first process of a build."""

    async def fetch(self, repository_url: str, commit: str, folder: Path, *, job: Any = None, **_: Any) -> Any:
        from builder.clients.git import Fetched

        await child(commit, self.stamps, job)
        (folder / "source").mkdir(parents=True)
        return Fetched(folder / "source", 1, "Ada", "a change", 1)


class Images(stand_ins.Images):
    async def build(self, plan: Any, *, job: Any = None) -> Any:
        from builder.domain.steps import Built

        yield Built(image_id=f"sha256:{job.run[-32:]:0>64}", size_bytes=1, steps=1, dockerfile="FROM scratch\n")


class Engines(stand_ins.Engines):
    async def source_areas(self, source: Any, *, dockerfile: str, job: Any) -> Any:
        for area in ("secrets", "sast", "iac"):
            yield self._clean(area)

    async def image_areas(self, image_id: str, *, is_sample: bool, job: Any) -> Any:
        for area in ("sca", "sbom", "license", "image"):
            yield self._clean(area)


def quantile(values: list[float], part: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * part))]


async def main(pushes: int) -> None:
    folder = Path(tempfile.mkdtemp(prefix="kiops-bench-"))
    logging.configure("warning", folder / "log")
    nats = NatsServer(folder / "data")
    nats.start()
    try:
        await bootstrap(nats.url, nats.keys)
        stamps = folder / "stamps"
        stamps.touch()
        wires = {name: importlib.import_module(f"{name.replace('-', '_')}.wiring").wire for name in SERVICES}
        builder, scanner = wires["builder"], wires["scanner"]
        wires["builder"] = lambda host: builder(host, git=Sources(stamps, 0), buildkit=Images(stamps, 0))
        wires["scanner"] = lambda host: scanner(host, git=stand_ins.ScannedSources(), engines=Engines(stamps, 0))
        del wires["operator-proxy"]
        port = free_port()
        settings = PlatformSettings(home=folder, data=nats.root, port=port)
        async with running(wires, settings, bus_url=nats.url, keys=nats.keys) as platform:
            server = asyncio.create_task(serve_http(platform.app, "127.0.0.1", port))
            accepted, floor = await measure(platform, f"http://127.0.0.1:{port}", nats.root, stamps, pushes)
            server.cancel()
    finally:
        nats.stop()
    began = dict(line.split() for line in stamps.read_text().splitlines())
    waits = [(float(began[commit]) - at) * 1000 for commit, at in accepted.items()]
    floors = [(float(began[name]) - at) * 1000 for name, at in floor.items()]
    ratio = quantile(waits, 0.5) / quantile(floors, 0.5)
    print(f"{'':28}{'p50':>8}{'p90':>8}{'p99':>8}   ms, n = {pushes}")
    for label, row in (("accepted -> first process", waits), ("floor: start that process", floors)):
        print(f"{label:28}" + "".join(f"{quantile(row, part):8.1f}" for part in (0.5, 0.9, 0.99)))
    print(f"{'ratio of the medians':28}{ratio:8.1f}")
    print(json.dumps({"p50_ms": quantile(waits, 0.5), "p99_ms": quantile(waits, 0.99), "floor_p50_ms": quantile(floors, 0.5)}))


async def measure(
    platform: Platform, base: str, root: Path, stamps: Path, pushes: int
) -> tuple[dict[str, float], dict[str, float]]:
    token = (root / "cli.token").read_text().strip()
    accepted: dict[str, float] = {}
    floor: dict[str, float] = {}
    async with httpx.AsyncClient(base_url=base, headers={"Authorization": f"Bearer {token}"}, timeout=20) as client:
        await asyncio.sleep(1)
        made = await client.post("/api/v1/services", json={"name": "bench", "repository_url": "https://git.invalid/bench.git"})
        assert made.status_code == 201, made.text
        rows: list[Any] = []
        while not rows:
            rows = (await client.get("/api/v1/services/bench/endpoints")).json()["items"]
            await asyncio.sleep(0.05)
        shown = (await client.post(f"/api/v1/endpoints/{rows[0]['id']}/secret")).json()
        for number in range(pushes):
            push = deliver(client, rows[0]["path"], shown["secret"], number)
            accepted[push.commit] = await push.send()
            await until_stamped(stamps, push.commit)
            name = f"floor-{number}"
            floor[name] = time.time()
            await child(name, stamps)
            # One push at a time: the run before is over.
            while not await platform.settled():  # noqa: ASYNC110 (nothing tells when all seven are)
                await asyncio.sleep(0.05)
    return accepted, floor


def deliver(client: httpx.AsyncClient, path: str, secret: str, number: int) -> SimpleNamespace:
    commit = hashlib.sha1(f"{uuid.uuid4()} {number}".encode()).hexdigest()
    body = json.dumps({"ref": "refs/heads/main", "after": commit, "before": "1" * 40, "pusher": {"name": "Ada"},
                       "commits": [{"id": commit, "message": "m", "modified": ["a"]}]}).encode()  # fmt: skip
    signature = "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    headers = {"Content-Type": "application/json", "X-Kiops-Event": "push", "X-Kiops-Delivery": str(uuid.uuid4()),
               "X-Kiops-Signature": signature}  # fmt: skip

    async def send() -> float:
        answer = await client.post(path, content=body, headers=headers)
        at = time.time()
        assert answer.status_code == 202, answer.text
        return at

    return SimpleNamespace(commit=commit, send=send)


async def until_stamped(stamps: Path, commit: str) -> None:
    end = time.monotonic() + 20
    while commit not in stamps.read_text():
        assert time.monotonic() < end, "the first process did not start within 20 s"
        await asyncio.sleep(0.005)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pushes", type=int, default=100)
    import uvloop

    uvloop.run(main(parser.parse_args().pushes))
