"""Semgrep and Trivy config on real trees: proof of coverage, and repositories that would rather not be read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from scanner.domain.evidence import AreaScan
from scanner.engines import Installed, Programs
from scanner.scanners import semgrep as engine
from scanner.scanners import trivy_config
from scanner.scanners.program import Program
from scanner.scanners.targets import prepare
from shared.words import Area, ScanState, Severity

WEAK = "import yaml\n\n\ndef read(text):\n    return yaml.load(text, Loader=yaml.Loader)\n"
DOCKERFILE = "FROM python:3.11-slim\nRUN curl https://x.example.org/i.sh | sh\nUSER 10001\nHEALTHCHECK CMD true\n"


def tree(folder: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return folder


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return tmp_path / "tree"


@pytest.fixture
def look(semgrep: Program, trivy: Program, gitleaks: Program, job: Any, base: Path, props: Any) -> Any:
    """The areas SAST and IaC of a tree, as a scan of its source gives them."""

    async def run(files: dict[str, str], *, dockerfile: str = "./Dockerfile", **programs: Program) -> dict[Area, AreaScan]:
        from scanner.clients.git import Source

        tree(base, files)
        chosen = {"gitleaks": gitleaks, "semgrep": semgrep, "trivy": trivy} | programs
        installed = Installed(Programs(**chosen), None, None, key=props.KEY)  # type: ignore[arg-type]  # no image here
        source = Source(base, base, "1" * 40, 1, len(files), False)
        areas = installed.source_areas(source, dockerfile=dockerfile, job=job)
        return {area.area: area async for area in areas}

    return run


async def test_findings_of_both_engines_in_their_areas(look: Any) -> None:
    found = await look({"app.py": WEAK, "Dockerfile": DOCKERFILE})
    (sast,) = found[Area.SAST].findings
    assert (sast.rule, sast.path, sast.line, sast.scope) == ("kiops.python.yaml-load", "app.py", 5, "read")
    assert found[Area.SAST].state == ScanState.COMPLETED and found[Area.SAST].coverage["files"] == 1
    assert "kiops.dockerfile.download-piped-to-shell" in {finding.rule for finding in found[Area.IAC].findings}
    assert [run.name for run in found[Area.IAC].engines] == ["trivy", "semgrep"]
    assert all(len(run.sha256) == 64 and run.version for run in found[Area.IAC].engines)


async def test_a_file_that_does_not_parse_leaves_the_scan_partial(look: Any) -> None:
    found = await look({"app.py": WEAK, "broken.py": "def f(x:\n    return x\n"})
    assert found[Area.SAST].state == ScanState.PARTIAL and "broken.py" in found[Area.SAST].reason
    assert len(found[Area.SAST].findings) == 1, "what was read counts"


async def test_a_language_without_rules_is_not_applicable_and_said(look: Any) -> None:
    found = await look({"main.rs": "fn main() {}\n"})
    assert (found[Area.SAST].state, found[Area.SAST].reason) == (ScanState.NOT_APPLICABLE, "no rules for Rust")
    assert found[Area.IAC].state == ScanState.NOT_APPLICABLE


async def test_a_second_language_without_rules_is_named(look: Any) -> None:
    found = await look({"app.py": "a = 1\n", "main.go": "package main\n"})
    assert (found[Area.SAST].state, found[Area.SAST].reason) == (ScanState.COMPLETED, "no rules for Go")


@pytest.mark.parametrize("way", ["comment", "ignore file", "tests folder", "large"])
async def test_nothing_in_the_repository_hides_code(way: str, look: Any) -> None:
    files = {
        "comment": {"app.py": WEAK.replace("yaml.Loader)", "yaml.Loader)  # nosemgrep")},
        "ignore file": {"app.py": WEAK, ".semgrepignore": "*.py\n", "sub/.semgrepignore": "*\n", ".gitignore": "*.py\n"},
        "tests folder": {"tests/app.py": WEAK},
        "large": {"app.py": WEAK + "# " + "x" * 1_500_000 + "\n"},
    }[way]
    found = await look(files)
    assert [finding.rule for finding in found[Area.SAST].findings] == ["kiops.python.yaml-load"], found[Area.SAST].reason


async def test_a_file_over_the_limit_is_told(look: Any) -> None:
    found = await look({"a.py": "a = 1\n", "big.py": "# " + "x" * 2_100_000})
    assert found[Area.SAST].state == ScanState.PARTIAL and "big.py" in found[Area.SAST].reason


async def test_scripts_without_an_ending_and_odd_dockerfiles_are_read(look: Any) -> None:
    files = {"bin/tool": "#!/usr/bin/env python3\n" + WEAK, "build/web.docker": DOCKERFILE, "Dockerfile.prod": DOCKERFILE}
    found = await look(files | {"Containerfile": DOCKERFILE}, dockerfile="./build/web.docker")
    assert [finding.path for finding in found[Area.SAST].findings] == ["bin/tool"]
    piped = [f.path for f in found[Area.IAC].findings if f.rule == "kiops.dockerfile.download-piped-to-shell"]
    assert sorted(piped) == ["Containerfile", "Dockerfile.prod", "build/web.docker"]


async def test_a_dockerfile_that_does_not_parse_leaves_the_scan_partial(look: Any) -> None:
    found = await look({"Dockerfile": DOCKERFILE, "web/Dockerfile": "FORM python\nRUNN x\n"})
    assert found[Area.IAC].state == ScanState.PARTIAL and "web/Dockerfile could not be read" in found[Area.IAC].reason


async def test_checks_of_trivy_cannot_be_silenced_in_the_file(look: Any) -> None:
    silenced = "# trivy:ignore:DS-0002\nFROM python:3.11-slim\nCMD python\n"
    found = await look({"Dockerfile": silenced, ".trivyignore": "DS-0002\nAVD-DS-0002\n", "trivy.yaml": "severity: [CRITICAL]\n"})
    rules = {finding.rule: finding for finding in found[Area.IAC].findings}
    assert rules["trivy.DS-0002"].severity == Severity.HIGH and rules["trivy.DS-0002"].advice


async def test_manifests_of_kubernetes_are_checked(look: Any) -> None:
    manifest = (
        "apiVersion: v1\nkind: Pod\nmetadata: {name: x}\nspec:\n  containers:\n    - name: x\n      image: nginx:latest\n"
        "      securityContext: {privileged: true}\n"
    )
    found = await look({"k8s/pod.yaml": manifest, "compose.yaml": "services: {}\n"})
    assert "trivy.KSV-0017" in {finding.rule for finding in found[Area.IAC].findings}
    assert found[Area.IAC].coverage == {"files": 1, "files_read": 1}


async def test_a_value_in_a_dockerfile_is_not_quoted(look: Any) -> None:
    value = "-".join(["correct", "horse", "9battery"])
    found = await look({"Dockerfile": f"FROM python:3.11-slim\nENV DB_PASSWORD={value}\nUSER 1\nHEALTHCHECK CMD true\n"})
    rules = {finding.rule for finding in found[Area.IAC].findings}
    assert {"kiops.dockerfile.secret-in-layer", "trivy.DS-0031"} <= rules
    assert value not in repr(found)
    groups = {f.group for f in found[Area.IAC].findings if f.rule in ("kiops.dockerfile.secret-in-layer", "trivy.DS-0031")}
    assert len(groups) == 1, "two engines, one weakness at one place"


async def test_one_engine_that_fails_leaves_what_the_other_said_as_partial(look: Any, stand_in: Any) -> None:
    found = await look({"app.py": WEAK, "Dockerfile": DOCKERFILE}, trivy=stand_in("trivy", "echo boom >&2; exit 3"))
    assert found[Area.IAC].state == ScanState.PARTIAL and "code 3: boom" in found[Area.IAC].reason
    assert [finding.engine for finding in found[Area.IAC].findings] == ["semgrep"]
    assert found[Area.SAST].state == ScanState.COMPLETED


@pytest.mark.parametrize(
    ("script", "code"),
    [
        ("exit 2", "engine.failed"),
        ('echo "{" > "$out"; exit 0', "engine.output"),
        ("exit 0", "engine.output"),
        ('echo \'{"results":[],"errors":[],"paths":{"scanned":[]},"version":"1.2.3"}\' > "$out"; exit 0', "engine.read_nothing"),
        ('echo \'{"results":[],"errors":[],"paths":{"scanned":["code/app.py"]}}\' > "$out"; exit 0', "engine.version"),
        ("sleep 60", "engine.timeout"),
    ],
)
async def test_semgrep_is_not_believed_without_proof(script: str, code: str, look: Any, stand_in: Any) -> None:
    found = await look({"app.py": WEAK}, semgrep=stand_in("semgrep", script, seconds=2))
    assert (found[Area.SAST].state, found[Area.SAST].code) == (ScanState.FAILED, code)
    assert found[Area.SAST].reason and found[Area.SAST].advice and found[Area.SAST].findings == ()


async def test_a_missing_engine_fails_its_areas_with_advice(look: Any, tmp_path: Path) -> None:
    found = await look({"app.py": WEAK}, semgrep=Program("semgrep", tmp_path / "nowhere"))
    assert (found[Area.SAST].state, found[Area.SAST].code) == (ScanState.FAILED, "engine.missing")
    assert "SCANNER_SEMGREP" in found[Area.SAST].advice
    assert found[Area.IAC].state == ScanState.NOT_APPLICABLE


def test_a_report_with_a_rule_of_the_other_kind_is_ignored(base: Path) -> None:
    targets = prepare(tree(base, {"app.py": WEAK}), base.parent / "shown")
    row = b'{"check_id":"kiops.dockerfile.x","path":"code/app.py","start":{},"end":{},"extra":{}}'
    output = engine.parse(b'{"results":[' + row + b'],"errors":[],"paths":{"scanned":["code/app.py"]}}', targets)
    assert output.findings[Area.SAST] == [] and output.scanned == {"code/app.py"}


@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b"null", b'{"Results": []}'])
def test_what_is_no_report_of_trivy_is_refused(text: bytes, base: Path) -> None:
    targets = prepare(tree(base, {"Dockerfile": DOCKERFILE}), base.parent / "shown")
    with pytest.raises((ValueError, KeyError, TypeError, AttributeError)):
        trivy_config.parse(text, targets)
