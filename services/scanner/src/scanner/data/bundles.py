"""Import, list and choose bundles. Plain functions on files: the command line uses them too."""

from __future__ import annotations

import json
import os
import re
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from scanner.data import bbolt
from scanner.errors import DataInvalid
from shared import ids

SCHEMA = 2
FILES = ("trivy.db", "metadata.json")
LARGEST_BYTES = 8 * 1024**3
KEPT = 2
_NOT_SOURCES = {b"vulnerability", b"data-source", b"vulnerability-detail", b"vulnerability-id"}


@dataclass(frozen=True)
class Bundle:
    """Vulnerability data in a folder. `updated_at` is the moment it describes (ISO 8601), `date` its day; `sources` are the names
    of its advisory sources (such as "debian 12", "pip::GitHub Security Advisory pip"), filled in only where it was asked for."""

    name: str
    folder: Path
    updated_at: str
    size_bytes: int
    current: bool = False
    sample: bool = False
    sources: tuple[str, ...] = ()

    @property
    def date(self) -> str:
        """The ISO date of the data."""
        return self.updated_at[:10]

    def age_hours(self, now: datetime) -> float:
        """How old the data is."""
        return (now - _moment(self.updated_at)).total_seconds() / 3600


def _base(root: Path) -> Path:
    return root / "data" / "trivy"


def import_bundle(path: Path, root: Path) -> Bundle:
    """Check a bundle file and make it the one in use. `root` is the platform's data folder.

    The file is a tar, tar.gz (as Trivy's database is distributed) or a folder, with trivy.db and metadata.json at its top or
    below `db/`. Raises DataInvalid and leaves everything as it was.
    """
    aside = _aside(root)
    try:
        if path.is_dir():
            source = path / "db" if (path / "db").is_dir() else path
            for name in FILES:
                if not (source / name).is_file():
                    raise DataInvalid(f"{name} is not in {path}")
                shutil.copyfile(source / name, aside / "db" / name)
        else:
            _unpack(path, aside / "db")
        return adopt(aside, root)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


@contextmanager
def preparing(root: Path) -> Iterator[Path]:
    """A folder aside, in which a downloader makes `db/`; give it to `adopt`, else it is removed."""
    aside = _aside(root)
    try:
        yield aside
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def adopt(aside: Path, root: Path) -> Bundle:
    """Check what lies in `aside / "db"` and make it the bundle in use. Raises DataInvalid."""
    found = _read(aside, "")
    sources = check(aside / "db" / "trivy.db")
    moment = _moment(found.updated_at)
    name = f"{moment:%Y-%m-%dT%H%M%SZ}-{ids.uuid7()[-6:]}"
    target = _base(root) / "bundles" / name
    target.parent.mkdir(parents=True, exist_ok=True)
    os.replace(aside, target)
    pointer = _base(root) / f".{name}"
    pointer.write_text(name)
    os.replace(pointer, _base(root) / "current")
    _forget_old(root, name)
    return Bundle(name, target, found.updated_at, found.size_bytes, current=True, sources=sources)


def check(database: Path) -> tuple[str, ...]:
    """The advisory sources of a database file. Raises DataInvalid when it is damaged or has none."""
    try:
        with bbolt.Reader(database) as reader:
            buckets = [key for key, value in reader.items(reader.root) if isinstance(value, tuple)]
            if b"vulnerability" not in buckets:
                raise DataInvalid("trivy.db has no vulnerabilities")
            sources = tuple(key.decode("utf-8", "replace") for key in buckets if key not in _NOT_SOURCES)
    except (bbolt.NotBolt, OSError, ValueError, IndexError) as error:
        raise DataInvalid(f"trivy.db cannot be read ({error})") from error
    except Exception as error:  # struct.error and RecursionError of a damaged tree
        raise DataInvalid(f"trivy.db is damaged ({type(error).__name__})") from error
    if not sources:
        raise DataInvalid("trivy.db has no advisories")
    return sources


def current(root: Path) -> Bundle | None:
    """The bundle in use; None: no vulnerability data."""
    try:
        name = (_base(root) / "current").read_text().strip()
    except OSError:
        return None
    if not re.fullmatch(r"[\w.:-]+", name):
        return None
    try:
        return _read(_base(root) / "bundles" / name, name, in_use=True)
    except DataInvalid:
        return None


def list_bundles(root: Path) -> list[Bundle]:
    """All bundles on this machine, the newest first, the demo's sample last."""
    in_use = current(root)
    found = []
    for folder in sorted((_base(root) / "bundles").glob("*"), reverse=True):
        try:
            found.append(_read(folder, folder.name, in_use=in_use is not None and in_use.name == folder.name))
        except DataInvalid:
            continue
    if (_base(root) / "sample" / "db").is_dir():
        found.append(sample(root))
    return found


def sample(root: Path) -> Bundle:
    """The demo's bundle, made when it is not there yet (or was made by another version)."""
    from scanner.data.building import build, fingerprint

    folder = _base(root) / "sample"
    mark = folder / "made-from"
    if not mark.is_file() or mark.read_text() != fingerprint():
        aside = _aside(root)
        try:
            build(aside / "db")
            (aside / "made-from").write_text(fingerprint())
            shutil.rmtree(folder, ignore_errors=True)
            os.replace(aside, folder)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    return replace(_read(folder, "sample"), sample=True)


def _aside(root: Path) -> Path:
    folder = _base(root) / f".aside-{ids.uuid7()}"
    (folder / "db").mkdir(parents=True)
    return folder


def _unpack(path: Path, to: Path) -> None:
    """Take the two files out of an archive, and nothing else: names and links in it lead nowhere."""
    found = set()
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                name = member.name.rsplit("/", 1)[-1]
                if name not in FILES or not member.isfile() or name in found:
                    continue
                if member.size > LARGEST_BYTES:
                    raise DataInvalid(f"{name} is larger than 8 GiB")
                source = archive.extractfile(member)
                assert source is not None
                with (to / name).open("wb") as file:
                    shutil.copyfileobj(source, file, 1 << 20)
                found.add(name)
    except FileNotFoundError:
        raise DataInvalid(f"there is no file {path}") from None
    except (tarfile.TarError, EOFError, OSError) as error:
        raise DataInvalid(f"{path.name} is no tar archive, or damaged ({error})") from error
    for name in FILES:
        if name not in found:
            raise DataInvalid(f"{name} is not in {path.name}")


def _read(folder: Path, name: str, *, in_use: bool = False) -> Bundle:
    try:
        metadata = json.loads((folder / "db" / "metadata.json").read_text())
        version, updated = metadata["Version"], str(metadata["UpdatedAt"])
        size = (folder / "db" / "trivy.db").stat().st_size
        _moment(updated)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataInvalid(f"metadata.json cannot be read ({type(error).__name__})") from error
    if version != SCHEMA:
        raise DataInvalid(f"it has schema {version}; Trivy here reads schema {SCHEMA}")
    return Bundle(name, folder, updated, size, current=in_use)


def _moment(text: str) -> datetime:
    found = re.match(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)", text)
    if not found:
        raise ValueError(f"{text!r} is no moment")
    return datetime.fromisoformat(found[1]).replace(tzinfo=UTC)


def _forget_old(root: Path, in_use: str) -> None:
    folders = sorted((_base(root) / "bundles").glob("*"), key=lambda folder: folder.stat().st_mtime, reverse=True)
    for folder in [folder for folder in folders if folder.name != in_use][KEPT - 1 :]:
        shutil.rmtree(folder, ignore_errors=True)
