"""Whose turn it is: strictly one after another per environment, in the order of runs."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

# A request's way: asked (the gate decides) -> allowed -> checking (rollbacks: is the image there?) -> placing -> ready or failed.
# It may leave as blocked or cancelled before placing, and never after.
ASKED, ALLOWED, CHECKING, PLACING = "asked", "allowed", "checking", "placing"
OPEN = frozenset({ASKED, ALLOWED, CHECKING, PLACING})
QUEUED = frozenset({ASKED, ALLOWED, CHECKING})
"""Still in the queue: such a request can be taken back. A switch that has begun is never touched."""


@dataclass(frozen=True)
class Waiting:
    """A request as the queue sees it."""

    id: str
    number: int
    state: str
    order: int = 0


def turn(requests: Iterable[Waiting]) -> Waiting | None:
    """The request to be put in place now, None when somebody has to be waited for.

    The head is the oldest run's. While it is not decided, all newer ones wait for it: a run that is cancelled or superseded
    takes its requests out of the queue, so the wait lasts only as long as the run.
    """
    open_ones = [request for request in requests if request.state in OPEN]
    if not open_ones or any(request.state in (PLACING, CHECKING) for request in open_ones):
        return None
    head = min(open_ones, key=lambda request: (request.number, request.order))
    return head if head.state == ALLOWED else None


@dataclass(frozen=True)
class Hold:
    """After a rollback: automatic deploys of these commits, and of runs up to this number, stay away."""

    number: int
    commits: tuple[str, ...]


AUTOMATIC = frozenset({"webhook", "scheduled", "sweep", "replay", "image_tag"})


def refused(*, number: int, commit: str, cause: str, trigger: str, newest_placed: int, hold: Hold | None) -> str | None:
    """Why a request may not go on although the gate allows it; None when it may. Only builds are refused: what a person
    chose by name (a rollback, a release) is done."""
    if cause != "build":
        return None
    if hold and trigger in AUTOMATIC and (number < hold.number or commit in hold.commits):
        what = "this commit was rolled back" if commit in hold.commits else f"it is older than the rollback of run #{hold.number}"
        return f"held after a rollback: {what}; push a newer commit, or deploy by hand"
    if number < newest_placed:
        return f"run #{newest_placed} is newer and was put in place before"
    return None


def lifts(hold: Hold | None, *, number: int, commit: str, by_hand: bool) -> bool:
    """Whether a deploy ends the hold: one by a person, or of a newer run with a commit that was not rolled back."""
    return hold is not None and (by_hand or (number > hold.number and commit not in hold.commits))


def held_commits(rolled_back: Collection[str]) -> tuple[str, ...]:
    """The commits that a rollback went behind, each once, in order."""
    return tuple(dict.fromkeys(commit for commit in rolled_back if commit))
