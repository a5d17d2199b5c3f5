"""The sample's source: what the repository holds in each of its three versions."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

WHEEL = "urllib3-2.0.3-py3-none-any.whl"
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"


@dataclass(frozen=True)
class Version:
    """One commit of the demo: its message and what it adds to or changes in the one before."""

    folder: str
    message: str


FIRST = Version("first", "Greet the customer")
SECOND = Version("second", "Read the price list from the bucket")
THIRD = Version("third", "Read the key from the environment")


def planted_key() -> str:
    """A value of the form of an object store's access key, made anew each time. It opens nothing anywhere."""
    while True:
        tail = "".join(secrets.choice(LETTERS) for _ in range(16))
        if len(set(tail)) >= 12:
            return "AK" + "IA" + tail


def write(version: Version, folder: Path, *, base_image: str, wheel: Path | None) -> None:
    """Put a version's files over those of the one before. Without the wheel the sample uses the standard library alone."""
    values = {"{{base image}}": base_image, "{{access key}}": planted_key()}
    _copy(version.folder, folder, values)
    if version is FIRST:
        _copy("with_urllib3" if wheel else "without", folder, values)
        if wheel:
            (folder / "wheels").mkdir(exist_ok=True)
            (folder / "wheels" / WHEEL).write_bytes(wheel.read_bytes())


def _copy(name: str, folder: Path, values: dict[str, str]) -> None:
    for source in _sources(name):
        text = source.read_text(encoding="utf-8")
        for mark, value in values.items():
            text = text.replace(mark, value)
        (folder / source.name).write_text(text, encoding="utf-8")


def _sources(name: str) -> list[Traversable]:
    return sorted((each for each in files("kiops.sample").joinpath(name).iterdir() if each.is_file()), key=lambda each: each.name)
