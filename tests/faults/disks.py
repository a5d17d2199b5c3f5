"""Small disks of the test's own: a tmpfs of a few MB, in a private mount namespace, so that the machine sees nothing of it."""

from __future__ import annotations

import ctypes
import os
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from shared.testing.parts import Parts

CLONE_NEWNS = 0x00020000
FILLER = "filler"
_apart: list[int] = []


def _namespace() -> None:
    """A mount namespace for this thread and all that it starts; once for the process."""
    if _apart:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS):
        raise OSError(ctypes.get_errno(), "unshare")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True, capture_output=True)
    _apart.append(1)


@pytest.fixture
def small_disk(parts: Parts) -> Iterator[Callable[[Path, int], Path]]:
    """A function that makes a folder a disk of so many MB."""
    try:
        _namespace()
    except OSError as problem:
        parts.absent("mount namespaces", f"a small file system needs root: {problem}")
    parts.took_part("tmpfs", os.uname().release)
    made: list[Path] = []

    def make(folder: Path, megabytes: int) -> Path:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        options = f"size={megabytes}m,mode=0700"
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True, capture_output=True)
        made.append(folder)
        return folder

    yield make
    for folder in made:
        subprocess.run(["umount", "-l", str(folder)], check=False, capture_output=True)


def fill(folder: Path) -> None:
    """Leave not a byte. What the databases' logs have reserved is given back first, so that the next write needs room."""
    for file in folder.rglob("*.db"):
        with sqlite3.connect(file, timeout=5) as connection:
            connection.execute("pragma wal_checkpoint(TRUNCATE)").fetchall()
        connection.close()
    handle = os.open(folder / FILLER, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        for size in (1 << 20, 1 << 12, 1):
            try:
                while True:
                    os.write(handle, b"x" * size)
            except OSError:
                continue
    finally:
        os.close(handle)


def free(folder: Path) -> None:
    """Room again."""
    (folder / FILLER).unlink()


def resize(folder: Path, megabytes: int = 0) -> None:
    """Give a disk another size: no more than it uses when none is said."""
    stat = os.statvfs(folder)
    used = (stat.f_blocks - stat.f_bfree) * stat.f_frsize // 1024
    size = f"{megabytes}m" if megabytes else f"{used}k"
    subprocess.run(["mount", "-o", f"remount,size={size}", str(folder)], check=True, capture_output=True)
