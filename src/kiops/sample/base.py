"""The image that the sample is built on: python:3.11-slim where it can be had, else a small one assembled here.

The small one is made of the distribution's own Python packages and the libraries they need, unpacked and imported into the
engine: some 45 MB, a few seconds, no shell. It lists its packages where scanners look for them, with their licences.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kiops.demo.engine import Engine, EngineError
from kiops.sample.files import WHEEL

OFFICIAL = "python:3.11-slim"
LOCAL = "kiops-base:python3.11"
LABEL = "org.kiops.sample-base"
MOST_BYTES = 100 * 1024 * 1024
WHEEL_SHA256 = "48e7fafa40319d358848e1bc6809b208340fafe2096f1725d05d67443d0483d1"

# Of all that Python's packages depend on, what the interpreter and its standard library load; not perl, dpkg, Kerberos.
NEEDED = re.compile(
    r"^(base-files|python3[\d.]*-minimal|libpython3[\d.]*-(minimal|stdlib)|libc6|libgcc-s1|gcc-\d+-base|zlib1g|libexpat1"
    r"|libssl3\w*|libffi\d+|libbz2-1\.0|liblzma5|libsqlite3-0|libuuid1|libcrypt1|libncursesw6|libtinfo6|libreadline8\w*"
    r"|readline-common|media-types)$"
)
NOT_NEEDED = (
    "usr/share/man", "usr/share/locale", "usr/share/info", "usr/share/lintian", "usr/share/gcc", "usr/share/base-files",
    "usr/share/python3", "usr/lib/python*/test", "usr/lib/python*/idlelib", "usr/lib/python*/lib2to3",
    "usr/lib/python*/ensurepip", "usr/lib/python*/pydoc_data", "usr/lib/python*/tkinter", "usr/lib/python*/turtledemo",
    "usr/lib/*/gconv", "usr/lib/*/audit", "etc/update-motd.d", "boot", "home", "media", "mnt", "srv",
)  # fmt: skip


class CannotAssemble(Exception):
    """No base can be had here; says why and what would help."""


@dataclass(frozen=True)
class Base:
    """The image's name, and how it came to be here in words."""

    image: str
    note: str


def base_image(engine: Engine, *, folder: Path, pull_seconds: float = 60) -> Base:
    """A base for the sample; pulled, found, or assembled. Raises CannotAssemble, EngineError."""
    if engine.image(OFFICIAL):
        return Base(OFFICIAL, f"{OFFICIAL} was here")
    if engine.image(LOCAL):
        return Base(LOCAL, f"{LOCAL}, assembled here before")
    try:
        engine.pull(OFFICIAL, first_word_seconds=8, seconds=pull_seconds)
        return Base(OFFICIAL, f"pulled {OFFICIAL}")
    except EngineError as error:
        why = str(error)
    packages, size = assemble(engine, folder)
    megabytes = size / 1024 / 1024
    return Base(
        LOCAL,
        f"{OFFICIAL} cannot be pulled ({why}); {LOCAL} assembled from {packages} of this system's packages, {megabytes:.0f} MB",
    )


def assemble(engine: Engine, folder: Path, image: str = LOCAL) -> tuple[int, int]:
    """Make the image. Returns how many packages are in it and its size in bytes. Raises CannotAssemble."""
    for program in ("apt-get", "apt-cache", "dpkg-deb"):
        if shutil.which(program) is None:
            raise CannotAssemble(f"no registry answers and {program} is not here; pull or load {OFFICIAL} by hand")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix="base-") as name:
        here = Path(name)
        debs = _download(here)
        root = here / "root"
        _lay_out(root)
        for deb in debs:
            _run(["dpkg-deb", "-x", str(deb), str(root)], here)
            _enter(deb, root)
        _trim(root)
        packed = here / "base.tar"
        _pack(root, packed)
        size = packed.stat().st_size
        if size > MOST_BYTES:
            raise CannotAssemble(f"the assembled base has {size >> 20} MB, which is not small; load {OFFICIAL} by hand")
        changes = ["ENV PATH=/usr/local/bin:/usr/bin:/bin LANG=C.UTF-8", f"LABEL {LABEL}=true", 'CMD ["python3"]']
        with packed.open("rb") as archive:
            engine.import_image(image, archive, size, changes)
        return len(debs), size


