"""Which pushes are worth a run, and where they go."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase

PATTERN = re.compile(r"^[^\x00-\x20\x7f]{1,200}$")
VERSION = re.compile(r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$")
COMMIT = re.compile(r"^(?:[0-9a-f]{40}|[0-9a-f]{64})$")
MOST_PATTERNS = 100


@dataclass(frozen=True)
class Rule:
    """Globs over full branch and tag names: `*` is any run of characters, slashes too, `?` one, `[ab]` one of these. A
    branch needs a branch pattern, a tag needs a tag pattern; an empty list matches nothing."""

    branches: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    environments: tuple[str, ...] = ()
    supersede: bool = True

    def match(self, *, branch: str = "", tag: str = "") -> str | None:
        """The pattern that names this branch or tag, None when none does."""
        name, patterns = (tag, self.tags) if tag else (branch, self.branches)
        return next((pattern for pattern in patterns if fnmatchcase(name, pattern)), None)

    def why_not(self, *, branch: str = "", tag: str = "") -> str:
        """A sentence for a ref that no pattern names."""
        kind, name, patterns = ("tag", tag, self.tags) if tag else ("branch", branch, self.branches)
        plural = "tags" if tag else "branches"
        named = ", ".join(patterns) if patterns else f"no {plural} at all"
        return f"the rule does not name {kind} {name}; it names {named}"


def wrong_pattern(patterns: list[str]) -> str | None:
    """Why these patterns cannot be used, or None."""
    if len(patterns) > MOST_PATTERNS:
        return f"at most {MOST_PATTERNS} patterns, not {len(patterns)}"
    for pattern in patterns:
        if not PATTERN.match(pattern):
            return f"{pattern!r} is no pattern: 1 to 200 characters without spaces"
    return None
