"""Each write path meets a full disk: it is told by name, nothing is lost, and all goes on by itself when there is room again."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from builder.settings import BuilderSettings
from builder.wiring import wire as builder_wire
from shared.bootstrap import bootstrap
from shared.bus import SERVICES, Bus
from shared.errors import Unavailable
from shared.facts.builder import BuildCancelled
from shared.testing.nats import NatsServer, binary

from kiops.chaos import stand_ins
from kiops.chaos.member import wire_of
from kiops.nats import server
from shared import tasks
from tests.faults.disks import fill, free, resize, small_disk
from tests.flows.conftest import Town, town_of

__all__ = ["small_disk"]
ROOMY = 2048  # nats-server reserves what a stream may grow to; a tmpfs takes only what is used
# A folder is the disk of a service on SQLite; what PostgreSQL says is in test_database_trouble.py.
pytestmark = pytest.mark.one_database
REPOSITORY = Path(__file__).parents[2]
DISKS = (*(f"services/{name}" for name in SERVICES), "objects")


@pytest.fixture
async def cramped(platform: Any, nats: Any, tmp_path: Path, small_disk: Callable[[Path, int], Path]) -> AsyncIterator[Town]:
    """A town in which every service and the object store have a small disk each."""
    for name in DISKS:
        small_disk(nats.root / name, 12)
    async with town_of(platform, tmp_path, build=0.2) as town:
        await town.register()
        yield town


@pytest.mark.slow
async def test_every_disk_is_full_once_and_every_run_ends_well(cramped: Town, nats: Any) -> None:
    town = cramped
    number = 0
    for name in ("webhook", "builder", "scanner", "gate", "deployer", "operator-proxy", "gateway"):
        await town.until("quiet", town.platform.settled)
        disk = nats.root / "services" / name
        fill(disk)
        answer = await town.push()
        if name == "webhook":
            assert answer.status_code == 503, answer.text
            assert answer.json()["code"] == "database.full" and "Make room" in answer.json()["advice"]
            assert answer.headers["retry-after"]
        else:
            assert answer.status_code == 202, answer.text
            number += 1

        async def told(name: str = name) -> bool:
            failing = (await town.platform.failing()).get(name, {})
            return "its disk is full" in failing.get("database", "")

        await town.until(f"{name} says that its disk is full", told)
        assert set(await town.platform.failing()) == {name}, "others are ready"
        free(disk)
        if name == "webhook":
            assert (await town.push()).status_code == 202
            number += 1
        assert (await town.ended(number))["state"] == "success", name
    await town.until("quiet", town.platform.settled)
    rows = (await town.client.get("/api/v1/runs?limit=50")).json()["items"]
    assert sorted(row["number"] for row in rows) == list(range(1, number + 1)), "what was refused made no run"


@pytest.mark.slow
async def test_a_log_or_report_that_cannot_be_kept_is_tried_again(cramped: Town, nats: Any) -> None:
    town = cramped
    await town.until("quiet", town.platform.settled)
    fill(nats.root / "objects")
    assert (await town.push()).status_code == 202
    job = town.platform.services["builder"].service.database.metadata.tables["job"]

    async def tried() -> bool:
        import sqlalchemy as sa

        async with town.platform.services["builder"].service.database.read() as tx:
            return bool(await tx.scalar(sa.select(sa.func.max(job.c.failures))))

    await town.until("a try that failed", tried)
    free(nats.root / "objects")
    assert (await town.ended(1))["state"] == "success"
    assert not [path for path in (nats.root / "objects").rglob(".*") if path.is_file()], "no half objects are left"


@pytest.mark.slow
@pytest.mark.parametrize("what", ["what is fetched", "what is checked out"])
async def test_a_repository_that_does_not_fit_ends_its_run_by_name_and_leaves_nothing(
    platform: Any, nats: Any, tmp_path: Path, git: Path, small_disk: Callable[[Path, int], Path], what: str
) -> None:
    """Git's own write fails: of what comes over the wire, or only when files that compress well are written out."""
    disk = small_disk(nats.root / "services" / "builder" / "work", 4)
    repository = nats.root / "demo" / "shop.git"
    big = os.urandom(6 << 20) if what == "what is fetched" else b"harbour and quay\n" * 600_000
    commits = _commits(git, repository, [big, b"small\n"])
    wires = {name: wire_of(name, tmp_path / "stamps") for name in SERVICES}
    images = stand_ins.Images(tmp_path / "stamps", 0.05)
    wires["builder"] = lambda host: builder_wire(host, BuilderSettings(slots=2), buildkit=images)  # with git itself
    async with town_of(platform, tmp_path, wires=wires) as town:
        await town.register(repository=str(repository))
        assert (await town.push(commit=commits[0])).status_code == 202
        run = await town.ended(1)
        assert run["state"] == "failed", run
        build = (await town.client.get(f"/api/v1/builds/{run['build']['id']}")).json()
        assert build["code"] == "source.disk_full" and "Make room" in build["advice"], build
        assert list(disk.iterdir()) == [], "nothing of it is left"
        assert (await town.push(commit=commits[1])).status_code == 202
        assert (await town.ended(2))["state"] == "success", "what fits goes its way"
        assert list(disk.iterdir()) == []


