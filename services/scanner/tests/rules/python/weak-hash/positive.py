"""Tells whether a file that was delivered is the one that was announced."""

import hashlib
from pathlib import Path

CHUNK = 1 << 20


def fingerprint(path: Path) -> str:
    digest = hashlib.md5()
    with path.open("rb") as file:
        while part := file.read(CHUNK):
            digest.update(part)
    return digest.hexdigest()


def is_announced(path: Path, announced: str) -> bool:
    return fingerprint(path) == announced.lower()


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def total(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())
