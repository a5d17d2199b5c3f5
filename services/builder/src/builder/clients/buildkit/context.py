"""Pack what a build may see into one archive, and read the Dockerfile.

The archive has the Dockerfile at its top and the context below `context/`. So a Dockerfile may lie outside the context or
be excluded by .dockerignore and is still found, without becoming part of what `COPY . .` copies.
"""

from __future__ import annotations

import gzip
import io
import os
import stat
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from builder.clients.buildkit.ignore import Ignored
from builder.domain.dockerfile import likely
from builder.domain.plan import BuildPlan
from builder.errors import BuildError

LARGEST_DOCKERFILE_BYTES = 1024 * 1024
SUBFOLDER = "context"


@dataclass(frozen=True, slots=True)
class Context:
    """A packed context: the archive, the Dockerfile's text, how many files went in and how many were left out."""

    archive: Path
    dockerfile: str
    files: int
    left_out: int
    size_bytes: int


def pack(plan: BuildPlan, stop: threading.Event | None = None) -> Context:
    """Pack the plan's context into its scratch folder. Blocks: meant for a thread. Raises BuildError `build.*`."""
    root = _inside(plan.source, plan.context, "build.context_not_found", "The build context")
    if not root.is_dir():
        raise BuildError(
            "build.context_not_found",
            f"There is no folder {plan.context} in the repository.",
            "Correct the build context in the service's settings; it is relative to the repository's root.",
        )
    dockerfile = find_dockerfile(plan, root)
    text = read_dockerfile(dockerfile)
    ignored = Ignored(_ignore_text(dockerfile, root))
    archive = plan.scratch / "context.tar.gz"
    files = left_out = 0
    # GNU format and gzip: with Python's own default the engine takes the archive's extended headers for the Dockerfile.
    with (
        open(archive, "wb") as raw,
        gzip.GzipFile(fileobj=raw, mode="wb", compresslevel=1, mtime=0, filename="") as packed,
        tarfile.open(fileobj=packed, mode="w|", format=tarfile.GNU_FORMAT) as tar,  # type: ignore[call-overload]
    ):
        _add_bytes(tar, "Dockerfile", text.encode("utf-8", "surrogateescape"))
        _add_folder(tar, root, SUBFOLDER)
        for path, name in _walk(root, ignored):
            if stop is not None and stop.is_set():
                break
            if name is None:
                left_out += 1
                continue
            files += _add(tar, path, f"{SUBFOLDER}/{name}")
    return Context(archive, text, files, left_out, archive.stat().st_size)


def find_dockerfile(plan: BuildPlan, context: Path) -> Path:
    """The Dockerfile: relative to the repository's root, else to the context."""
    for base in (plan.source, context):
        path = _inside(plan.source, str(base / plan.dockerfile.lstrip("/")), "build.dockerfile_not_found", "The Dockerfile")
        if path.is_file():
            return path
    others = likely(_names(plan.source), plan.dockerfile.removeprefix("./"))
    hint = (
        f"There is {', '.join(others)}: choose one of them in the service's settings."
        if others
        else ("Add a Dockerfile to the repository, or give its path in the service's settings.")
    )
    raise BuildError("build.dockerfile_not_found", f"There is no {plan.dockerfile} in this commit.", hint, others=others)


def read_dockerfile(path: Path) -> str:
    """Its text. Raises `build.dockerfile_invalid` when it is empty or too large to be one."""
    if path.stat().st_size > LARGEST_DOCKERFILE_BYTES:
        raise BuildError("build.dockerfile_invalid", f"{path.name} is larger than 1 MiB.", "A Dockerfile is a short text.")
    text = path.read_text("utf-8", "surrogateescape")
    if not text.strip():
        raise BuildError("build.dockerfile_invalid", f"{path.name} is empty.", "Begin it with FROM and a base image.")
    return text


def _inside(source: Path, path: str, code: str, what: str) -> Path:
    """A path of the repository, links followed; nothing outside it is ever read."""
    found = Path(os.path.realpath(source / path))
    if not found.is_relative_to(os.path.realpath(source)):
        raise BuildError(code, f"{what} lies outside the repository.", "Give a path below the repository's root.")
    return found


def _ignore_text(dockerfile: Path, root: Path) -> str:
    """`<Dockerfile>.dockerignore` beside the Dockerfile goes before `.dockerignore` of the context."""
    for path in (dockerfile.with_name(f"{dockerfile.name}.dockerignore"), root / ".dockerignore"):
        if path.is_file() and not path.is_symlink():
            return path.read_text("utf-8", "replace")
    return ""


def _names(root: Path) -> Iterator[str]:
    for folder, _, files in os.walk(root):
        for file in files:
            yield os.path.relpath(os.path.join(folder, file), root)


def _walk(root: Path, ignored: Ignored, below: str = "") -> Iterator[tuple[str, str | None]]:
    """(path, name) in order; the name is None for what is left out. Excluded folders are entered only when something in
    them might be brought back."""
    with os.scandir(root / below) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    for entry in found:
        name = f"{below}/{entry.name}" if below else entry.name
        out = ignored(name)
        folder = entry.is_dir(follow_symlinks=False)
        if out and not (folder and ignored.brings_back):
            yield entry.path, None
            continue
        if not out:
            yield entry.path, name
        if folder:
            yield from _walk(root, ignored, name)


def _add(tar: tarfile.TarFile, path: str, name: str) -> int:
    """Add one entry; returns 1 for a file or link. Sockets, pipes and devices are no part of a build."""
    info = os.lstat(path)
    entry = tarfile.TarInfo(name)
    entry.mode, entry.mtime = stat.S_IMODE(info.st_mode), int(info.st_mtime)
    if stat.S_ISLNK(info.st_mode):
        entry.type, entry.linkname = tarfile.SYMTYPE, os.readlink(path)
        tar.addfile(entry)
        return 1
    if stat.S_ISDIR(info.st_mode):
        entry.type = tarfile.DIRTYPE
        tar.addfile(entry)
        return 0
    if not stat.S_ISREG(info.st_mode):
        return 0
    with open(path, "rb") as file:
        entry.size = os.fstat(file.fileno()).st_size
        tar.addfile(entry, file)
    return 1


def _add_folder(tar: tarfile.TarFile, path: Path, name: str) -> None:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode = tarfile.DIRTYPE, 0o755
    entry.mtime = int(path.stat().st_mtime)
    tar.addfile(entry)


def _add_bytes(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(data), 0o644
    tar.addfile(entry, io.BytesIO(data))