def _commits(git: Path, bare: Path, contents: list[bytes]) -> list[str]:
    """A repository with a commit for each of these contents of one file, and their ids."""
    tree = bare.with_suffix(".tree")
    tree.mkdir(parents=True)
    environment = {"PATH": os.environ["PATH"], "HOME": str(tree), "GIT_CONFIG_NOSYSTEM": "1"}

    def call(*words: str) -> str:
        about = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "init.defaultBranch=main"]
        command = [str(git), *about, *words]
        return subprocess.run(command, cwd=tree, env=environment, check=True, capture_output=True, text=True).stdout.strip()

    call("init", "-q")
    found = []
    for content in contents:
        (tree / "cargo").write_bytes(content)
        (tree / "Dockerfile").write_text("FROM scratch\n")
        call("add", "-A")
        call("commit", "-q", "-m", "Load")
        found.append(call("rev-parse", "HEAD"))
    call("clone", "-q", "--bare", str(tree), str(bare))
    return found


@pytest.mark.slow
async def test_nats_server_without_room_keeps_the_outbox_waiting(
    platform: Any, nats: Any, tmp_path: Path, small_disk: Callable[[Path, int], Path]
) -> None:
    nats.stop()
    store = small_disk(nats.root / "bus" / "store", ROOMY)
    nats.start()
    async with town_of(platform, tmp_path, build=0.2) as here:
        await here.register()
        await here.until("quiet", here.platform.settled)
        resize(store)
        for _ in range(3):
            assert (await here.push()).status_code == 202

        async def waits() -> bool:
            return any([await each.relay.unsent() for each in here.platform.services.values()])

        await here.until("an outbox that waits", waits)
        await asyncio.sleep(1)
        assert await waits() and not await here.platform.settled()
        resize(store, ROOMY)
        nats.stop()  # it would refuse for ever; who runs it starts it again, as the next test shows
        nats.start()
        for number in (1, 2, 3):
            assert (await here.ended(number))["state"] in ("success", "superseded")


@dataclass(frozen=True)
class Running:
    """A nats-server that somebody starts again when it ends."""

    url: str
    keys: Path
    pid: Callable[[], int]


@contextlib.asynccontextmanager
async def beside_us(root: Path, busybox: Path) -> AsyncIterator[Running]:
    """As the launcher runs it."""
    async with server(root) as ours:
        yield Running(ours.url, ours.keys, lambda: ours.pid)


@contextlib.asynccontextmanager
async def in_a_container(root: Path, busybox: Path) -> AsyncIterator[Running]:
    """As compose.yaml runs it, with the shell of its image: what ends is started again."""
    nats = NatsServer(root)
    nats.start()  # makes keys and configuration
    nats.stop()
    pids: list[int] = []

    async def run() -> None:
        while True:
            child = await asyncio.create_subprocess_exec(
                "/usr/bin/setpriv", "--pdeathsig", "KILL", str(busybox), "sh", "container/nats.sh",
                str(root / "bus" / "nats.conf"), str(root / "bus" / "store"), cwd=REPOSITORY,
                env={"PATH": f"{Path(binary()).parent}:/usr/bin:/bin"},
                stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
            )  # fmt: skip
            pids.append(child.pid)
            try:
                await child.wait()
            finally:
                if child.returncode is None:  # as `docker stop`
                    child.terminate()
                    async with asyncio.timeout(15):
                        await child.wait()

    running = asyncio.create_task(run())
    try:
        async with asyncio.timeout(15):
            while True:
                with contextlib.suppress(OSError):
                    (await asyncio.open_connection("127.0.0.1", nats.port))[1].close()
                    break
                await asyncio.sleep(0.05)
        yield Running(nats.url, nats.keys, lambda: pids[-1])
    finally:
        await tasks.end(running)


@pytest.mark.slow
@pytest.mark.parametrize("run", [beside_us, in_a_container])
async def test_a_nats_server_that_could_not_write_is_started_again(
    tmp_path: Path, small_disk: Callable[[Path, int], Path], busybox: Path, run: Any
) -> None:
    """After one write that failed nats-server stores nothing more in that stream: it is started again when there is room."""
    store = small_disk(tmp_path / "bus" / "store", ROOMY)
    async with run(tmp_path, busybox) as ours:
        first = ours.pid()
        await bootstrap(ours.url, ours.keys)
        bus = Bus("builder", ours.url, ours.keys / "builder.nk")
        await bus.open()
        about = {"organisation": "main", "service": "svc_1", "run": "run_1", "number": 1, "build": "bld_1"}
        fact = BuildCancelled(**about, reason="x" * 5000, duration_ms=1)

        async def stored() -> bool:
            try:
                reply = await bus.request(fact.subject, fact.model_dump_json().encode(), timeout_seconds=1)
            except Unavailable:
                return False
            return "seq" in json.loads(reply.data)

        assert await stored()
        resize(store)
        while await stored():
            pass
        assert ours.pid() == first
        resize(store, ROOMY)
        async with asyncio.timeout(40):
            while not await stored():
                await asyncio.sleep(0.2)
        assert ours.pid() != first
        await bus.close()
