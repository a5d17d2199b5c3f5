"""Trivy on an image: its packages (SBOM), their licences, their vulnerabilities, and the image's own configuration.

One run gives four areas. sca: packages of languages; image: packages of the operating system and the configuration; sbom: all
components; license: what they may be used under. Without vulnerability data sca and image are `no_data`, never clean.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.processes import run_child
from shared.words import Area, ScanState

from scanner.data import Bundle
from scanner.data.bundles import check
from scanner.domain.evidence import ADVICE, IMAGE_AREAS, AreaScan, EngineRun, Proof, failed, judged
from scanner.domain.findings import Finding, identified, severity_of
from scanner.scanners import image_config
from scanner.scanners.licences import findings_of as licence_findings
from scanner.scanners.program import Program, Ran, last_words
from scanner.scanners.trivy_config import QUIET, own_files

OFFLINE = ("--skip-db-update", "--skip-java-db-update", "--skip-check-update", "--skip-vex-repo-update", "--offline-scan")
NO_DATA = "no vulnerability data: the components are known, what is wrong with them is not"
NO_DATA_ADVICE = "Import a database with `kiops data import FILE`, or let this machine reach the registry of Trivy's database."
# What Trivy calls the packages of a kind that our own listing of the image's files counts.
READ_AS = {"python": {"python-pkg"}, "node": {"node-pkg"}, "jar": {"jar"}, "ruby": {"gemspec"}}
# Where advisories for a type of package are found in the data.
ECOSYSTEM = {
    "python-pkg": "pip", "conda-pkg": "pip", "node-pkg": "npm", "jar": "maven", "gobinary": "go", "gomod": "go",
    "gemspec": "rubygems", "rustbinary": "cargo", "composer-vendor": "composer", "dotnet-core": "nuget",
}  # fmt: skip
DISTRIBUTION = {"debian": "debian {0}", "ubuntu": "ubuntu {0}.{1}", "alpine": "alpine {0}.{1}"}
WELL_KNOWN = {"centos": "redhat", "alma": "almalinux", "amazon": "amazonlinux"}


@dataclass(frozen=True)
class Contents:
    """What a Trivy report says: packages by type, findings, the number of layers, the operating system."""

    types: dict[str, int]
    os_packages: int
    layers: int
    os: tuple[str, str]
    sca: tuple[Finding, ...]
    image: tuple[Finding, ...]
    license: tuple[Finding, ...]
    components: tuple[dict[str, object], ...]


@dataclass(frozen=True)
class Listing:
    """What our own listing of the image's files says."""

    layers: int
    files: int
    kinds: dict[str, int]


def parse(output: bytes) -> Contents:
    """Read a JSON report. Raises ValueError, KeyError, TypeError or AttributeError when it is none."""
    document = json.loads(output)
    if document.get("ArtifactType") != "container_image":
        raise ValueError("not a report of an image")
    metadata = document["Metadata"]
    types: dict[str, int] = {}
    os_packages = 0
    vulnerable: dict[Area, list[Finding]] = {Area.SCA: [], Area.IMAGE: []}
    components: dict[tuple[str, str], dict[str, object]] = {}
    for result in document.get("Results") or []:
        kind = result.get("Class")
        packages = result.get("Packages") or []
        if kind == "os-pkgs":
            os_packages += len(packages)
        elif kind == "lang-pkgs":
            types[result["Type"]] = types.get(result["Type"], 0) + len(packages)
        else:
            continue
        area = Area.IMAGE if kind == "os-pkgs" else Area.SCA
        for package in packages:
            row = _component(package, str(result["Type"]))
            components.setdefault((str(row["purl"]), str(row["path"])), row)
        vulnerable[area] += [_vulnerability(row, area) for row in result.get("Vulnerabilities") or []]
    system = metadata.get("OS") or {}
    listed = tuple(components.values())
    return Contents(
        types,
        os_packages,
        len(metadata.get("DiffIDs") or []),
        (str(system.get("Family", "")), str(system.get("Name", ""))),
        tuple(identified(vulnerable[Area.SCA])),
        tuple(identified([*vulnerable[Area.IMAGE], *image_config.findings(metadata.get("ImageConfig") or {})])),
        tuple(identified(licence_findings(listed))),
        listed,
    )


def _component(package: dict[str, Any], kind: str) -> dict[str, object]:
    version = str(package.get("Version", ""))
    if package.get("Release"):
        version = f"{version}-{package['Release']}"
    if package.get("Epoch"):
        version = f"{package['Epoch']}:{version}"
    return {
        "name": str(package["Name"]),
        "version": version,
        "purl": str((package.get("Identifier") or {}).get("PURL", "")),
        "type": kind,
        "path": str(package.get("FilePath", "")),
        "licences": [str(name) for name in package.get("Licenses") or []],
    }


