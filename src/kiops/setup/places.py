"""Where things are: the checkout, KIOPS's own folder, and the environments in it."""

from __future__ import annotations

import functools
import hashlib
import os
import pwd
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[3]


def user_home() -> Path:
    """The person's home folder, also where HOME is not set."""
    return Path(os.environ.get("HOME") or pwd.getpwuid(os.getuid()).pw_dir)


def home() -> Path:
    """$KIOPS_HOME, else the XDG data folder: environments, engines, data."""
    if own := os.environ.get("KIOPS_HOME"):
        return Path(own).expanduser().absolute()
    base = os.environ.get("XDG_DATA_HOME") or user_home() / ".local" / "share"
    return Path(base) / "kiops"


def cache() -> Path:
    """Where tests keep what takes long to make: $KIOPS_TEST_CACHE, else below the user's cache."""
    if own := os.environ.get("KIOPS_TEST_CACHE"):
        return Path(own).expanduser().absolute()
    base = os.environ.get("XDG_CACHE_HOME") or user_home() / ".cache"
    return Path(base) / "kiops-tests"


@functools.cache
def key() -> str:
    """Names the environment of this checkout with these locks; the launcher computes the same in shell."""
    # What ruff and pytest read from the root's file makes no other environment.
    own, _, _ = (CHECKOUT / "pyproject.toml").read_bytes().partition(b"\n[tool.ruff]\n")
    files = [CHECKOUT / "shared" / "pyproject.toml", *sorted((CHECKOUT / "services").glob("*/pyproject.toml"))]
    files += [CHECKOUT / "requirements" / f"{name}.txt" for name in ("all", "bootstrap", "build", "test")]
    digest = hashlib.sha256(own + b"\n")
    for file in files:
        digest.update(file.read_bytes())
    digest.update(f"{CHECKOUT}\n".encode())
    return digest.hexdigest()[:12]


def environment(kind: str) -> Path:
    """The virtual environment to run from: `run` (the product) or `test` (with what tests need)."""
    return home() / "env" / f"{key()}-{kind}"


def tools() -> Path:
    """One environment per scan engine, and bin/ with a link to each program."""
    return home() / "tools"


def logs() -> Path:
    """What installers and the Docker engine say."""
    folder = home() / "log"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def short(path: Path) -> str:
    """A path as a person writes it: ~ for the home folder."""
    try:
        return f"~/{path.relative_to(user_home())}".removesuffix("/.")
    except ValueError:
        return str(path)
