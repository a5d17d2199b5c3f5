"""Which vulnerability data a scan gets: the demo's bundle for sample services, Trivy's own database for every other."""

from __future__ import annotations

import asyncio
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.clock import Clock
from shared.errors import KiopsError, Unavailable

from scanner.data.bundles import Bundle, adopt, current, preparing, sample
from scanner.scanners.program import Program, last_words

PROXY = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR")


@dataclass(frozen=True)
class Given:
    """The bundle for a scan (None: no vulnerability data), and why no newer one could be had, when one was tried for."""

    bundle: Bundle | None
    trouble: str = ""


class Keeper:
    """Gives bundles, and downloads Trivy's database when it is missing or old. One download at a time; after one that failed
    the next is tried later, so that a machine without a network does not wait at every scan."""

    def __init__(self, root: Path, program: Program, clock: Clock, *, every_hours: int, seconds: int, retry_minutes: int) -> None:
        self.root, self._program, self._clock = root, program, clock
        self._every_hours, self._seconds, self._retry_seconds = every_hours, seconds, retry_minutes * 60
        self._lock = asyncio.Lock()
        self._failed_at: float | None = None
        self._trouble = ""

    async def given(self, *, is_sample: bool, job: Any, home: Path) -> Given:
        """The data for a scan. Never raises for a download that failed; says why in `trouble`."""
        if is_sample:
            return Given(await asyncio.to_thread(sample, self.root))
        async with self._lock:
            bundle = await asyncio.to_thread(current, self.root)
            if not self._wanted(bundle):
                return Given(bundle, self._trouble if bundle is None else "")
            try:
                bundle = await self._download(job, home)
                self._failed_at, self._trouble = None, ""
            except KiopsError as error:
                self._failed_at, self._trouble = self._clock.monotonic(), f"the download failed: {error.message}"
            return Given(bundle, self._trouble)

    def _wanted(self, bundle: Bundle | None) -> bool:
        if not self._every_hours:
            return False
        if self._failed_at is not None and self._clock.monotonic() - self._failed_at < self._retry_seconds:
            return False
        return bundle is None or bundle.age_hours(self._clock.now()) > self._every_hours

    async def _download(self, job: Any, home: Path) -> Bundle:
        with preparing(self.root) as aside:
            arguments = ["image", "--download-db-only", "--cache-dir", str(aside), "--no-progress", "--disable-telemetry"]
            proxy = {name: os.environ[name] for name in PROXY if name in os.environ}
            ran = await self._program.run(arguments, job=job, home=home, env=proxy, seconds=self._seconds)
            if ran.code != 0:
                raise Unavailable("data.download", last_words(ran.err, 160))
            for extra in [path for path in aside.iterdir() if path.name != "db"]:
                shutil.rmtree(extra, ignore_errors=True)
            return await asyncio.to_thread(adopt, aside, self.root)