def _vulnerability(row: dict[str, Any], area: Area) -> Finding:
    ids = (str(row["VulnerabilityID"]), *(str(name) for name in row.get("VendorIDs") or []))
    fix = _fix(str(row["InstalledVersion"]), str(row.get("FixedVersion", "")))
    package = str(row["PkgName"])
    return Finding(
        area=area,
        rule=ids[0],
        title=str(row.get("Title") or f"{ids[0]} in {package}")[:200],
        severity=severity_of(str(row["Severity"])),
        engine="trivy",
        native_severity=f"{row['Severity']} ({row.get('SeveritySource', 'unrated')})",
        message=re.sub(r"\s+", " ", str(row.get("Description", "")))[:1000],
        advice=f"Update {package} from {row['InstalledVersion']} to {fix}."
        if fix
        else f"There is no version of {package} yet that mends it.",
        weakness="vulnerable-package",
        cwe=tuple(str(name) for name in row.get("CweIDs") or []),
        ids=ids,
        references=tuple(str(address) for address in (row.get("References") or [])[:8]),
        path=str(row.get("PkgPath", "")),
        package=package,
        purl=str((row.get("PkgIdentifier") or {}).get("PURL", "")) or f"pkg:generic/{package}@{row['InstalledVersion']}",
        installed=str(row["InstalledVersion"]),
        fix=fix,
    )


def _fix(installed: str, fixed: str) -> str:
    """Of several mended versions the least that is newer in the same line; as the engine says it when that cannot be told."""
    versions = [version.strip() for version in fixed.split(",") if version.strip()]
    if len(versions) < 2:
        return versions[0] if versions else ""
    try:
        now = _numbers(installed)
        newer = sorted((version for version in versions if _numbers(version) > now), key=_numbers)
        return newer[0] if newer else fixed
    except ValueError:
        return fixed


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def unread(listing: Listing, contents: Contents) -> list[str]:
    """Kinds of packages that are in the image's files and of which Trivy says nothing."""
    problems = []
    for kind, types in READ_AS.items():
        if listing.kinds.get(kind) and not any(contents.types.get(name) for name in types):
            problems.append(f"{listing.kinds[kind]} {kind} packages are in the image and were not read")
    if listing.kinds.get("os") and not contents.os_packages:
        problems.append("packages of the operating system are in the image and were not read (which system is it?)")
    if contents.layers != listing.layers:
        problems.append(f"{contents.layers} of {listing.layers} layers were read")
    return problems


def without_advisories(contents: Contents, sources: tuple[str, ...]) -> dict[Area, str]:
    """For each area the packages there are and for which the data has no advisories at all."""
    have = {source.split("::", 1)[0].lower() for source in sources}
    lacking = sorted({ECOSYSTEM[kind] for kind in contents.types if kind in ECOSYSTEM and ECOSYSTEM[kind] not in have})
    found = {}
    if lacking:
        found[Area.SCA] = f"the vulnerability data knows nothing of {', '.join(lacking)} packages"
    family, version = contents.os
    if contents.os_packages and family and not _knows(family, version, sources):
        found[Area.IMAGE] = f"the vulnerability data knows nothing of {family} {version}"
    return found


def _knows(family: str, version: str, sources: tuple[str, ...]) -> bool:
    parts = [*version.split("."), "0", "0"]
    if family in DISTRIBUTION:
        return DISTRIBUTION[family].format(*parts) in sources
    name = WELL_KNOWN.get(family, family).replace(" ", "").lower()
    return any(source.replace(" ", "").lower().startswith(name) for source in sources)


async def listing_of(archive: Path, *, job: Any, seconds: int, nice: int) -> Listing:
    """List a saved image's files in a process of its own. Raises ValueError when it cannot be read."""
    program = Path(__file__).parent / "layers.py"
    finished = await run_child([sys.executable, "-I", program, archive], job=job, timeout_seconds=seconds, nice=nice)
    if finished.code != 0:
        raise ValueError(f"the image's archive could not be read: {last_words(finished.err.decode('utf-8', 'replace'), 120)}")
    found = json.loads(finished.out)
    return Listing(found["layers"], found["files"], found["kinds"])


