"""Named moments at which a test may end this process: the borders between what is on disk, what is sent and what is done outside.

A platform installs nothing: then a point is a call that returns at once. There is no setting for it and no way to it from outside;
only code that runs in the process (a test's own member) can `install` something.
"""

from __future__ import annotations

from collections.abc import Callable

POINTS = {
    "commit.before": "a transaction's statements are done and nothing is on disk",
    "commit.after": "it is on disk and nobody has been told",
    "relay.read": "unsent rows are read and none is published",
    "relay.begun": "a batch is published but for its last row",
    "relay.published": "the server has the rows and they are not marked",
    "relay.marked": "they are marked as sent",
    "loop.taken": "messages are fetched and not handled",
    "loop.handled": "the handlers are done, the position is not moved and nothing is committed",
    "loop.committed": "the batch is committed and not acknowledged",
    "loop.acked": "it is acknowledged",
    "job.claiming": "a job is found and its lease is not written",
    "job.claimed": "the lease is on disk and no work has begun",
    "job.progressing": "a job writes in between, uncommitted",
    "job.progressed": "that is on disk",
    "job.finishing": "a job's end and results are written, uncommitted",
    "job.finished": "they are on disk and its folder is there still",
    "child.started": "a child is at work",
    "child.ended": "it has done its work and nobody has written that down",
    "accept.storing": "a delivery is about to be committed",
    "accept.stored": "it is on disk and not acknowledged",
    "object.writing": "an object lies under a temporary name",
    "object.kept": "it lies under its own, and nothing refers to it",
    "log.closing": "a job's log is about to be kept",
    "log.closed": "it is kept and its reference is nowhere",
}
"""Every point, and what is true there."""

_hook: Callable[[str], None] | None = None


def point(name: str) -> None:
    """We are at this moment."""
    if _hook is not None:
        _hook(name)


def install(hook: Callable[[str], None] | None) -> None:
    """Call this at every point of this process; None: nothing any more."""
    global _hook
    _hook = hook
