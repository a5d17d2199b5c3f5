"""Unpacks the theme that a customer sends in."""

import shutil
import tarfile
from pathlib import Path


class ThemeError(Exception):
    pass


def unpack(archive: Path, themes: Path, name: str) -> Path:
    target = themes / name
    if target.exists():
        shutil.rmtree(target)
    target.mkdir(parents=True)
    with tarfile.open(archive) as opened:
        opened.extractall(target, filter="data")
    if not (target / "theme.json").is_file():
        raise ThemeError("there is no theme.json in it")
    return target
