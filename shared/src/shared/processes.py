"""Child processes that cannot be left behind: own group, die with us, killed whole, found again by a mark after a crash."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared import tracing
from shared.errors import Broken, Unavailable
from shared.faults import point

MARK = "KIOPS_CHILD"
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class Finished:
    """How a child ended: its exit code (negative: the signal that killed it) and what it printed, cut at the limit."""

    code: int
    out: bytes
    err: bytes
    clipped: bool = False


class ChildTimeout(Unavailable):
    """The child did not end in time and was killed."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Whose child a process is: the platform's folder, the service and this instance of it."""

    root: str = ""
    service: str = ""
    instance: str = ""

    def value(self, job: Any = None) -> str:
        tail = f"{job.id}|{job.token}" if job is not None else "|"
        return f"{self.root}|{self.service}|{self.instance}|{tail}"


class Lines:
    """Puts lines together from the chunks in which they come, whatever the chunks' borders are.

    A line is told once and whole, so that a secret in it is seen as one. Of a line over 64 KiB the beginning is told and the rest
    dropped; what stands at the cut is dropped too, for it could be the half of a secret.
    """

    LONGEST = 64 * 1024
    AT_THE_CUT = 4 * 1024

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> list[bytes]:
        """The lines that are whole now, without their ends."""
        first, *others = chunk.split(b"\n")
        self._add(first)
        found = []
        for part in others:
            found.append(self.end())
            self._add(part)
        return found

    def end(self) -> bytes:
        """What has no end of line yet; afterwards nothing is left."""
        line = b"".join(self._pieces)
        if self._size > self.LONGEST:
            line = line[: self.LONGEST - self.AT_THE_CUT] + f" ... ({self._size} bytes)".encode()
        self._pieces, self._size = [], 0
        return line

    def _add(self, part: bytes) -> None:
        if part and self._size <= self.LONGEST:
            self._pieces.append(part)
        self._size += len(part)


mark = Mark()
"""Set once by the runtime when a process serves one service; with several the job carries its own."""


async def run_child(
    argv: Sequence[str | os.PathLike[str]],
    *,
    job: Any = None,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    on_line: Callable[[int, str], None] | None = None,
    stdin: bytes | None = None,
    timeout_seconds: float,
    max_output_bytes: int = 64 * 1024 * 1024,
    nice: int = 0,
) -> Finished:
    """Run a program to its end and return how it ended.

    Its environment is only `env`, a PATH and our mark. It has its own process group, gets SIGKILL when this process dies, and is
    killed with its whole group on cancel and after `timeout_seconds` (then raises ChildTimeout `child.timeout`). `on_line(stream,
    text)` hears every line (stream 1 or 2) as it comes. Output beyond `max_output_bytes` is dropped and `clipped` says so.
    Raises Broken `child.missing` when the program is not there.
    """
    words = [os.fspath(word) for word in argv]
    given = {"PATH": SYSTEM_PATH, **(env or {})}
    program = words[0] if "/" in words[0] else shutil.which(words[0], path=given["PATH"])
    if not program or not os.access(program, os.X_OK):
        raise Broken("child.missing", f"the program {words[0]} is not there", "Install it, or set its path.")
    owner = getattr(job, "mark", None) or mark
    given[MARK] = owner.value(job)
    # setpriv asks the kernel to kill the child when we die; doing it ourselves between fork and exec is not safe with threads.
    launch = ["/usr/bin/setpriv", "--pdeathsig", "KILL", "--", program, *words[1:]]
    if not os.path.exists(launch[0]):
        launch = launch[4:]
    if nice:
        launch = ["/usr/bin/nice", "-n", str(nice), *launch]
    about = {"process.executable.name": Path(words[0]).name}
    with tracing.span(f"run {Path(words[0]).name}", about) as span:
        finished = await _to_its_end(launch, Path(words[0]).name, cwd, given, on_line, stdin, timeout_seconds, max_output_bytes)
        span.note("process.exit.code", finished.code)
    return finished


async def _to_its_end(
    launch: Sequence[str],
    name: str,
    cwd: Path | None,
    given: Mapping[str, str],
    on_line: Callable[[int, str], None] | None,
    stdin: bytes | None,
    timeout_seconds: float,
    max_output_bytes: int,
) -> Finished:
    child = await asyncio.create_subprocess_exec(
        *launch,
        cwd=cwd,
        env=given,
        stdin=asyncio.subprocess.PIPE if stdin is not None else asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    point("child.started")
    left = [max_output_bytes]

    async def read(stream: asyncio.StreamReader, number: int) -> bytes:
        kept: list[bytes] = []
        lines = Lines()
        while chunk := await stream.read(65536):
            part = chunk[: max(left[0], 0)]
            left[0] -= len(chunk)
            kept.append(part)
            if on_line:
                for line in lines.feed(chunk):
                    on_line(number, line.decode("utf-8", "replace").rstrip("\r"))
        if on_line and (rest := lines.end()):
            on_line(number, rest.decode("utf-8", "replace"))
        return b"".join(kept)

    async def feed() -> None:
        if stdin is not None and child.stdin:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                child.stdin.write(stdin)
                await child.stdin.drain()
            child.stdin.close()

    assert child.stdout and child.stderr
    try:
        async with asyncio.timeout(timeout_seconds):
            out, err, _, code = await asyncio.gather(read(child.stdout, 1), read(child.stderr, 2), feed(), child.wait())
    except TimeoutError:
        raise ChildTimeout("child.timeout", f"{name} did not end within {timeout_seconds:g} s and was stopped") from None
    finally:
        await _end(child)
    point("child.ended")
    return Finished(code, out, err, clipped=left[0] < 0)


async def _end(child: asyncio.subprocess.Process) -> None:
    """Kill what is left of the group, and wait for the child so that no zombie stays."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    if child.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        await asyncio.shield(child.wait())


def leftovers(root: str, service: str, instance: str = "") -> list[int]:
    """Processes that an earlier instance of this service started and that still live."""
    prefix = f"{MARK}={root}|{service}|".encode()
    ours = f"{MARK}={root}|{service}|{instance}|".encode()
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        try:
            with open(f"/proc/{name}/environ", "rb") as file:
                entries = file.read().split(b"\0")
        except OSError:
            continue
        if any(entry.startswith(prefix) and not (instance and entry.startswith(ours)) for entry in entries):
            found.append(int(name))
    return found


def sweep(root: str, service: str, instance: str) -> list[int]:
    """Kill the leftovers of earlier instances. Returns their process ids."""
    found = leftovers(root, service, instance)
    for pid in found:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
    return found
