"""Door: the clock. The worker that decides, and the reaper that ends waiting."""

from __future__ import annotations

import asyncio

from shared.errors import Unavailable
from shared.jobs import Worker

from gate.handlers import Deciding, Questions
from gate.handlers.questions import DECIDE
from gate.settings import GateSettings
from shared import logging


def decider(deciding: Deciding, settings: GateSettings) -> Worker:
    """The worker for jobs of kind `decide`."""
    return Worker(
        kind=DECIDE,
        run=deciding.decide,
        on_failed=deciding.failed,
        on_cancelled=deciding.cancelled,
        slots=settings.slots,
    )


async def end_waiting(questions: Questions, every_seconds: float) -> None:
    """Decide, again and again, what has waited long enough."""
    log = logging.get("gate")
    while True:
        await asyncio.sleep(every_seconds)
        try:
            if count := await questions.ask_overdue():
                log.info("questions are decided without everything", count=count)
        except Unavailable as error:
            log.warning("the reaper waits for the database", error=str(error))
