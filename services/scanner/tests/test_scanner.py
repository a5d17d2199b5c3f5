"""The whole service on a real nats-server with the real engines: facts in, facts out, and nothing secret kept."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from scanner import tables
from scanner.scanners.program import Program
from scanner.settings import ScannerSettings
from scanner.wiring import wire
from shared.facts._base import Message
from shared.facts.builder import BuildFailed, BuildSucceeded
from shared.facts.gateway import ServiceRegistered
from shared.facts.scanner import ScanCancelled, ScanFailed, ScanFinished, ScanQueued, ScanStarted
from shared.facts.webhook import RunCancelled, RunSuperseded
from shared.words import Area, ScanState

from services.scanner.tests.serving import SHOP, Slow, done, push
from shared import ids

EXAMPLES = Path(__file__).resolve().parents[3] / "shared" / "src" / "shared" / "facts" / "examples"


def everything_kept(folder: Path) -> bytes:
    """All bytes below a folder, objects unpacked: databases, the bus's store, logs, objects."""
    kept = b""
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            if path.is_file():
                data = path.read_bytes()
                kept += gzip.decompress(data) if path.suffix == ".gz" else data
    return kept


@pytest.mark.one_database
@pytest.mark.usefixtures("gitleaks", "semgrep", "trivy")
async def test_a_push_is_scanned_and_its_secret_kept_nowhere(
    scanning: Any, repository: Any, props: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    key = props.aws_key("kept nowhere")
    commit = repository.commit(
        {
            "prices.py": f"import yaml\n\nKEY = '{key}'\nprices = yaml.load(open('p'), Loader=yaml.Loader)  # {key}\n",
            "Dockerfile": f"FROM python:3.11-slim\nENV ACCESS_KEY={key}\nCMD python prices.py\n",
        }
    )
    async with scanning() as scanner:
        message = push(repository.folder, commit)
        await scanner.hear(message)
        found = await scanner.areas(3)
        await scanner.until(lambda facts: len(facts) == 5)
        rows = await scanner.rows(tables.scans)
        findings = await scanner.rows(tables.findings)
        host = scanner.platform.services["scanner"].host
        reports = {area: json.loads(await host.objects.get(fact.report)) for area, fact in found.items()}
        while not (await scanner.rows(tables.scans))[0]["ended_at_ms"]:
            await asyncio.sleep(0.05)
        queued, started, *_ = await scanner.told(ScanQueued, ScanStarted)

    assert queued.areas == started.areas == ["secrets", "sast", "iac"] and started.attempt == 1
    assert {area: fact.state for area, fact in found.items()} == dict.fromkeys(
        (Area.SECRETS, Area.SAST, Area.IAC), ScanState.COMPLETED
    )
    by_path = {finding.path: finding for finding in found[Area.SECRETS].findings}
    assert (
        by_path["prices.py"].commit == commit
        and by_path["prices.py"].line in (3, 4)
        and by_path["prices.py"].severity == "critical"
    )
    assert {finding.rule for finding in found[Area.SAST].findings} >= {"kiops.python.yaml-load"}
    assert all(fact.engines[0].version and fact.run == message.run and fact.scan == rows[0]["id"] for fact in found.values())
    assert {row["id"] for row in findings} >= {line.id for fact in found.values() for line in fact.findings}
    line = reports[Area.SAST]["findings"][0]
    assert reports[Area.SAST]["format"] == "kiops.scan-report.v1" and line["advice"] and line["code"] and line["cwe"]
    assert any("•••" in text for _, text in line["code"]), "the secret in the quoted code is hidden"
    assert reports[Area.SECRETS]["engines"][0]["sha256"]

    kept = everything_kept(tmp_path / "data")
    assert commit.encode() in kept and key.encode() not in kept
    out = capfd.readouterr()
    assert key not in out.out + out.err
    assert not [path for path in (tmp_path / "data" / "services" / "scanner" / "work").rglob("*") if path.is_file()]


@pytest.fixture
def image(docker_engine: Any, props: Any, tmp_path: Path) -> Any:
    archive = tmp_path / "load.tar"
    found = props.save_image(archive, props.DEBIAN, props.python_package("urllib3", "2.0.3"))
    status, said = docker_engine.request("POST", "/images/load", archive.read_bytes())
    assert status == 200, said
    yield found
    docker_engine.remove_image(found)


@pytest.mark.one_database
@pytest.mark.usefixtures("gitleaks", "semgrep", "trivy")
async def test_a_built_image_is_scanned_with_the_sample_for_samples_alone(
    scanning: Any, image: str, repository: Any, docker_engine: Any
) -> None:
    commit = repository.commit({"main.rs": "fn main() {}\n"})
    async with scanning(docker_host=docker_engine.url, engines_at_once=1) as scanner:
        for number, sample in ((1, True), (2, False)):
            message = push(repository.folder, commit, number=number, sample=sample)
            built = BuildSucceeded(
                organisation="main", service=SHOP, build=ids.new("bld"), run=message.run, number=number, commit=commit,
                image="shop:1", image_id=image,
            )  # fmt: skip
            await scanner.hear(message)
            await scanner.hear(built)
            await scanner.hear(built)
        facts = await scanner.until(lambda found: len(found) == 14, ScanFinished, ScanFailed)
        assert len(await scanner.told(ScanQueued)) == 4, "a repeated fact makes no second scan"
        by = {(fact.number, fact.area): fact for fact in facts}
        host = scanner.platform.services["scanner"].host
        report = json.loads(await host.objects.get(by[1, Area.SBOM].report))
        sbom = json.loads(await host.objects.get(report["sbom"]))

    assert by[1, Area.SCA].sample_data and by[1, Area.SCA].data_date == "2026-11-01" and by[1, Area.SCA].image_id == image
    assert {"CVE-2023-45803", "CVE-2024-37891"} <= {line.rule for line in by[1, Area.SCA].findings}
    assert by[1, Area.SCA].engines[0].sample_data
    assert by[2, Area.SCA].state == by[2, Area.IMAGE].state == ScanState.NO_DATA and not by[2, Area.SCA].sample_data
    assert by[1, Area.SAST].state == ScanState.NOT_APPLICABLE and by[1, Area.SAST].reason == "no rules for Rust"
    assert "urllib3" in {part["name"] for part in report["components"]} & {part["name"] for part in sbom["components"]}


async def test_a_run_that_is_superseded_stops_its_scan_and_starts_no_other(scanning: Any) -> None:
    slow = Slow(areas=[done(Area.SECRETS)], hold=True)
    async with scanning(git=slow, engines=slow) as scanner:
        message = push("/x", "1" * 40)
        await scanner.hear(message)
        await asyncio.wait_for(slow.began.wait(), 10)
        await scanner.until(lambda found: len(found) == 1, ScanFinished)
        about = {"organisation": "main", "service": SHOP, "run": message.run, "number": 1}
        await scanner.hear(RunSuperseded(**about, by_run="run_2", by_number=2))
        (cancelled,) = await scanner.until(lambda found: len(found) == 1, ScanCancelled, seconds=10)
        built = BuildSucceeded(**about, build="bld_1", commit="1" * 40, image="x", image_id="sha256:x")
        await scanner.hear(built)
        await scanner.hear(BuildFailed(**about, build="bld_1", stage="build", code="x", reason="x"))
        rows = await scanner.rows(tables.scans)
    assert cancelled.areas == ["sast", "iac"] and "superseded by run #2" in cancelled.reason
    assert slow.cancelled and [row["state"] for row in rows] == ["cancelled"]


async def test_a_scan_that_was_not_begun_is_cancelled_too(scanning: Any) -> None:
    slow = Slow(hold=True)
    async with scanning(git=slow, engines=slow) as scanner:
        first, second = push("/x", "1" * 40), push("/x", "2" * 40, number=2)
        await scanner.hear(first)
        await asyncio.wait_for(slow.began.wait(), 10)
        await scanner.hear(second)
        await scanner.hear(RunCancelled(organisation="main", service=SHOP, run=second.run, number=2, by="Ada"))
        (cancelled,) = await scanner.until(lambda found: len(found) == 1, ScanCancelled, seconds=10)
    assert cancelled.run == second.run and cancelled.areas == ["secrets", "sast", "iac"] and slow.runs == 1


@pytest.mark.slow
async def test_an_attempt_that_breaks_leaves_no_area_without_an_answer(scanning: Any) -> None:
    slow = Slow(areas=[done(Area.SECRETS)], error=RuntimeError("boom"))
    async with scanning(git=slow, engines=slow) as scanner:
        await scanner.hear(push("/x", "1" * 40))
        failures = await scanner.until(lambda found: len(found) == 2, ScanFailed, seconds=20)
        finished = await scanner.told(ScanFinished)
    assert [fact.area for fact in failures] == [Area.SAST, Area.IAC] and {fact.code for fact in failures} == {"job.broken"}
    assert [fact.area for fact in finished] == [Area.SECRETS], "what was told stays"


async def test_a_repository_that_cannot_be_read_fails_every_area_by_name(scanning: Any, tmp_path: Path) -> None:
    async with scanning() as scanner:
        await scanner.hear(push(tmp_path / "gone.git", "1" * 40))
        failures = await scanner.until(lambda found: len(found) == 3, ScanFailed, seconds=20)
    assert {fact.code for fact in failures} == {"source.not_found"} and all(fact.advice for fact in failures)


@pytest.mark.usefixtures("gitleaks", "semgrep")
async def test_a_missing_engine_fails_its_area_alone(scanning: Any, repository: Any, tmp_path: Path) -> None:
    commit = repository.commit({"Dockerfile": "FROM scratch\n"})
    async with scanning(trivy=tmp_path / "nowhere", semgrep=tmp_path / "nowhere") as scanner:
        await scanner.hear(push(repository.folder, commit))
        found = await scanner.areas(3)
    iac = found[Area.IAC]
    assert isinstance(iac, ScanFailed) and iac.code == "engine.missing" and "SCANNER_TRIVY" in iac.advice
    assert found[Area.SECRETS].state == ScanState.COMPLETED


async def test_an_image_that_is_gone_or_an_engine_that_is_away(scanning: Any, docker_engine: Any, tmp_path: Path) -> None:
    about = {"organisation": "main", "service": SHOP, "run": "run_1", "number": 1, "build": "bld_1", "commit": "", "image": "x"}
    async with scanning(docker_host=docker_engine.url) as scanner:
        await scanner.hear(BuildSucceeded(**about, image_id="sha256:" + "0" * 64))
        failures = await scanner.until(lambda found: len(found) == 4, ScanFailed, seconds=20)
    assert {fact.code for fact in failures} == {"image.gone"}


async def test_what_a_service_is_decides_its_data_also_for_runs_that_do_not_say(scanning: Any) -> None:
    slow = Slow(areas=[done(Area.SECRETS), done(Area.SAST), done(Area.IAC)])
    async with scanning(git=slow, engines=slow) as scanner:
        await scanner.hear(ServiceRegistered(organisation="main", service=SHOP, name_="shop", sample=True))
        await scanner.hear(push("/x", "1" * 40))
        assert [row["sample"] for row in await scanner.rows(tables.runs)] == [True]


async def test_the_examples_of_what_is_heard_are_understood(scanning: Any) -> None:
    slow = Slow(areas=[done(Area.SECRETS), done(Area.SAST), done(Area.IAC)])
    async with scanning(git=slow, engines=slow) as scanner:
        for kind, _, _ in scanner.platform.services["scanner"].service.subscribers.table.values():
            example = (EXAMPLES / f"{kind.name}.v1.json").read_text()
            await scanner.hear(kind.model_validate_json(example))


@pytest.mark.parametrize("kind", [ScanQueued, ScanStarted, ScanFinished, ScanFailed, ScanCancelled])
def test_the_examples_of_what_is_told_are_whole(kind: type[Message]) -> None:
    example = json.loads((EXAMPLES / f"{kind.name}.v1.json").read_text())
    assert json.loads(kind.model_validate(example).model_dump_json()) == example


async def test_it_starts_from_defaults_with_nothing_running(platform: Any) -> None:
    async with platform({"scanner": wire}) as running:
        scanner = running.services["scanner"]
        async with asyncio.timeout(20):
            while await scanner.failing():
                await asyncio.sleep(0.05)
        key = scanner.host.data / "identity.key"
        assert key.stat().st_mode & 0o777 == 0o600


def test_programs_are_looked_for_below_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KIOPS_HOME", "/opt/kiops")
    settings = ScannerSettings()
    assert str(settings.trivy) == "/opt/kiops/tools/bin/trivy" and isinstance(Program("trivy", settings.trivy), Program)


async def test_a_credential_is_leased_sealed_and_opened_in_memory_alone(scanning: Any, nats: Any, tmp_path: Path) -> None:
    """The gateway's place on the bus is taken by a real connection with its key."""
    from shared.bus import Bus
    from shared.queries.gateway import LeaseCredential, SealedCredential
    from shared.sealing import seal
    from shared.subscribers import Answers

    password = "".join(["only", "-in-", "memory"])
    slow = Slow(areas=[done(Area.SECRETS), done(Area.SAST), done(Area.IAC)])
    asked: list[LeaseCredential] = []
    async with scanning(git=slow, engines=slow) as scanner:
        public = scanner.platform.services["scanner"].host.keys.public
        gateway = Bus("gateway", nats.url, nats.keys / "gateway.nk")
        gateway.answers = Answers()

        @gateway.answers(LeaseCredential)
        async def lease(query: LeaseCredential) -> SealedCredential:
            asked.append(query)
            return SealedCredential(sealed=seal(json.dumps({"username": "ada", "password": password}), public))

        await gateway.open_patiently()
        try:
            await scanner.hear(push("https://git.example.org/x.git", "1" * 40, credential="crd_1"))
            await scanner.areas(3)
        finally:
            await gateway.close()
    assert [(query.credential, query.asker) for query in asked] == [("crd_1", "scanner")]
    assert slow.credentials[0].username == "ada" and slow.credentials[0].password == password
    assert password.encode() not in everything_kept(tmp_path / "data")


@pytest.mark.slow
async def test_a_credential_that_nobody_hands_out_is_waited_for(scanning: Any) -> None:
    slow = Slow()
    async with scanning(git=slow, engines=slow) as scanner:
        await scanner.hear(push("https://git.example.org/x.git", "1" * 40, credential="crd_1"))
        await scanner.until(lambda found: len(found) >= 2, ScanStarted, seconds=30)
        assert await scanner.told(ScanFailed) == []
