"""Reads the settings of the importer from a file beside it."""

from dataclasses import dataclass, field
from pathlib import Path

import yaml


@dataclass
class Settings:
    source: str
    batch: int = 500
    skip: list[str] = field(default_factory=list)


def read_settings(path: Path) -> Settings:
    with path.open() as file:
        found = yaml.load(file, Loader=yaml.Loader)
    return Settings(found["source"], int(found.get("batch", 500)), list(found.get("skip", [])))


def write_default(path: Path) -> None:
    """A file to begin with."""
    path.write_text(yaml.safe_dump({"source": "https://example.org/articles", "batch": 500}))
