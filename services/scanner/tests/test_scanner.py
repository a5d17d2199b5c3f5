"""The whole service on a real nats-server with the real engines: facts in, facts out, and nothing secret kept."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from scanner import tables
from scanner.clients.git import Source
from scanner.domain.evidence import AreaScan, failed
from scanner.scanners.program import Program
from scanner.settings import ScannerSettings
from scanner.wiring import wire
from shared.facts._base import REGISTRY, Message
from shared.facts.builder import BuildFailed, BuildSucceeded
from shared.facts.gateway import ServiceDeleted, ServiceRegistered
from shared.facts.scanner import ScanCancelled, ScanFailed, ScanFinished, ScanQueued, ScanStarted
from shared.facts.webhook import PushReceived, RunCancelled, RunSuperseded
from shared.runtime import Platform
from shared.words import Area, ScanState, Trigger

from shared import ids

SHOP = "svc_01900000000070008000000000000001"
EXAMPLES = Path(__file__).resolve().parents[3] / "shared" / "src" / "shared" / "facts" / "examples"


@dataclass
class Props:
    """The running service, and hands for what surrounds it."""

    platform: Platform

    @property
    def database(self) -> Any:
        return self.platform.services["scanner"].service.database

    async def hear(self, message: Message) -> None:
        """Hand a message to its subscriber in a transaction of its own, as the loop does."""
        from datetime import UTC, datetime

        from shared.context import Context, current
        from shared.subscribers import Envelope

        _, handler, _ = self.platform.services["scanner"].service.subscribers.table[message.type()]
        envelope = Envelope(ids.uuid7(), message.type(), "", message.subject, datetime.now(UTC), "", "", "", 0, 0)
        mark = current.set(Context(causation=envelope.id, organisation=message.organisation))
        try:
            async with self.database.write() as tx:
                await handler(tx, type(message).model_validate_json(message.model_dump_json()), envelope)
        finally:
            current.reset(mark)

    async def told(self, *kinds: type[Message]) -> list[Any]:
        """What was announced so far, in order."""
        async with self.database.read() as tx:
            rows = await tx.all(sa.select(self.database.outbox).order_by(sa.text("position")))
        messages = [REGISTRY[row.headers["ce-type"]].model_validate_json(row.body) for row in rows]
        return [message for message in messages if not kinds or isinstance(message, kinds)]

    async def until(self, enough: Callable[[list[Any]], bool], *kinds: type[Message], seconds: float = 120) -> list[Any]:
        async with asyncio.timeout(seconds):
            while not enough(found := await self.told(*kinds)):
                await asyncio.sleep(0.05)
        return found

    async def areas(self, number: int) -> dict[Area, Any]:
        """So many results of areas, by area."""
        facts = await self.until(lambda found: len(found) >= number, ScanFinished, ScanFailed)
        return {fact.area: fact for fact in facts[-number:]}

    async def rows(self, table: sa.Table) -> list[dict[str, Any]]:
        async with self.database.read() as tx:
            return [dict(row._mapping) for row in await tx.all(sa.select(table))]


@pytest.fixture
def scanning(platform: Any, tmp_path: Path) -> Any:
    """Run the service: `async with scanning(git=..., engines=..., **settings) as props`."""

    @asynccontextmanager
    async def run(git: Any = None, engines: Any = None, **settings: Any) -> AsyncIterator[Props]:
        chosen = ScannerSettings(**({"source_roots": [tmp_path], "engine_nice": 0, "data_download_hours": 0} | settings))
        async with platform({"scanner": lambda host: wire(host, chosen, git=git, engines=engines)}) as running:
            yield Props(running)

    return run


def push(repository: Path | str, commit: str, *, number: int = 1, **more: Any) -> PushReceived:
    values: dict[str, Any] = {"branch": "main", "ref": "refs/heads/main", "trigger": Trigger.WEBHOOK} | more
    run = values.pop("run", ids.new("run"))
    return PushReceived(
        organisation="main", service=SHOP, run=run, number=number, service_name="shop", commit=commit,
        repository_url=str(repository), **values,
    )  # fmt: skip


def everything_kept(folder: Path) -> bytes:
    """All bytes below a folder, objects unpacked: databases, the bus's store, logs, objects."""
    kept = b""
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            if path.is_file():
                data = path.read_bytes()
                kept += gzip.decompress(data) if path.suffix == ".gz" else data
    return kept


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


