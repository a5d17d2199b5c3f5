"""What stands for the tools outside: nothing, or one child process that writes the time it began to run.

Which steps have such a child is said by name: `fetch` (the first process of a build), `build`, `scan` (of the image). The rest
is done at once and is clean.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from pathlib import Path
from typing import Any

from shared.processes import run_child

from kiops.chaos import stand_ins

SCRIPT = 'echo "$1 $2 $EPOCHREALTIME" >> "$3"'


async def child(what: str, name: str, stamps: Path, job: Any = None) -> None:
    """Run the child to its end: a line `what name seconds-since-1970`."""
    await run_child(["/bin/bash", "-c", SCRIPT, "bash", what, name, str(stamps)], job=job, timeout_seconds=30)


class Sources(stand_ins.Sources):
    """Git's place in builder."""

    def __init__(self, stamps: Path, children: Collection[str]) -> None:
        super().__init__(stamps, 0)
        self.children = children

    async def fetch(self, repository_url: str, commit: str, folder: Path, *, job: Any = None, **_: Any) -> Any:
        from builder.clients.git import Fetched

        if "fetch" in self.children:
            await child("fetch", commit, self.stamps, job)
        (folder / "source").mkdir(parents=True)
        return Fetched(folder / "source", 1, "Ada", "a change", 1)


class Images(stand_ins.Images):
    """BuildKit's place. With `log` it prints lines of the job's log as a build would."""

    def __init__(self, stamps: Path, children: Collection[str], lines: int = 0, pause: float = 0.0) -> None:
        super().__init__(stamps, 0)
        self.children, self.lines, self.pause = children, lines, pause

    async def build(self, plan: Any, *, job: Any = None) -> AsyncIterator[Any]:
        from builder.domain.steps import Built

        async for line in self._printed():
            yield line
        if "build" in self.children:
            await child("build", job.run, self.stamps, job)
        yield Built(image_id=f"sha256:{job.run[-32:]:0>64}", size_bytes=1, steps=1, dockerfile="FROM scratch\n")

    async def _printed(self) -> AsyncIterator[Any]:
        import time

        from builder.domain.steps import Line

        for number in range(self.lines):
            yield Line(1, 1, f"printed {number} {time.time():.6f} {'x' * 40}")
            if self.pause:
                await asyncio.sleep(self.pause)


class Engines(stand_ins.Engines):
    """The scan engines' place."""

    def __init__(self, stamps: Path, children: Collection[str]) -> None:
        super().__init__(stamps, 0)
        self.children = children

    async def source_areas(self, source: Any, *, dockerfile: str, job: Any) -> AsyncIterator[Any]:
        for area in ("secrets", "sast", "iac"):
            yield self._clean(area)

    async def image_areas(self, image_id: str, *, is_sample: bool, job: Any) -> AsyncIterator[Any]:
        if "scan" in self.children:
            await child("scan", job.run, self.stamps, job)
        for area in ("sca", "sbom", "license", "image"):
            yield self._clean(area)
