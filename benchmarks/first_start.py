"""First start on a clean machine, against the same apt and pip downloads alone. Takes minutes and some hundred megabytes.

    python -m benchmarks.first_start --download [--rounds 3]

Not part of `python -m benchmarks`: it fetches everything anew in each round. The product is `./kiops up` with an empty KIOPS_HOME
and empty caches, until its API says that the platform is ready. The floor is what that fetches, fetched alone by the ordinary
clients: the packages of the same locks with `pip download`, and the Debian packages that are missing with `apt-get download` into
a folder. On a machine where the Debian packages are there already (it is told which were missing) neither side fetches them.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from shared.testing.nats import free_port

from benchmarks.common import Figure, Series, others_busy, report

ROOT = Path(__file__).parents[1]
LOCKS = ("bootstrap", "build", "all", "tools-semgrep", "tools-binaries", "tools-edge")
LONGEST_SECONDS = 1800


def measure(rounds: int) -> dict[str, Any]:
    floor, product = Series(), Series()
    packages = missing_packages()
    for number in range(rounds):
        parts = (downloads, first_start) if number % 2 == 0 else (first_start, downloads)
        for part in parts:
            with tempfile.TemporaryDirectory(prefix="kiops-first-") as folder, others_busy() as busy:
                seconds = part(Path(folder), packages)
            (floor if part is downloads else product).add(seconds, others=busy.cores)
    figure = Figure("first start on a clean machine", "s", product, floor, 1.4, 1.15, judged="ratio")
    return report(figure, packages_missing=packages)


def missing_packages() -> list[str]:
    """Debian packages that `./kiops up` would install here."""
    sys.path.insert(0, str(ROOT / "src"))
    from kiops.setup import apt

    groups = (apt.SOURCE, apt.PYTHON, apt.ENGINE, apt.BASE_IMAGE)
    return [name for group in groups for name in apt.missing(group)]


def clean(folder: Path) -> dict[str, str]:
    """An environment with a home and caches of its own."""
    own = {
        "HOME": folder / "home",
        "KIOPS_HOME": folder / "kiops",
        "XDG_CACHE_HOME": folder / "cache",
        "UV_CACHE_DIR": folder / "uv",
    }
    for path in own.values():
        path.mkdir(parents=True, exist_ok=True)
    return {**os.environ, **{name: str(path) for name, path in own.items()}, "PIP_NO_CACHE_DIR": "1"}


def downloads(folder: Path, packages: list[str]) -> float:
    """Seconds to fetch alone."""
    environment = clean(folder)
    target = folder / "fetched"
    target.mkdir()
    pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--disable-pip-version-check", "-d", str(target)]
    began = time.monotonic()
    for lock in LOCKS:
        subprocess.run([*pip, "-r", str(ROOT / "requirements" / f"{lock}.txt")], env=environment, check=True)
    if packages:
        subprocess.run(["apt-get", "download", *packages], cwd=target, env=environment, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - began


def first_start(folder: Path, packages: list[str]) -> float:
    """Seconds from the command to the API's word that all is ready."""
    environment, port = clean(folder), free_port()
    command = [str(ROOT / "kiops"), "up", "--port", str(port)]
    with open(folder / "output", "wb") as log:
        began = time.monotonic()
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        while time.monotonic() - began < LONGEST_SECONDS:
            if process.poll() is not None:
                raise RuntimeError((folder / "output").read_text()[-2000:])
            if ready(folder / "kiops" / "data", port):
                return time.monotonic() - began
            time.sleep(0.05)
        raise TimeoutError(f"not ready within {LONGEST_SECONDS} s")
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(60)
        shutil.rmtree(folder / "kiops", ignore_errors=True)


def ready(data: Path, port: int) -> bool:
    with contextlib.suppress(OSError, urllib.error.URLError, ValueError, KeyError):
        token = (data / "cli.token").read_text().strip()
        asked = urllib.request.Request(f"http://127.0.0.1:{port}/api/v1/status", headers={"Authorization": f"Bearer {token}"})
        with urllib.request.urlopen(asked, timeout=5) as answer:
            return bool(json.load(answer)["ready"])
    return False


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--download", action="store_true", required=True, help="yes, fetch everything anew")
    parser.add_argument("--rounds", type=int, default=3, help="how often each side is measured")
    print(json.dumps(measure(parser.parse_args().rounds), indent=1))


if __name__ == "__main__":
    main()
