"""The text around a finding: what people see of it, and what its identity is made of."""

from __future__ import annotations

import re
from pathlib import Path

_DEFINITION = re.compile(r"^(\s*)(?:async\s+)?(?:def|class)\s+(\w+)")
LONGEST_LINE = 300
LARGEST_FILE = 5_000_000


def read_lines(path: Path) -> list[str]:
    """The lines of a text file; none when it cannot be read or is very large."""
    try:
        if path.stat().st_size > LARGEST_FILE:
            return []
        return path.read_text("utf-8", "replace").replace("\x00", "").splitlines()
    except OSError:
        return []


def around(lines: list[str], start: int, end: int, context: int = 3, most: int = 15) -> tuple[tuple[int, str], ...]:
    """(number, text) of the lines from `start` to `end` (from 1) and some around them."""
    first = max(1, start - context)
    last = min(len(lines), end + context, first + most - 1)
    return tuple((number, lines[number - 1][:LONGEST_LINE]) for number in range(first, last + 1))


def matched(lines: list[str], start: tuple[int, int], end: tuple[int, int]) -> str:
    """The text between (line, column) and (line, column), both from 1, the end exclusive."""
    part = lines[start[0] - 1 : end[0]]
    if not part:
        return ""
    if len(part) == 1:
        return part[0][start[1] - 1 : end[1] - 1]
    return "\n".join([part[0][start[1] - 1 :], *part[1:-1], part[-1][: end[1] - 1]])


def scope(lines: list[str], line: int) -> str:
    """The chain of functions and classes around a line, by indentation: `Orders/search`."""
    if not 1 <= line <= len(lines):
        return ""
    indent = _indent(lines[line - 1])
    chain: list[str] = []
    for text in reversed(lines[: line - 1]):
        if not text.strip() or _indent(text) >= indent:
            continue
        indent = _indent(text)
        if found := _DEFINITION.match(text):
            chain.append(found[2])
        if indent == 0:
            break
    return "/".join(reversed(chain))


def _indent(text: str) -> int:
    return len(text) - len(text.lstrip())
