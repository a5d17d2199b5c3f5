"""The whole story on real parts: seven services, nats-server, the engine, the edge, the scan engines; nothing swapped."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from shared.platform import platform_id
from shared.testing.nats import free_port
from shared.testing.parts import DockerEngine, Parts

from kiops.demo import remove
from kiops.demo.engine import Engine

PATIENCE_SECONDS = 90
SOURCE = Path(__file__).parents[2] / "src"


@dataclass(frozen=True)
class Platform:
    """A platform that serves: where, and its data folder."""

    url: str
    root: Path

    @property
    def token(self) -> str:
        return (self.root / "cli.token").read_text().strip()

    def get(self, path: str) -> object:
        headers = {"Authorization": f"Bearer {self.token}"}
        return httpx.get(f"{self.url}/api/v1{path}", headers=headers, timeout=30).raise_for_status().json()


@pytest.fixture
def served(tmp_path: Path, docker_engine: DockerEngine, parts: Parts) -> Iterator[Platform]:
    """`kiops serve all` as a process, with an edge on ports of its own; everything it made is removed."""
    # Semgrep asks for a newer version of itself unless told not to, and waits a minute where there is no network.
    asked = {"gitleaks": ["version"], "trivy": ["--version"], "traefik": ["version"]}
    for program, words in (asked | {"semgrep": ["--version", "--disable-version-check"]}).items():
        parts.program(program, *words)
    root, port = tmp_path / "data", free_port()
    environment = os.environ | {
        "PYTHONPATH": str(SOURCE),
        "OPERATOR_PROXY_EDGE_PORT": str(free_port()),
        "OPERATOR_PROXY_POOL_FIRST_PORT": str(free_port()),
        "OPERATOR_PROXY_POOL_PORTS": "1",
        "DOCKER_HOST": docker_engine.url,
        "OPERATOR_PROXY_ENGINE_SOCKET": docker_engine.socket,
    }
    argv = [sys.executable, "-m", "kiops", "serve", "all", "--data", str(root), "--port", str(port)]
    log = tmp_path / "served.log"
    with log.open("wb") as out:
        process = subprocess.Popen(argv, env=environment, stdout=out, stderr=out, start_new_session=True)
    try:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while b" ready after " not in log.read_bytes():
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()[-3000:]
            time.sleep(0.2)
        yield Platform(f"http://127.0.0.1:{port}", root)
    finally:
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(30)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        from operator_proxy.cleanup import remove_all

        list(remove(root))
        asyncio.run(remove_all(platform_id(root), socket=Path(docker_engine.socket)))


def tell(platform: Platform) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "kiops.demo", platform.url, str(platform.root)],
        input=platform.token,
        env=os.environ | {"PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )


def test_the_journey_is_told_twice_and_taken_away(served: Platform) -> None:
    """Three pushes and a rollback, by an outsider: exit code 0 says that every check of the story held."""
    for _ in range(2):
        done = tell(served)
        assert done.returncode == 0, done.stdout + done.stderr
        assert re.search(r"✗ gate\s+blocked: secrets\.none", done.stdout)
        assert re.search(r"→ 0 of [\d,]+ requests failed across both switches", done.stdout)
        assert "byte for byte" in done.stdout
        assert "\x1b" not in done.stdout, "plain lines without a terminal"

    runs = served.get("/runs?service=sample-shop&limit=50")["items"]  # type: ignore[index]
    states = [run["state"] for run in reversed(runs)]
    assert states == ["success", "blocked", "success", "success"] * 2
    assert [run["number"] for run in reversed(runs)] == list(range(1, 9))

    service = served.get("/services/sample-shop")["id"]  # type: ignore[index]
    said = list(remove(served.root))
    assert said[0] == "sample-shop left the catalogue"
    assert served.get("/services")["items"] == []  # type: ignore[index]
    engine = Engine()
    assert engine.containers(f"kiops.service={service}") == []
    assert engine.images(f"org.kiops.service={service}") == []
    assert not (served.root / "demo").exists()


def test_a_story_that_goes_otherwise_ends_with_exit_code_1(served: Platform) -> None:
    """Nobody may read a success out of a demo that had none; here the API refuses its token."""
    done = subprocess.run(
        [sys.executable, "-m", "kiops.demo", served.url, str(served.root)],
        input="not the token",
        env=os.environ | {"PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 1
    assert "Everything is in the browser" not in done.stdout
    assert re.search(r"^  code\s+\S+$", done.stdout, re.MULTILINE)
