"""Trivy on images made here: vulnerability data and its date, no data, and images it does not understand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from scanner import data
from scanner.data.building import build
from scanner.data.bundles import adopt, preparing
from scanner.domain.evidence import AreaScan
from scanner.scanners import trivy_image as engine
from scanner.scanners.program import Program
from shared.words import Area, ScanState, Severity


@pytest.fixture
def look(trivy: Program, job: Any, props: Any) -> Any:
    """The four areas of an image with these layers."""

    async def run(*layers: dict[str, Any], bundle: Any = None, program: Program | None = None, **more: Any) -> dict[Area, AreaScan]:
        archive = job.folder / "image.tar"
        props.save_image(archive, *layers, **more)
        home = job.folder / "home"
        home.mkdir()
        areas = await engine.scan(program or trivy, archive, bundle=bundle, job=job, home=home)
        assert [area.area for area in areas] == [Area.SCA, Area.SBOM, Area.LICENSE, Area.IMAGE]
        return {area.area: area for area in areas}

    return run


async def test_known_vulnerabilities_with_the_version_that_mends_them(look: Any, props: Any, tmp_path: Path) -> None:
    packages = {**props.python_package("urllib3", "2.0.3"), **props.python_package("flask", "3.0.3", "BSD-3-Clause")}
    found = await look(props.DEBIAN, packages, bundle=data.sample(tmp_path))

    sca = found[Area.SCA]
    assert (sca.state, sca.data_date, sca.sample_data) == (ScanState.COMPLETED, "2026-11-01", True)
    by_rule = {finding.rule: finding for finding in sca.findings}
    assert {"CVE-2023-45803", "CVE-2024-37891"} <= set(by_rule)
    one = by_rule["CVE-2023-45803"]
    assert (one.package, one.installed, one.fix, one.severity) == ("urllib3", "2.0.3", "2.0.7", Severity.MEDIUM)
    assert one.cwe == ("CWE-200",) and "2.0.7" in one.advice and one.ids[1].startswith("GHSA-")
    assert sca.coverage == {"layers": 2, "files": 8, "packages": 2}

    image = found[Area.IMAGE]
    assert (image.state, image.coverage["packages"]) == (ScanState.COMPLETED, 2)
    assert [finding.fix for finding in image.findings if finding.rule == "CVE-2024-2961"] == ["2.36-9+deb12u6"]

    sbom = found[Area.SBOM]
    document = json.loads(sbom.sbom or b"")
    assert document["bomFormat"] == "CycloneDX" and {"urllib3", "flask"} <= {part["name"] for part in document["components"]}
    assert sbom.state == ScanState.COMPLETED and sbom.coverage["components"] == 4 and sbom.data_date is None
    assert {"name": "urllib3", "version": "2.0.3", "licences": ["MIT"]}.items() <= next(
        part for part in sbom.components if part["name"] == "urllib3"
    ).items()

    licences = {finding.licence: finding for finding in found[Area.LICENSE].findings}
    assert {"MIT", "BSD-3-Clause", "Zlib"} <= set(licences) and "urllib3 2.0.3" in licences["MIT"].package
    assert licences["unknown"].severity == Severity.MEDIUM and "libc6" in licences["unknown"].package


async def test_the_identity_of_a_vulnerability_survives_an_update_that_does_not_mend_it(
    trivy: Program, props: Any, tmp_path: Path
) -> None:
    ids = []
    for version in ("2.0.3", "2.0.4"):
        attempt = props.Attempt(tmp_path / version)
        attempt.folder.mkdir()
        archive = attempt.folder / "image.tar"
        props.save_image(archive, props.python_package("urllib3", version))
        sca, *_ = await engine.scan(trivy, archive, bundle=data.sample(tmp_path), job=attempt, home=attempt.folder)
        ids.append({finding.rule: finding.id for finding in sca.findings}["CVE-2023-45803"])
    assert ids[0] == ids[1]


async def test_without_vulnerability_data_nothing_is_called_clean(look: Any, props: Any) -> None:
    found = await look(props.DEBIAN, props.python_package("urllib3", "2.0.3"))
    for area in (Area.SCA, Area.IMAGE):
        assert found[area].state == ScanState.NO_DATA and found[area].data_date is None
        assert "no vulnerability data" in found[area].reason and "kiops data import" in found[area].advice
    assert found[Area.SCA].coverage["packages"] == 1 and found[Area.IMAGE].coverage["packages"] == 2
    assert found[Area.SBOM].state == found[Area.LICENSE].state == ScanState.COMPLETED


async def test_data_that_knows_nothing_of_these_packages_is_no_data(look: Any, props: Any, tmp_path: Path) -> None:
    other = {"etc/os-release": "ID=alpine\nVERSION_ID=3.20.1\n", "lib/apk/db/installed": "P:musl\nV:1.2.5-r0\nA:x86_64\nL:MIT\n\n"}
    found = await look(other, bundle=data.sample(tmp_path))
    assert found[Area.IMAGE].state == ScanState.NO_DATA and "knows nothing of alpine 3.20.1" in found[Area.IMAGE].reason
    assert found[Area.SCA].state == ScanState.COMPLETED


async def test_the_date_of_old_data_is_told(look: Any, props: Any, tmp_path: Path) -> None:
    with preparing(tmp_path) as aside:
        build(aside / "db", updated_at="2020-02-02T06:00:00Z")
        bundle = adopt(aside, tmp_path)
    found = await look(props.python_package("urllib3", "2.0.3"), bundle=bundle)
    assert found[Area.SCA].data_date == found[Area.SCA].engines[0].data_date == "2020-02-02"
    assert found[Area.SCA].sample_data is False


async def test_an_image_without_packages_is_read_and_completed(look: Any, tmp_path: Path) -> None:
    found = await look({"app": b"\x7fELF program"}, bundle=data.sample(tmp_path))
    assert {area.state for area in found.values()} == {ScanState.COMPLETED}
    assert found[Area.SBOM].coverage == {"layers": 1, "files": 1, "components": 0}


async def test_an_image_of_which_nothing_was_read_has_failed(look: Any, tmp_path: Path) -> None:
    found = await look({}, bundle=data.sample(tmp_path))
    assert {(area.state, area.code) for area in found.values()} == {(ScanState.FAILED, "engine.read_nothing")}


async def test_packages_of_a_system_that_is_not_recognised_leave_the_scan_partial(look: Any, props: Any, tmp_path: Path) -> None:
    files = {name: content for name, content in props.DEBIAN.items() if name.startswith("var/")}
    found = await look(files, bundle=data.sample(tmp_path))
    assert found[Area.IMAGE].state == ScanState.PARTIAL and "operating system" in found[Area.IMAGE].reason


async def test_what_an_upper_layer_takes_away_is_gone(look: Any, props: Any, tmp_path: Path) -> None:
    packages = props.python_package("urllib3", "2.0.3")
    gone = {f"usr/lib/python3/dist-packages/.wh.{name.split('/')[4]}": b"" for name in packages}
    found = await look(packages | {"app": "x"}, gone, bundle=data.sample(tmp_path))
    assert found[Area.SCA].state == ScanState.COMPLETED and found[Area.SCA].coverage == {"layers": 2, "files": 1, "packages": 0}


async def test_the_configuration_of_the_image_is_looked_at_and_its_values_hidden(look: Any) -> None:
    value = "".join(["s3cr", "3t-v", "alue"])
    found = await look(
        {"app": "x"}, environment=(f"SHOP_TOKEN={value}", "SHOP_TOKEN_FILE=/run/secrets/token", "PATH=/bin"), user=""
    )
    rules = {finding.rule: finding for finding in found[Area.IMAGE].findings}
    assert set(rules) == {"kiops.image.secret-in-environment", "kiops.image.root-user"}
    assert "SHOP_TOKEN" in rules["kiops.image.secret-in-environment"].title and value not in repr(found)


async def test_an_archive_that_is_none_fails_all_areas(trivy: Program, job: Any) -> None:
    archive = job.folder / "image.tar"
    archive.write_bytes(b"not a tar archive" * 100)
    areas = await engine.scan(trivy, archive, bundle=None, job=job, home=job.folder)
    assert {(area.state, area.code) for area in areas} == {(ScanState.FAILED, "engine.read_nothing")}


@pytest.mark.parametrize(
    ("script", "code"),
    [("echo oops >&2; exit 1", "engine.failed"), ('echo "[" > "$out"', "engine.output"), ("exit 0", "engine.output")],
)
async def test_trivy_is_not_believed_without_proof(script: str, code: str, look: Any, stand_in: Any) -> None:
    found = await look({"app": "x"}, program=stand_in("trivy", script))
    assert {(area.state, area.code) for area in found.values()} == {(ScanState.FAILED, code)}
    assert all(area.reason and not area.findings for area in found.values())


def test_the_nearest_mended_version_is_chosen() -> None:
    assert engine._fix("2.0.3", "2.0.7, 1.26.18") == "2.0.7"
    assert engine._fix("1.26.1", "2.0.7, 1.26.18") == "1.26.18"
    assert engine._fix("1.0", "") == "" and engine._fix("1.0~rc1", "1.1, 2.0") == "1.1, 2.0"