def _download(here: Path) -> list[Path]:
    folder = here / "debs"
    folder.mkdir()
    options = ["-o", "APT::Sandbox::User=root"] if os.geteuid() == 0 else []
    quiet = ["--no-recommends", "--no-suggests", "--no-conflicts", "--no-breaks", "--no-replaces", "--no-enhances"]
    asked = ["apt-cache", "depends", "--recurse", *quiet, "python3-minimal", "libpython3-stdlib"]
    found = _run(asked, folder, check=False)
    if "libpython3" not in found:
        # A machine whose package lists were thrown away; ours go into a folder of their own.
        options += _own_lists(here)
        _run(["apt-get", "-q", *options, "update"], folder)
        found = _run([asked[0], *options, *asked[1:]], folder)
    names = sorted({line for line in found.splitlines() if NEEDED.match(line)} | {"base-files"})
    _run(["apt-get", "-q", *options, "download", *names], folder)
    return sorted(folder.glob("*.deb"))


def _own_lists(here: Path) -> list[str]:
    for part in ("lists/partial", "archives/partial"):
        (here / part).mkdir(parents=True)
    return ["-o", f"Dir::State::lists={here}/lists", "-o", f"Dir::Cache={here}", "-o", f"Dir::Cache::archives={here}/archives"]


def _lay_out(root: Path) -> None:
    """The folders of a merged /usr, which the packages expect."""
    for name in ("bin", "lib", "lib64", "sbin"):
        (root / "usr" / name).mkdir(parents=True)
        (root / name).symlink_to(f"usr/{name}")
    (root / "var/lib/dpkg/status.d").mkdir(parents=True)
    (root / "tmp").mkdir(mode=0o1777)


def _enter(deb: Path, root: Path) -> None:
    """Enter a package into the list that scanners read in images without a package manager."""
    fields = _run(["dpkg-deb", "-f", str(deb)], deb.parent)
    name = deb.name.split("_", 1)[0]
    (root / "var/lib/dpkg/status.d" / name).write_text(fields.rstrip("\n") + "\n")


def _trim(root: Path) -> None:
    for pattern in NOT_NEEDED:
        for found in root.glob(pattern):
            if not found.is_symlink() and found.is_dir():
                shutil.rmtree(found)
    # Of the documents the licences stay.
    for document in (root / "usr/share/doc").rglob("*"):
        if document.is_file() and document.name != "copyright":
            document.unlink()
    binaries = root / "usr/bin"
    newest = sorted(each.name for each in binaries.glob("python3.*") if re.fullmatch(r"python3\.\d+", each.name))[-1]
    for name in ("python3", "python"):
        (binaries / name).unlink(missing_ok=True)
        (binaries / name).symlink_to(newest)


def _pack(root: Path, packed: Path) -> None:
    def owned(entry: tarfile.TarInfo) -> tarfile.TarInfo:
        entry.uid = entry.gid = 0
        entry.uname = entry.gname = ""
        return entry

    with tarfile.open(packed, "w") as archive:
        archive.add(root, arcname=".", filter=owned)


def _run(argv: list[str], folder: Path, *, check: bool = True) -> str:
    environment = os.environ | {"LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(argv, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False)
    if check and done.returncode:
        said = " ".join((done.stderr or done.stdout).split())[-300:]
        raise CannotAssemble(f"{' '.join(argv[:2])} failed: {said}")
    return done.stdout


def find_wheel(folder: Path) -> Path | None:
    """urllib3 2.0.3 as its authors published it, by pip and with its hash; None when no package registry answers."""
    kept = folder / WHEEL
    if kept.exists():
        return kept
    folder.mkdir(parents=True, exist_ok=True)
    wanted = folder / "wanted.txt"
    wanted.write_text(f"urllib3==2.0.3 --hash=sha256:{WHEEL_SHA256}\n")
    for pip in _pips():
        argv = [*pip, "download", "--quiet", "--no-deps", "--only-binary=:all:", "--require-hashes", "--disable-pip-version-check"]
        argv += ["--timeout", "5", "--retries", "1", "-r", str(wanted), "-d", str(folder)]
        try:
            subprocess.run(argv, capture_output=True, timeout=60, check=True)
        except (OSError, subprocess.SubprocessError):
            continue
        if kept.exists():
            return kept
    return None


def _pips() -> Iterator[list[str]]:
    from kiops.setup import places

    yield [str(places.home() / "uv" / "bin" / "python"), "-m", "pip"]
    yield [sys.executable, "-m", "pip"]
    yield ["python3", "-m", "pip"]
    yield ["pip3"]
