"""This suite's props: the real engines, repositories and images made here, jobs without a queue."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import tarfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from scanner.scanners.program import Program
from scanner.settings import ScannerSettings
from scanner.wiring import wire
from shared.processes import Mark
from shared.testing.parts import Parts

from services.scanner.tests.serving import Props

KEY = bytes(range(32))
DEBIAN: dict[str, str | bytes] = {
    "etc/os-release": 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\nVERSION_ID="12"\n',
    "etc/debian_version": "12.5\n",
    "var/lib/dpkg/status": (
        "Package: zlib1g\nStatus: install ok installed\nArchitecture: amd64\nSource: zlib\nVersion: 1:1.2.13.dfsg-1\n\n"
        "Package: libc6\nStatus: install ok installed\nArchitecture: amd64\nSource: glibc\nVersion: 2.36-9+deb12u4\n\n"
    ),
    "usr/share/doc/zlib1g/copyright": "License: Zlib\n",
}


def aws_key(seed: str = "one") -> str:
    """Looks like an access key and is none; made when the test runs, so that no commit of ours holds one."""
    digest = hashlib.sha256(seed.encode()).digest()
    return "AKI" + "A" + "".join("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"[byte % 32] for byte in digest[:16])


@dataclass
class Attempt:
    """A job as far as engines know it."""

    folder: Path
    id: str = "job_test"
    token: int = 1
    mark: Mark = field(default_factory=lambda: Mark("/test", "scanner", "one"))


@pytest.fixture
def job(tmp_path: Path) -> Attempt:
    folder = tmp_path / "job"
    folder.mkdir()
    return Attempt(folder)


@pytest.fixture(scope="session")
def gitleaks(parts: Parts) -> Program:
    return Program("gitleaks", parts.program("gitleaks", "version"), nice=0, seconds=60)


@pytest.fixture(scope="session")
def semgrep(parts: Parts) -> Program:
    # Without this Semgrep asks the network whether there is a newer one, and waits more than a minute where there is none.
    os.environ["SEMGREP_ENABLE_VERSION_CHECK"] = "0"
    return Program("semgrep", parts.program("semgrep"), nice=0, seconds=120)


@pytest.fixture(scope="session")
def trivy(parts: Parts) -> Program:
    return Program("trivy", parts.program("trivy"), nice=0, seconds=120)


@pytest.fixture
def stand_in(tmp_path: Path) -> Callable[..., Program]:
    """A program that does what a shell script says, for engines that crash, hang or write nonsense."""

    def make(name: str, script: str, *, version: str = "1.2.3", seconds: int = 20) -> Program:
        path = tmp_path / "stand-ins" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(
            f'#!/bin/sh\ncase "$1" in version|--version) echo "{version}"; exit 0 ;; esac\n'
            'out=""; before=""\nfor word in "$@"; do [ "$before" = --output ] && out="$word"; before="$word"; done\n' + script
        )
        path.chmod(0o755)
        return Program(name, path, nice=0, seconds=seconds)

    return make


class Repository:
    """A Git repository made with the git program."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        self.git("init", "--quiet", "--initial-branch=main")

    def git(self, *words: str) -> str:
        env = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_AUTHOR_NAME": "Ada",
            "GIT_AUTHOR_EMAIL": "ada@example.org",
            "GIT_COMMITTER_NAME": "Ada",
            "GIT_COMMITTER_EMAIL": "ada@example.org",
        }
        done = subprocess.run(["git", *words], cwd=self.folder, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def commit(self, files: dict[str, str | bytes | None], message: str = "change") -> str:
        """Write (None: remove) and commit; the commit's id."""
        for name, content in files.items():
            path = self.folder / name
            if content is None:
                path.unlink()
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        self.git("add", "--all", "--force")
        self.git("commit", "--quiet", "--allow-empty", "-m", message)
        return self.git("rev-parse", "HEAD")


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "repository")


def layer(files: dict[str, str | bytes]) -> bytes:
    """One layer of an image with these files; a name whose last part begins with .wh. takes a file away."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in sorted(files.items()):
            data = content.encode() if isinstance(content, str) else content
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def python_package(name: str, version: str, licence: str = "MIT") -> dict[str, str | bytes]:
    """The files by which an installed Python package is known."""
    folder = f"usr/lib/python3/dist-packages/{name}-{version}.dist-info"
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", *([f"License: {licence}"] if licence else [])]
    return {f"{folder}/METADATA": "\n".join(lines) + "\n", f"{folder}/RECORD": "\n"}


def save_image(to: Path, *layers: dict[str, str | bytes], environment: tuple[str, ...] = (), user: str = "1000") -> str:
    """Write an image's archive, as `docker save` does, and return the image id. No engine is needed."""
    packed = [layer(files) for files in layers]
    digests = [hashlib.sha256(one).hexdigest() for one in packed]
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "created": "2026-11-01T00:00:00Z",
            "config": {"Env": list(environment), "Cmd": ["/app"], "User": user},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}" for digest in digests]},
            "history": [{"created_by": "COPY . /"} for _ in digests],
        }
    ).encode()
    image = hashlib.sha256(config).hexdigest()
    paths = [f"{digest}/layer.tar" for digest in digests]
    manifest = json.dumps([{"Config": f"{image}.json", "RepoTags": [f"kiops-test/scan:{image[:12]}"], "Layers": paths}]).encode()
    with tarfile.open(to, "w") as tar:
        for path, data in [(f"{image}.json", config), *zip(paths, packed, strict=True), ("manifest.json", manifest)]:
            entry = tarfile.TarInfo(path)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return f"sha256:{image}"


@pytest.fixture(scope="session")
def props() -> Any:
    """Functions that make things: props.save_image, props.python_package, props.aws_key, props.DEBIAN, props.KEY."""
    return SimpleNamespace(
        save_image=save_image, python_package=python_package, aws_key=aws_key, DEBIAN=DEBIAN, KEY=KEY, Attempt=Attempt
    )


@pytest.fixture
def scanning(platform: Any, tmp_path: Path) -> Any:
    """Run the service: `async with scanning(git=..., engines=..., **settings) as props`."""

    @asynccontextmanager
    async def run(git: Any = None, engines: Any = None, **settings: Any) -> AsyncIterator[Props]:
        chosen = ScannerSettings(**({"source_roots": [tmp_path], "engine_nice": 0, "data_download_hours": 0} | settings))
        async with platform({"scanner": lambda host: wire(host, chosen, git=git, engines=engines)}) as running:
            yield Props(running)

    return run
