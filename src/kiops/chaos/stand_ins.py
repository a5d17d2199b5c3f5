"""What stands for the tools outside: a real child process that carries the job's token and writes its own file.

The file is append-only and belongs to the child: a line `begin <what> <run> <token> <pid>` before its work and one `end ...` after
it. What ran, how often and in which order is judged from there, not from what the services say of themselves.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from shared.database import Tx
from shared.errors import KiopsError
from shared.jobs import Job
from shared.processes import run_child
from shared.words import Phase

# One write each of less than a page: lines of children that run beside each other do not mix (pipe and file appends, POSIX).
SCRIPT = 'echo "begin $1 $2 $3 $$" >> "$4"; [ "$5" = 0 ] || sleep "$5"; echo "end $1 $2 $3 $$" >> "$4"'


async def stamp(what: str, job: Any, stamps: Path, seconds: float) -> None:
    """Run the child to its end."""
    done = await run_child(
        ["/bin/sh", "-c", SCRIPT, "sh", what, job.run, str(job.token), str(stamps), f"{seconds:g}"], job=job, timeout_seconds=60
    )
    if done.code:
        raise KiopsError("stand_in.failed", f"the child ended with {done.code}")


class Sources:
    """Stands for Git in builder."""

    def __init__(self, stamps: Path, seconds: float) -> None:
        self.stamps, self.seconds = stamps, seconds

    async def fetch(self, repository_url: str, commit: str, folder: Path, *, job: Any = None, **_: Any) -> Any:
        from builder.clients.git import Fetched

        source = folder / "source"
        source.mkdir(parents=True, exist_ok=True)
        (source / "Dockerfile").write_text("FROM scratch\n")
        if self.seconds:
            await stamp("fetch", job, self.stamps, self.seconds)
        return Fetched(source, 1, "Ada", "a change", 1)


class Images:
    """Stands for BuildKit and the engine's store in builder."""

    def __init__(self, stamps: Path, seconds: float) -> None:
        self.stamps, self.seconds = stamps, seconds

    async def ready(self) -> None:
        return None

    async def abilities(self) -> Any:
        from builder.domain.plan import Abilities

        return Abilities("29.0.0", True)

    async def build(self, plan: Any, *, job: Any = None) -> AsyncIterator[Any]:
        from builder.domain.steps import Built

        await stamp("build", job, self.stamps, self.seconds)
        yield Built(image_id=f"sha256:{job.run[-32:]:0>64}", size_bytes=1, steps=1, dockerfile="FROM scratch\n")

    async def tag(self, image_id: str, name: str, version: str) -> None:
        return None

    async def exists(self, image_id: str) -> bool:
        return True

    async def remove(self, image_id: str) -> bool:
        return True

    async def sweep(self, job: str, before: int) -> list[str]:
        return []


class ScannedSources:
    """Stands for Git in scanner."""

    async def fetch(self, *args: Any, **options: Any) -> Any:
        return SimpleNamespace(repository=Path("/"), tree=Path("/"), commit="0" * 40, commits=1, files=1, shallow=False)


class Engines:
    """Stands for the scan engines: every area is completed and clean."""

    def __init__(self, stamps: Path, seconds: float) -> None:
        self.stamps, self.seconds = stamps, seconds

    def _clean(self, area: str) -> Any:
        from scanner.domain.evidence import AreaScan
        from shared.words import Area, ScanState

        return AreaScan(area=Area(area), state=ScanState.COMPLETED, coverage={"files": 1})

    async def source_areas(self, source: Any, *, dockerfile: str, job: Any) -> AsyncIterator[Any]:
        await stamp("scan-source", job, self.stamps, self.seconds)
        for area in ("secrets", "sast", "iac"):
            yield self._clean(area)

    async def image_areas(self, image_id: str, *, is_sample: bool, job: Any) -> AsyncIterator[Any]:
        await stamp("scan-image", job, self.stamps, self.seconds)
        for area in ("sca", "sbom", "license", "image"):
            yield self._clean(area)


class Placing:
    """Stands for the engine and the edge in operator-proxy: the child's `deploy` line is the switch."""

    def __init__(self, handlers: Any, stamps: Path, seconds: float) -> None:
        self.handlers, self.stamps, self.seconds = handlers, stamps, seconds

    async def run(self, job: Job) -> None:
        from operator_proxy import store
        from operator_proxy.domain.placing import Wanted
        from operator_proxy.handlers import APPLY, WATCH_JOB

        if job.payload["action"] != APPLY:
            return
        wanted = Wanted(**job.payload["wanted"])
        async with job.progress() as tx:
            await self.handlers.observed(tx, wanted, Phase.STARTING, step=1, steps=4, text="starting", attempt=job.token)
        await stamp("deploy", job, self.stamps, self.seconds)
        async with job.progress() as tx:
            await store.now_serves(
                tx,
                wanted.target,
                self.handlers.clock.now_ms(),
                release=wanted.release,
                release_number=wanted.number,
                release_fence=wanted.fence,
                run=wanted.run,
                container="c",
                image_id=wanted.image_id,
                url="http://127.0.0.1/",
            )
            await self.handlers.observed(tx, wanted, Phase.SWITCHED, step=3, steps=4, text="switched", attempt=job.token)
        async with job.finish() as tx:
            await store.end_placement(tx, wanted.release, wanted.fence, store.PLACED, self.handlers.clock.now_ms())
            await self.handlers.observed(
                tx,
                wanted,
                Phase.HEALTHY,
                step=4,
                steps=4,
                text="healthy",
                attempt=job.token,
                image_id=wanted.image_id,
                url="http://127.0.0.1/",
            )
            await tx.enqueue(
                WATCH_JOB,
                key=wanted.target.key,
                run=wanted.run,
                organisation=wanted.organisation,
                payload={"wanted": job.payload["wanted"], "container": "c", "name": "c"},
                deadline_seconds=600,
            )

    async def failed(self, tx: Tx, job: Job, error: KiopsError) -> None:
        from operator_proxy.domain.placing import Wanted

        await self.handlers.apply_failed(tx, Wanted(**job.payload["wanted"]), job.token, error)

    async def watch(self, job: Job) -> None:
        from operator_proxy.domain.placing import Wanted

        async with job.finish() as tx:
            await self.handlers.observed(
                tx, Wanted(**job.payload["wanted"]), Phase.SETTLED, text="healthy", seconds=1, attempt=job.token
            )

    async def watch_failed(self, tx: Tx, job: Job, error: KiopsError) -> None:
        raise AssertionError(error)
