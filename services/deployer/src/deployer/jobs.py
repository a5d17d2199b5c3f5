"""Door: the clock. The worker that checks images, and the reaper that ends silence."""

from __future__ import annotations

import asyncio

from shared.errors import Unavailable
from shared.jobs import Worker

from deployer.handlers import Checks, Rollouts
from deployer.handlers.requests import CHECK
from shared import logging


def checker(checks: Checks) -> Worker:
    """The worker for jobs of kind `check`."""
    return Worker(kind=CHECK, run=checks.run, on_failed=checks.failed, slots=4)


async def end_silence(rollouts: Rollouts, every_seconds: float) -> None:
    """Fail, again and again, what nobody says a word about, so that no release stays in the air."""
    log = logging.get("deployer")
    while True:
        await asyncio.sleep(every_seconds)
        try:
            if count := await rollouts.end_silent():
                log.warning("requests or releases were ended for want of an answer", count=count)
        except Unavailable as error:
            log.warning("the reaper waits for the database", error=str(error))
