"""Each service installs alone, with nothing but its own lock, and starts alone: `python -m builder`."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from shared.testing.nats import NatsServer, free_port

from kiops import catalogue
from kiops.setup import python

ROOT = Path(__file__).resolve().parents[2]


def ready(port: int, name: str) -> dict[str, Any] | None:
    """What the service says about itself; None while it does not listen."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/-/{name}/readyz", timeout=2) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as answer:
        return json.load(answer)
    except OSError:
        return None


@pytest.mark.slow
@pytest.mark.parametrize("name", catalogue.NAMES)
def test_a_service_installs_and_starts_alone(name: str, tmp_path: Path, nats: NatsServer) -> None:
    """In an environment of its own lock no other service can be imported; it binds its durable and answers."""
    from shared.bootstrap import bootstrap

    package = catalogue.package(name)
    environment = tmp_path / "environment"
    members = [ROOT / "shared", ROOT / "services" / name]
    python.make(environment, ROOT / "requirements" / f"{name}.txt", members=members, compiled=False)
    interpreter = environment / "bin" / "python"
    for other in catalogue.NAMES:
        if other != name:
            code = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({catalogue.package(other)!r}) is not None)"
            assert subprocess.run([interpreter, "-c", code], cwd=tmp_path, check=False).returncode == 0, f"{name} sees {other}"

    asyncio.run(bootstrap(nats.url, nats.keys))
    port = free_port()
    env = {
        "PATH": os.environ["PATH"], "HOME": str(tmp_path), "KIOPS_HOME": os.environ.get("KIOPS_HOME", str(tmp_path)),
        "KIOPS_DATA": str(nats.root), "KIOPS_BUS_URL": nats.url, "KIOPS_PORT": str(port),
    }  # fmt: skip
    log = tmp_path / "log"
    with log.open("wb") as out:
        process = subprocess.Popen([interpreter, "-m", package], cwd=tmp_path, env=env, stdout=out, stderr=out)
    try:
        told: dict[str, Any] | None = None
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and process.poll() is None:
            told = ready(port, name)
            # What the service reaches outside (an engine, scan programs) may be away here: that is not what is asked.
            if told is not None and not {"database", "bus", "stream", "rights", "alive"} & set(told["failing"]):
                break
            time.sleep(0.05)
        else:
            raise AssertionError(f"{name} does not start: {told} {log.read_text()[-2000:]}")
    finally:
        process.terminate()
        code = process.wait(15)
    assert code == 0, log.read_text()[-2000:]
