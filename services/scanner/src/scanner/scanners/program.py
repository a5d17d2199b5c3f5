"""The program of an engine: is it there, which version, which checksum; and one way to run it."""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.errors import KiopsError
from shared.processes import Finished, run_child

from scanner.errors import EngineMissing, EngineRefused

# Releases whose published programs were malicious (CVE-2026-33634): never run them, whoever installed them.
REFUSED = {"trivy": {"0.69.4", "0.69.5", "0.69.6"}}
# Semgrep takes seconds to say its version and writes it into every report: it is taken from there.
VERSION_ARGUMENTS = {"gitleaks": ["version"], "trivy": ["--version"]}
ENVIRONMENT = {"LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", "SEMGREP_ENABLE_VERSION_CHECK": "0", "NO_COLOR": "1"}


@dataclass(frozen=True)
class Known:
    """What a program says of itself and what it is."""

    version: str
    sha256: str


@dataclass(frozen=True)
class Ran:
    """How a run of an engine ended, and how long it took."""

    code: int
    out: bytes
    err: str
    clipped: bool
    duration_ms: int


class Program:
    """One engine's program. Version and checksum are asked for once per file (its size and time tell whether it changed)."""

    def __init__(self, name: str, path: Path, *, sha256: str = "", nice: int = 10, seconds: int = 600) -> None:
        self.name, self.path, self.nice, self.seconds = name, path, nice, seconds
        self._wanted = sha256.lower()
        self._known: tuple[tuple[int, int], Known] | None = None

    async def known(self, job: Any, home: Path) -> Known:
        """Version (empty when its reports say it) and SHA-256. Raises EngineMissing, EngineRefused."""
        try:
            status = self.path.stat()
        except OSError:
            raise EngineMissing(self.name, self.path) from None
        mark = (status.st_size, status.st_mtime_ns)
        if self._known and self._known[0] == mark:
            return self._known[1]
        sha256 = await asyncio.to_thread(_sha256, self.path)
        if self._wanted and sha256 != self._wanted:
            raise EngineRefused(self.name, f"its SHA-256 is {sha256[:12]}…, not the configured one")
        version = ""
        if arguments := VERSION_ARGUMENTS.get(self.name):
            ran = await self.run(arguments, job=job, home=home, seconds=60)
            found = re.search(r"\d+\.\d+\.\d+\S*", ran.out.decode("utf-8", "replace")) if ran.code == 0 else None
            version = found[0] if found else ""
        if version in REFUSED.get(self.name, ()):
            raise EngineRefused(self.name, f"version {version} was published by an attacker")
        known = Known(version, sha256)
        if version or not arguments:
            self._known = (mark, known)
        return known

    async def run(
        self,
        arguments: Sequence[str],
        *,
        job: Any,
        home: Path,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        seconds: int | None = None,
    ) -> Ran:
        """Run it with a private HOME and TMPDIR below `home`. Raises EngineMissing; a time-out comes as ChildTimeout."""
        if not self.path.exists():
            raise EngineMissing(self.name, self.path)
        temporary = home / "tmp"
        temporary.mkdir(parents=True, exist_ok=True)
        began = time.monotonic()
        try:
            finished: Finished = await run_child(
                [self.path, *arguments],
                job=job,
                cwd=cwd or home,
                env={**ENVIRONMENT, "HOME": str(home), "TMPDIR": str(temporary), **(env or {})},
                timeout_seconds=seconds or self.seconds,
                nice=self.nice,
            )
        except KiopsError as error:
            if error.code == "child.missing":
                raise EngineMissing(self.name, self.path) from None
            raise
        took = int((time.monotonic() - began) * 1000)
        return Ran(finished.code, finished.out, finished.err.decode("utf-8", "replace"), finished.clipped, took)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def last_words(text: str, most: int = 300) -> str:
    """The last lines an engine wrote, for a reason: without times and colours, on one line."""
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line).strip() for line in text.splitlines()]
    joined = " · ".join(line for line in lines if line)
    return joined[-most:]
