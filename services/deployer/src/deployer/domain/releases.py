"""What a release is made of, and how two of them differ, in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Content:
    """All that decides what runs. Two releases with equal content behave the same."""

    image: str
    image_id: str
    container_port: int
    health_path: str
    own_port: bool
    observe_seconds: int
    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """What people call the image."""
        return self.image or self.image_id[:19]


def changes(before: Content | None, after: Content) -> list[str]:
    """What a deploy changes, a sentence part each; names of variables, not their values."""
    if before is None:
        return ["first release here", f"image {after.label}"]
    out = [] if before.image_id == after.image_id else [f"image {before.label} -> {after.label}"]
    for name in sorted({*before.variables, *after.variables}):
        if name not in before.variables:
            out.append(f"variable {name} added")
        elif name not in after.variables:
            out.append(f"variable {name} removed")
        elif before.variables[name] != after.variables[name]:
            out.append(f"variable {name} changed")
    for word, was, now in _settings(before, after):
        if was != now:
            out.append(f"{word} {was} -> {now}")
    return out or ["nothing: the same image and configuration again"]


def came_back(before: Content | None, after: Content) -> list[str]:
    """What a rollback brought back, in words for the history."""
    if before is None:
        return [f"image {after.label}"]
    out = [] if before.image_id == after.image_id else [f"image {after.label}"]
    names = [n for n in sorted({*before.variables, *after.variables}) if before.variables.get(n) != after.variables.get(n)]
    if names:
        out.append(f"{len(names)} variable{'s' if len(names) > 1 else ''}: {', '.join(names)}")
    out += [f"{word} {now}" for word, was, now in _settings(before, after) if was != now]
    return out or ["nothing differs"]


def diff(before: Content | None, after: Content) -> list[str]:
    """A preview as lines of a diff: `- ` goes, `+ ` comes, two spaces stay."""
    lines: list[str] = []
    same_image = before is not None and before.image_id == after.image_id
    _differ(lines, "image", before.label if before else None, after.label, same=same_image)
    old = before.variables if before else {}
    for name in sorted({*old, *after.variables}):
        was = f"{name}={old[name]}" if name in old else None
        now = f"{name}={after.variables[name]}" if name in after.variables else None
        _differ(lines, "variable", was, now, same=was == now)
    for word, was, now in _settings(before or after, after):
        _differ(lines, word, was if before else None, now, same=before is not None and was == now)
    return lines


def _differ(lines: list[str], word: str, was: str | None, now: str | None, *, same: bool) -> None:
    if same:
        lines.append(f"  {word} {now}")
        return
    if was is not None:
        lines.append(f"- {word} {was}")
    if now is not None:
        lines.append(f"+ {word} {now}")


def _settings(before: Content, after: Content) -> list[tuple[str, str, str]]:
    return [
        ("container port", str(before.container_port), str(after.container_port)),
        ("health path", before.health_path, after.health_path),
        ("entry port", _port(before), _port(after)),
    ]


def _port(content: Content) -> str:
    return "its own" if content.own_port else "shared"