class Slow:
    """Engines and a repository that take as long as they are told, and say what they did."""

    def __init__(self, *, areas: list[AreaScan] | None = None, hold: bool = False, error: Exception | None = None) -> None:
        self.areas, self.hold, self.error = areas or [], hold, error
        self.began = asyncio.Event()
        self.cancelled = False
        self.runs = 0

    async def fetch(self, repository_url: str, commit: str, folder: Path, **more: Any) -> Source:
        return Source(folder, folder, commit, 1, 1, False)

    async def source_areas(self, source: Source, *, dockerfile: str, job: Any) -> AsyncIterator[AreaScan]:
        self.runs += 1
        self.began.set()
        try:
            for area in self.areas:
                yield area
            if self.error:
                raise self.error
            if self.hold:
                await asyncio.sleep(600)
        except asyncio.CancelledError:
            self.cancelled = True
            raise

    async def image_areas(self, image_id: str, *, is_sample: bool, job: Any) -> AsyncIterator[AreaScan]:
        for area in self.areas:
            yield area


def done(area: Area, *findings: Any) -> AreaScan:
    return AreaScan(area, ScanState.COMPLETED, coverage={"files": 1}, findings=findings)


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
    assert {fact.code for fact in failures} == {"source.refused"} and all(fact.advice for fact in failures)


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


def finding(rule: str) -> Any:
    from scanner.domain.findings import Finding, identified
    from shared.words import Severity

    return identified([Finding(Area.SECRETS, rule, rule, Severity.HIGH, "gitleaks", secret=rule, path="a")])[0]


async def test_findings_have_a_life(scanning: Any) -> None:
    one, two = finding("one"), finding("two")
    slow = Slow()
    async with scanning(git=slow, engines=slow) as scanner:

        async def scan(number: int, area: AreaScan, branch: str = "main") -> dict[str, str]:
            slow.areas = [area, done(Area.SAST), done(Area.IAC)]
            before = len(await scanner.told(ScanFinished, ScanFailed))
            await scanner.hear(push("/x", "1" * 40, number=number, branch=branch))
            await scanner.until(lambda found: len(found) == before + 3, ScanFinished, ScanFailed, seconds=20)
            rows = await scanner.rows(tables.findings)
            return {row["rule"]: row["state"] for row in rows if row["branch"] == branch}

        assert await scan(1, done(Area.SECRETS, one, two)) == {"one": "new", "two": "new"}
        assert await scan(2, done(Area.SECRETS, one, two)) == {"one": "existing", "two": "existing"}
        partial = AreaScan(Area.SECRETS, ScanState.PARTIAL, "something was not read", coverage={}, findings=(one,))
        assert await scan(3, partial) == {"one": "existing", "two": "existing"}, "a partial scan resolves nothing"
        assert await scan(4, failed(Area.SECRETS, "engine.failed", "x")) == {"one": "existing", "two": "existing"}
        assert await scan(5, done(Area.SECRETS), branch="other") == {}
        assert await scan(6, done(Area.SECRETS, one)) == {"one": "existing", "two": "fixed"}
        assert await scan(5, done(Area.SECRETS, two)) == {"one": "existing", "two": "fixed"}, "an older run comes too late"
        assert await scan(7, done(Area.SECRETS, one, two)) == {"one": "existing", "two": "reopened"}
        rows = {row["rule"]: row for row in await scanner.rows(tables.findings)}
        assert (rows["one"]["first_seen_number"], rows["one"]["last_seen_number"], rows["two"]["reopened"]) == (1, 7, 1)

        await scanner.hear(ServiceDeleted(organisation="main", service=SHOP))
        assert await scanner.rows(tables.findings) == []


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
