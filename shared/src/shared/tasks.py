"""Ending tasks: a cancel is not always heard, and who waits for the end must not lose his own."""

from __future__ import annotations

import asyncio

from shared import logging

AGAIN_SECONDS = 5.0
"""After so long a task that was cancelled is cancelled once more: what it cleans up takes moments, and is safe to break off."""


async def end(*tasks: asyncio.Task[None] | asyncio.Future[None] | None) -> None:
    """Cancel these tasks and wait until they have ended, however they do. None and those that have ended are passed over.

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
    for task in tasks:
        if task is not None and not task.cancelled():
            task.exception()  # else it is logged as never looked at