async def scan(program: Program, archive: Path, *, bundle: Bundle | None, job: Any, home: Path) -> list[AreaScan]:
    """Read a saved image. Gives the four areas of an image, whatever happens."""
    known = await program.known(job, home)
    try:
        listing = await listing_of(archive, job=job, seconds=program.seconds, nice=program.nice)
    except ValueError as error:
        return [failed(area, "engine.read_nothing", str(error), ADVICE["engine.read_nothing"]) for area in IMAGE_AREAS]
    cache = home / "cache"
    cache.mkdir(exist_ok=True)
    sources: tuple[str, ...] = ()
    if bundle is not None:
        sources = await asyncio.to_thread(check, bundle.folder / "db" / "trivy.db")
        os.symlink(bundle.folder / "db", cache / "db")
    report = home / "trivy-image.json"
    ran = await program.run(
        [
            *("image", "--input", str(archive), "--cache-dir", str(cache), "--cache-backend", "memory", *OFFLINE, *QUIET),
            *("--scanners", "vuln,license" if bundle is not None else "license", "--list-all-pkgs", "--parallel", "2"),
            *own_files(home),
            *("--format", "json", "--output", str(report)),
        ],
        job=job,
        home=home,
    )
    problems: list[str] = []
    contents = None
    if ran.code != 0:
        problems.append(f"trivy ended with code {ran.code}: {last_words(ran.err)}")
    else:
        try:
            contents = await asyncio.to_thread(parse, report.read_bytes())
            problems += unread(listing, contents)
        except OSError:
            problems.append("trivy wrote no report")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            problems.append(f"the report could not be read ({type(error).__name__})")
    sbom = await _sbom(program, report, job=job, home=home) if contents else None
    if contents and sbom is None:
        problems.append("the list of components could not be made")
    proof = Proof(ran.code == 0, contents is not None, known.version, listing.files, tuple(problems))
    state, code, reason = judged(proof)
    engine = _engine(known.version, known.sha256, ran, bundle, reason)
    if contents is None or state == ScanState.FAILED:
        return [failed(area, code, reason, ADVICE.get(code, ""), [engine]) for area in IMAGE_AREAS]
    return _areas(contents, listing, sbom, state, reason, engine, without_advisories(contents, sources), bundle)


def _engine(version: str, sha256: str, ran: Ran, bundle: Bundle | None, problem: str) -> EngineRun:
    return EngineRun(
        "trivy",
        version,
        sha256,
        ran.code,
        data_date=bundle.date if bundle else None,
        sample_data=bool(bundle and bundle.sample),
        problem=problem,
        duration_ms=ran.duration_ms,
    )


def _areas(
    contents: Contents,
    listing: Listing,
    sbom: bytes | None,
    state: ScanState,
    reason: str,
    engine: EngineRun,
    lacking: dict[Area, str],
    bundle: Bundle | None,
) -> list[AreaScan]:
    libraries = sum(contents.types.values())
    packages = {Area.SCA: libraries, Area.IMAGE: contents.os_packages}
    found = {Area.SCA: contents.sca, Area.IMAGE: contents.image, Area.LICENSE: contents.license, Area.SBOM: ()}
    areas = []
    for area in IMAGE_AREAS:
        here, why = state, reason
        judged_by_data = area in (Area.SCA, Area.IMAGE)
        if judged_by_data and bundle is None:
            here, why = ScanState.NO_DATA, f"{NO_DATA}; {reason}" if reason else NO_DATA
        elif area in lacking:
            here, why = ScanState.NO_DATA, f"{lacking[area]}; {reason}" if reason else lacking[area]
        advice = NO_DATA_ADVICE if here == ScanState.NO_DATA else ""
        coverage = {"layers": listing.layers, "files": listing.files}
        coverage["packages" if judged_by_data else "components"] = packages.get(area, libraries + contents.os_packages)
        areas.append(
            AreaScan(
                area,
                here,
                why,
                advice=advice,
                engines=(engine,),
                coverage=coverage,
                findings=found[area],
                data_date=bundle.date if judged_by_data and bundle else None,
                sample_data=bool(judged_by_data and bundle and bundle.sample),
                duration_ms=engine.duration_ms,
                components=contents.components if area in (Area.SBOM, Area.LICENSE) else (),
                sbom=sbom if area == Area.SBOM else None,
            )
        )
    return areas


async def _sbom(program: Program, report: Path, *, job: Any, home: Path) -> bytes | None:
    """The report as a CycloneDX document; None when that did not work."""
    to = home / "sbom.json"
    arguments = ["convert", "--format", "cyclonedx", "--output", str(to), "--quiet", str(report)]
    ran = await program.run(arguments, job=job, home=home)
    try:
        document = json.loads(to.read_bytes()) if ran.code == 0 else {}
    except (OSError, ValueError):
        return None
    return to.read_bytes() if document.get("bomFormat") == "CycloneDX" else None
