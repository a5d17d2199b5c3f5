"""Ending tasks: a cancel is not always heard, and who waits for the end must not lose his own."""

from __future__ import annotations

import asyncio

from shared import logging

AGAIN_SECONDS = 5.0
"""After so long a task that was cancelled is cancelled once more: what it cleans up takes moments, and is safe to break off."""


async def end(*tasks: asyncio.Task[None] | asyncio.Future[None] | None) -> list[BaseException]:
    """Cancel these tasks and wait until they have ended; those that ended before, and None, are passed over. Returns with what they
    broke, if they did, instead of being cancelled or coming to their end.

    On Python 3.11 `asyncio.wait_for`, and with it clients beneath us, may swallow a cancel that comes together with what was
    waited for; a task that does not end is told again, and its name is logged. Raises CancelledError when the caller is cancelled.
    """
    waiting = {task for task in tasks if task is not None and not task.done()}
    while waiting:
        for task in waiting:
            task.cancel()
        _, waiting = await asyncio.wait(waiting, timeout=AGAIN_SECONDS)
        for task in waiting:
            name = task.get_name() if isinstance(task, asyncio.Task) else repr(task)
            logging.get("shared").warning("a task did not end when it was cancelled; it is cancelled again", task=name)
    return [error for task in tasks if task is not None and not task.cancelled() and (error := task.exception())]
