"""Where the way back leads.

A rollback makes a new release with the content of an older one; `origin` names the release that had this content first, itself
for an ordinary one. `before` is the release that served when it was planned.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Past:
    """A release of an environment, as history sees it."""

    id: str
    number: int
    origin: str
    before: str | None
    commit: str = ""


def origin_of(release: str, releases: Mapping[str, Past]) -> Past | None:
    """The release that first had the content of this one; None when this one is unknown."""
    found = releases.get(release)
    return releases.get(found.origin, found) if found else None


def one_back(current: str | None, releases: Mapping[str, Past]) -> str | None:
    """The release to which instant rollback goes: the one before the one that runs; pressed again one further back, never
    forward. None when there is nothing further back."""
    first = origin_of(current, releases) if current else None
    if first is None or first.before is None:
        return None
    back = origin_of(first.before, releases)
    # What served before a release was planned has a smaller number, so pressing again cannot go round in a circle.
    return back.id if back and back.number < first.number else None


def gone_behind(target: str, releases: Mapping[str, Past]) -> list[str]:
    """The commits of the releases newer than the target: a rollback to it goes behind them."""
    first = origin_of(target, releases)
    if first is None:
        return []
    newer = (past for past in releases.values() if past.number > first.number and past.origin == past.id)
    return [past.commit for past in sorted(newer, key=lambda past: past.number) if past.commit != first.commit]
