"""The locks hold everything the members ask for, with hashes and without an address."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))
MANIFESTS = [ROOT / "pyproject.toml", ROOT / "shared" / "pyproject.toml", *(ROOT / "services").glob("*/pyproject.toml")]


def pinned(lock: Path) -> dict[str, str]:
    found = re.findall(r"^([A-Za-z0-9_.-]+)(?:\[[^\]]*\])?==([^\s;\\]+)", lock.read_text(), re.MULTILINE)
    return {canonicalize_name(name): version for name, version in found}


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_a_lock_is_pinned_hashed_and_without_an_address(lock: Path) -> None:
    text = lock.read_text()
    assert "://" not in text
    entries = re.split(r"\n(?=\S)", "\n".join(line for line in text.splitlines() if not line.startswith("#")).strip())
    for entry in entries:
        assert "==" in entry and "--hash=sha256:" in entry, entry[:80]


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda path: path.parent.name)
def test_every_dependency_is_in_its_lock(manifest: Path) -> None:
    project = tomllib.loads(manifest.read_text())["project"]
    name = project["name"].removeprefix("kiops-")
    locks = [ROOT / "requirements" / "all.txt"]
    if (own := ROOT / "requirements" / f"{name}.txt").exists():
        locks.append(own)
    for lock in locks:
        there = pinned(lock)
        for line in project["dependencies"]:
            wanted = Requirement(line)
            key = canonicalize_name(wanted.name)
            if key.startswith("kiops-"):
                continue
            assert key in there, f"{wanted} is not in {lock.name}; run requirements/update"
            assert wanted.specifier.contains(there[key]), f"{lock.name} has {key} {there[key]}, {manifest} wants {wanted}"


def test_the_locks_agree_with_each_other() -> None:
    """One service alone runs what all together run; the tests too."""
    everything = pinned(ROOT / "requirements" / "all.txt")
    for lock in LOCKS:
        if lock.stem.startswith("tools-") or lock.stem in ("bootstrap", "build"):
            continue
        for name, version in pinned(lock).items():
            assert everything.get(name, version) == version, f"{lock.name}: {name}"
