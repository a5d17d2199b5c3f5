"""The nats-server beside us: found again on its port, started again when it dies, taken over, never left behind."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from shared.bootstrap import bootstrap
from shared.testing.parts import Parts

from kiops import nats


@pytest.fixture
def data(tmp_path: Path, parts: Parts) -> Path:
    parts.program(nats.program(), "--version", part="nats-server")
    return tmp_path / "data"


async def gone(pid: int) -> None:
    async with asyncio.timeout(5):
        while os.path.exists(f"/proc/{pid}") and "Z" not in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]:
            await asyncio.sleep(0.02)


async def test_it_answers_with_our_keys_and_ends_with_us(data: Path) -> None:
    async with nats.server(data) as ours:
        await bootstrap(ours.url, ours.keys)
        pid = ours.pid
        config = data / "bus" / "nats.conf"
        assert config.stat().st_mode & 0o777 == 0o600
        assert "sync_interval: always" in config.read_text() and "127.0.0.1" in config.read_text()
        assert ours.version.count(".") == 2
    await gone(pid)


async def test_killed_it_comes_back_on_the_same_port(data: Path) -> None:
    async with nats.server(data) as ours:
        first, port = ours.pid, ours.port
        os.kill(first, signal.SIGKILL)
        async with asyncio.timeout(10):
            while ours.pid in (0, first):
                await asyncio.sleep(0.02)
        assert ours.port == port
        await bootstrap(ours.url, ours.keys)


@pytest.mark.slow
async def test_a_second_process_uses_it_and_takes_over(data: Path) -> None:
    """Two processes, one nats-server; the holder is killed with -9: its child dies with it, the other starts one there."""
    code = (
        "import asyncio, sys\nfrom pathlib import Path\nfrom kiops import nats\n"
        "async def main():\n"
        "    async with nats.server(Path(sys.argv[1])) as ours:\n"
        "        print(ours.pid, ours.port, flush=True)\n"
        "        await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    holder = await asyncio.create_subprocess_exec(sys.executable, "-c", code, str(data), stdout=subprocess.PIPE)
    assert holder.stdout
    child, port = map(int, (await holder.stdout.readline()).split())
    async with nats.server(data) as ours:
        assert (ours.pid, ours.port) == (0, port)
        holder.kill()
        await holder.wait()
        await gone(child)
        async with asyncio.timeout(10):
            while not ours.pid:
                await asyncio.sleep(0.02)
        assert ours.port == port
        assert json.loads((data / "bus" / "server.json").read_text())["pid"] == ours.pid
        await bootstrap(ours.url, ours.keys)
