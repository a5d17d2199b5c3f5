"""What can be read from a Dockerfile and a list of files before the engine is asked."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

_FROM = re.compile(r"^\s*FROM\s+(?:--\S+\s+)*(\S+)(?:\s+AS\s+(\S+))?\s*$", re.IGNORECASE)
_ARG = re.compile(r"^\s*ARG\s+([A-Za-z_]\w*)(?:=(\S*))?\s*$", re.IGNORECASE)
_VARIABLE = re.compile(r"\$(?:\{(\w+)(?::?-([^}]*))?\}|(\w+))")

_NAMED = re.compile(r"(^|/)([\w.-]+\.)?(dockerfile|containerfile)(\.[\w.-]+)?$", re.IGNORECASE)
_OTHER = re.compile(r"\.(md|rst|txt|dockerignore|j2|tmpl)$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Bases:
    """The images a Dockerfile begins from: that of the last stage, and all that come from outside, in order."""

    final: str
    outside: tuple[str, ...]


def bases(text: str) -> Bases:
    """Read the FROM lines. Variables are filled from the ARGs before the first FROM; nothing is looked up anywhere."""
    arguments: dict[str, str] = {}
    stages: dict[str, str] = {}
    outside: list[str] = []
    final = ""
    for line in _logical_lines(text):
        if not outside and not stages and (found := _ARG.match(line)):
            arguments[found[1]] = (found[2] or "").strip("\"'")
        if found := _FROM.match(line):
            name = _fill(found[1], arguments)
            final = stages.get(name.lower(), name)
            if name.lower() not in stages and name not in outside:
                outside.append(name)
            if found[2]:
                stages[found[2].lower()] = final
    return Bases(final, tuple(outside))


def _logical_lines(text: str) -> Iterable[str]:
    """Lines with their continuations joined, comments left out."""
    kept = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    return re.sub(r"\\\s*\n", " ", "\n".join(kept)).splitlines()


def _fill(name: str, arguments: dict[str, str]) -> str:
    return _VARIABLE.sub(lambda found: arguments.get(found[1] or found[3]) or found[2] or "", name)


def likely(files: Iterable[str], wanted: str) -> list[str]:
    """Files that may be the Dockerfile somebody meant, the shallowest first, at most five."""
    names = [file for file in files if _NAMED.search(file) and not _OTHER.search(file) and file != wanted]
    return sorted(names, key=lambda name: (name.count("/"), name))[:5]
