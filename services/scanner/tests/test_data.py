"""Vulnerability data: bundles are checked before they are used, and Trivy's own program reads what our writer writes."""

from __future__ import annotations

import json
import random
import tarfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from scanner import data
from scanner.data import bbolt
from scanner.data.building import build
from scanner.data.keeper import Keeper
from scanner.errors import DataInvalid
from scanner.scanners.program import Program
from shared.clock import HeldClock

NOW = datetime(2026, 11, 21, tzinfo=UTC)


def bundle_file(folder: Path, *, updated_at: str = "2026-11-20T06:00:00Z", below: str = "", version: int = 2) -> Path:
    """A bundle as it is distributed: a tar.gz with two files."""
    made = folder / "made"
    build(made, updated_at=updated_at)
    metadata = json.loads((made / "metadata.json").read_text()) | {"Version": version}
    (made / "metadata.json").write_text(json.dumps(metadata))
    path = folder / "db.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name in ("trivy.db", "metadata.json"):
            archive.add(made / name, f"{below}{name}")
    return path


@pytest.mark.parametrize("below", ["", "db/", "../../etc/"])
def test_an_imported_bundle_is_the_one_in_use(below: str, tmp_path: Path) -> None:
    root = tmp_path / "root"
    assert data.current(root) is None and data.list_bundles(root) == []
    made = data.import_bundle(bundle_file(tmp_path, below=below), root)
    assert made.date == "2026-11-20" and made.current and "pip::GitHub Security Advisory pip" in made.sources
    found = data.current(root)
    assert found is not None and found.name == made.name and found.age_hours(NOW) == 18
    assert [bundle.name for bundle in data.list_bundles(root)] == [made.name]
    assert not (tmp_path / "etc").exists() and (made.folder / "db" / "trivy.db").is_file()


def test_the_bundle_before_stays_and_older_ones_go(tmp_path: Path) -> None:
    root = tmp_path / "root"
    made = [data.import_bundle(bundle_file(tmp_path, updated_at=f"2026-11-0{day}T00:00:00Z"), root) for day in (1, 2, 3)]
    listed = data.list_bundles(root)
    assert [bundle.name for bundle in listed] == [made[2].name, made[1].name]
    assert [bundle.current for bundle in listed] == [True, False]


def test_a_folder_can_be_imported(tmp_path: Path) -> None:
    build(tmp_path / "cache" / "db")
    assert data.import_bundle(tmp_path / "cache", tmp_path / "root").date == "2026-11-01"


@pytest.mark.parametrize("wrong", ["missing", "text", "empty archive", "schema", "damaged", "no advisories", "no metadata"])
def test_what_is_no_bundle_is_refused_and_changes_nothing(wrong: str, tmp_path: Path) -> None:
    root = tmp_path / "root"
    before = data.import_bundle(bundle_file(tmp_path), root)
    path = tmp_path / "wrong.tar.gz"
    made = tmp_path / "made"
    if wrong == "text":
        path.write_text("this is no archive")
    elif wrong == "schema":
        path = bundle_file(tmp_path, version=1)
    elif wrong != "missing":
        if wrong == "damaged":
            content = bytearray((made / "trivy.db").read_bytes())
            content[0:8192] = b"\0" * 8192
            (made / "trivy.db").write_bytes(bytes(content))
        elif wrong == "no advisories":
            bbolt.write(made / "trivy.db", {b"vulnerability": {}, b"data-source": {}})
        names = {"empty archive": [], "no metadata": ["trivy.db"]}.get(wrong, ["trivy.db", "metadata.json"])
        with tarfile.open(path, "w:gz") as archive:
            for name in names:
                archive.add(made / name, name)
    with pytest.raises(DataInvalid) as raised:
        data.import_bundle(path, root)
    assert raised.value.code == "data.invalid" and raised.value.advice
    found = data.current(root)
    assert found is not None and found.name == before.name
    assert [path.name for path in (root / "data" / "trivy").iterdir() if path.name.startswith(".")] == []


def test_the_sample_is_marked_dated_and_made_once(tmp_path: Path) -> None:
    made = data.sample(tmp_path)
    stamp = (made.folder / "db" / "trivy.db").stat().st_mtime_ns
    assert made.sample and made.date == "2026-11-01" and not made.current
    assert data.sample(tmp_path) == made and (made.folder / "db" / "trivy.db").stat().st_mtime_ns == stamp
    assert data.current(tmp_path) is None, "it is never what other services get"
    assert [bundle.sample for bundle in data.list_bundles(tmp_path)] == [True]


@pytest.mark.parametrize("count", [0, 1, 3, 700, 20_000])
def test_what_is_written_is_read_again(count: int, tmp_path: Path) -> None:
    chance = random.Random(count)
    tree: dict[bytes, Any] = {b"empty": {}, b"value": b"", b"inside": {b"deeper": {b"k": b"v" * 10_000}}}
    tree[b"many"] = {f"{chance.random():.12f}".encode(): b"x" * chance.randrange(200) for _ in range(count)}
    bbolt.write(tmp_path / "file.db", tree)
    assert (tmp_path / "file.db").stat().st_size % bbolt.SIZE == 0
    with bbolt.Reader(tmp_path / "file.db") as reader:
        assert reader.tree() == tree


async def test_a_download_that_failed_is_not_tried_at_once_again(stand_in: Any, job: Any, tmp_path: Path) -> None:
    tries = tmp_path / "tries"
    program: Program = stand_in("trivy", f'echo once >> {tries}; echo "FATAL no such host" >&2; exit 1')
    clock = HeldClock()
    keeper = Keeper(tmp_path / "root", program, clock, every_hours=12, seconds=20, retry_minutes=60)
    for _ in range(2):
        given = await keeper.given(is_sample=False, job=job, home=job.folder)
        assert given.bundle is None and "no such host" in given.trouble
    assert len(tries.read_text().splitlines()) == 1
    clock.move(3601)
    await keeper.given(is_sample=False, job=job, home=job.folder)
    assert len(tries.read_text().splitlines()) == 2


async def test_a_download_becomes_the_bundle_in_use_and_is_renewed_when_old(stand_in: Any, job: Any, tmp_path: Path) -> None:
    made = tmp_path / "made"
    clock = HeldClock()
    build(made, updated_at=clock.now().strftime("%Y-%m-%dT%H:%M:%SZ"))
    script = f'for word in "$@"; do [ "$last" = --cache-dir ] && to="$word"; last="$word"; done; cp {made}/* "$to/db/"'
    keeper = Keeper(tmp_path / "root", stand_in("trivy", script), clock, every_hours=12, seconds=20, retry_minutes=60)
    first = (await keeper.given(is_sample=False, job=job, home=job.folder)).bundle
    again = (await keeper.given(is_sample=False, job=job, home=job.folder)).bundle
    assert first is not None and again is not None and first.name == again.name
    clock.move(13 * 3600)
    newer = (await keeper.given(is_sample=False, job=job, home=job.folder)).bundle
    assert newer is not None and newer.name != first.name


async def test_the_sample_is_for_samples_alone(stand_in: Any, job: Any, tmp_path: Path) -> None:
    keeper = Keeper(tmp_path, stand_in("trivy", "exit 1"), HeldClock(), every_hours=0, seconds=20, retry_minutes=60)
    sample = await keeper.given(is_sample=True, job=job, home=job.folder)
    other = await keeper.given(is_sample=False, job=job, home=job.folder)
    assert sample.bundle is not None and sample.bundle.sample and other.bundle is None
