# ruff: noqa: E501  (rows of data read better as one line)
"""Facts as services would tell them, projected into a real read model with times of our choosing.

A test cannot wait for eleven days of history, and the stream stamps its own time on what is published; so the facts go through
the gateway's own projections with envelopes made here.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from gateway.projections.batch import Projector
from gateway.store import catalogue
from gateway.subscribers import PROJECTIONS
from shared.facts import builder, deployer, gate, gateway, operator_proxy, scanner, webhook
from shared.facts._base import Fact
from shared.facts.gate import AreaVerdict, Reason
from shared.facts.scanner import Engine, FindingLine
from shared.inbox import Incoming
from shared.subscribers import Envelope

from shared import ids

ORG = "main"
AREAS_SOURCE = ("sast", "secrets", "iac")
AREAS_IMAGE = ("sca", "sbom", "license", "image")
ENGINES = {
    "sast": ("semgrep", "1.182.0"),
    "secrets": ("gitleaks", "8.30.1"),
    "iac": ("trivy", "0.74.0"),
    "sca": ("trivy", "0.74.0"),
    "sbom": ("trivy", "0.74.0"),
    "license": ("trivy", "0.74.0"),
    "image": ("trivy", "0.74.0"),
}
ASKED = {
    "sast": "no Critical or High",
    "secrets": "none in the history",
    "iac": "no Critical",
    "sca": "no Critical or High with a fix",
    "sbom": "no banned component",
    "license": "nothing denied",
    "image": "no Critical or High with a fix",
    "dast": "no Critical",
}


def commit_of(words: str) -> str:
    return hashlib.sha1(words.encode()).hexdigest()


def image_of(words: str) -> str:
    return "sha256:" + hashlib.sha256(words.encode()).hexdigest()


@dataclass
class Service:
    """A service of the story, and what its environments serve."""

    id: str
    name: str
    number: int = 0
    release: dict[str, tuple[str, int]] = field(default_factory=dict)
    environments: list[tuple[str, str]] = field(default_factory=list)
    sample: bool = False


@dataclass
class Run:
    """A run of the story; `at` is the story's clock in milliseconds."""

    service: Service
    id: str
    number: int
    commit: str
    at: int
    version: str = ""
    by_hand: bool = False
    trigger: str = "webhook"

    @property
    def image(self) -> str:
        return image_of(f"{self.service.name} {self.commit}")

    def fields(self) -> dict[str, Any]:
        return {"organisation": ORG, "service": self.service.id, "run": self.id, "number": self.number}


class Story:
    """Tells facts. Every `tell` is one projection in one transaction, unless `together` is used."""

    def __init__(self, platform: Any, now_ms: int) -> None:
        running = platform.services["gateway"]
        self.read, self.owned = running.service.loop_database, running.service.database
        self.objects = running.host.objects
        self.now_ms = now_ms
        self.sequence = 1_000_000
        self.projector = Projector(PROJECTIONS)
        self.gathered: list[Incoming] | None = None

    async def tell(self, fact: Fact, at: int) -> None:
        self.sequence += 1
        name = f"story-{self.sequence}"
        time = datetime.fromtimestamp(at / 1000, UTC)
        envelope = Envelope(name, fact.type(), "/kiops/story", fact.subject, time, "", "", "", self.sequence, at)
        incoming = Incoming(envelope, {}, fact.model_dump_json())
        if self.gathered is not None:
            self.gathered.append(incoming)
            return
        async with self.read.write() as tx:
            await self.projector.project(tx, [incoming])

    async def together(self, work: Any) -> None:
        """Tell many facts in one transaction, as the gateway's loop does with a batch."""
        self.gathered = []
        await work
        gathered, self.gathered = self.gathered, None
        async with self.read.write() as tx:
            await self.projector.project(tx, gathered)

    @staticmethod
    def clock_iso(at_ms: int) -> str:
        return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds")

    def ago(self, **parts: float) -> int:
        seconds = sum(value * {"days": 86400, "hours": 3600, "minutes": 60, "seconds": 1}[unit] for unit, value in parts.items())
        return self.now_ms - int(seconds * 1000)

    # -- the catalogue -------------------------------------------------------------------------------------------------
    async def runtime(self, at: int) -> None:
        await self.tell(
            operator_proxy.RuntimeChanged(
                organisation=ORG, runtime="local", label="docker-1", runtime_kind="docker", reachable=True, version="20.10.24"
            ),
            at,
        )

    async def service(
        self,
        name: str,
        repository: str,
        at: int,
        *,
        environments: list[tuple[str, str]] | None = None,
        branch: str = "main",
        description: str = "",
        sample: bool = False,
    ) -> Service:
        service = Service(ids.new("svc"), name, environments=environments or [("production", "production")], sample=sample)
        row = {
            "id": service.id,
            "organisation_id": ORG,
            "name": name,
            "description": description,
            "repository_url": repository,
            "branch": branch,
            "dockerfile": "./Dockerfile",
            "context": ".",
            "sample": sample,
            "credential_id": None,
            "created_by": "admin",
            "created_at_ms": at,
            "changed_at_ms": at,
        }
        async with self.owned.write() as tx:
            await catalogue.add(tx, row)
        await self.tell(
            gateway.ServiceRegistered(
                organisation=ORG,
                service=service.id,
                name_=name,
                description=description,
                repository_url=repository,
                branch=branch,
                sample=sample,
                by="admin",
            ),
            at,
        )
        endpoint = ids.new("ep")
        await self.tell(
            webhook.EndpointChanged(
                organisation=ORG,
                service=service.id,
                endpoint=endpoint,
                label="Production",
                provider="generic",
                path=f"/api/v1/webhook/generic/{endpoint}",
                state="active",
            ),
            at,
        )
        await self.tell(
            webhook.RuleChanged(
                organisation=ORG,
                service=service.id,
                branches=[branch],
                tags=["v*"],
                environments=[e for e, _ in service.environments],
            ),
            at,
        )
        for i, (environment, kind) in enumerate(service.environments):
            await self.tell(
                deployer.EnvironmentChanged(
                    organisation=ORG,
                    service=service.id,
                    environment=environment,
                    environment_kind=kind,
                    runtime="local",
                    container_port=8080,
                    url=f"http://{name}-{environment}.localhost:8641/",
                ),
                at + i,
            )
        return service

    # -- a run, step by step -------------------------------------------------------------------------------------------
    async def push(
        self,
        service: Service,
        message: str,
        at: int,
        *,
        author: str = "Tomas Lind",
        branch: str = "main",
        version: str | None = None,
        trigger: str = "webhook",
        executor: str = "",
        environments: list[str] | None = None,
    ) -> Run:
        service.number += 1
        to = [e for e, _ in service.environments] if environments is None else environments
        plan = ["source", "sast", "build", "sca", "gate", *(["deploy", "operate"] if to else [])]
        run = Run(service, ids.new("run"), service.number, commit_of(f"{service.name} {message} {service.number}"), at)
        run.version, run.by_hand, run.trigger = version or "", version is not None, trigger
        await self.tell(
            webhook.PushReceived(
                **run.fields(),
                service_name=service.name,
                trigger=trigger,
                executor=executor or author,
                cause="",
                ref=f"refs/heads/{branch}",
                branch=branch,
                commit=run.commit,
                author=author,
                message=message,
                plan=plan,
                environments=to,
                version=version,
                delivery=ids.new("dlv"),
                repository_url="https://git.harbour.example/harbour/shop.git",
                changed_paths=["src/app.py"],
                changed_count=1,
                rule="main",
                sample=service.sample,
            ),
            at,
        )
        return run

    async def build(
        self, run: Run, *, slot_ms: int = 300, clone_ms: int = 400, build_ms: int = 42_000, fails: tuple[str, str, str, str] | None = None,
        stay: bool = False, waits_for: str = "", log: list[list[Any]] | None = None, size: int = 84_200_000,
    ) -> str:  # fmt: skip
        build = ids.new("bld")
        fields = run.fields() | {"build": build, "commit": run.commit}
        await self.tell(builder.BuildQueued(**fields, waits_for=waits_for), run.at + 20)
        at = run.at + slot_ms
        await self.tell(builder.BuildStarted(**fields), at)
        at += clone_ms
        await self.tell(builder.SourceFetched(**fields, files=23, duration_ms=clone_ms), at)
        reference = None
        if log is not None and not stay:
            reference = await self.objects.put("\n".join(json.dumps(line) for line in log).encode(), "ndjson")
        if stay:
            return build
        at += build_ms
        told = {"log": reference, "log_lines": len(log or [])}
        if fails:
            stage, code, reason, advice = fails
            await self.tell(
                builder.BuildFailed(
                    **fields, stage=stage, code=code, reason=reason, advice=advice, duration_ms=clone_ms + build_ms, **told
                ),
                at,
            )
        else:
            analyse = min(1800, build_ms // 10)
            if not run.version:
                run.version = datetime.fromtimestamp(run.at / 1000, UTC).strftime("%Y%m%d-%H%M%S") + f"-{run.commit[:7]}"
            await self.tell(
                builder.BuildSucceeded(
                    **fields,
                    image=f"{run.service.name}:{run.version}",
                    image_id=run.image,
                    version=run.version,
                    version_by_hand=run.by_hand,
                    size_bytes=size,
                    steps=12,
                    steps_cached=7,
                    stages_ms={"clone": clone_ms, "analyse": analyse, "build": build_ms - analyse},
                    duration_ms=clone_ms + build_ms,
                    **told,
                ),
                at,
            )
        run.at = at
        return build

    async def scan(
        self, run: Run, areas: tuple[str, ...], at: int, took_ms: int, *, findings: dict[str, list[FindingLine]] | None = None,
        states: dict[str, str] | None = None, details: dict[str, list[dict[str, Any]]] | None = None, data_date: str = "2026-11-20T00:00:00Z",
    ) -> None:  # fmt: skip
        fields = run.fields() | {"scan": ids.new("scn"), "commit": run.commit}
        await self.tell(scanner.ScanQueued(**fields, areas=list(areas)), at)
        await self.tell(scanner.ScanStarted(**fields, areas=list(areas)), at + 80)
        for i, area in enumerate(areas):
            found = (findings or {}).get(area, [])
            state = (states or {}).get(area, "completed")
            name, version = ENGINES[area]
            coverage = {"files": 23} if area in ("sast", "iac") else {"commits": 118} if area == "secrets" else {"packages": 63}
            engine = Engine(name=name, version=version, exit_code=0, rules=41, data_date=data_date if area in AREAS_IMAGE else None)
            if state == "failed":
                await self.tell(
                    scanner.ScanFailed(
                        **fields,
                        area=area,
                        code="scan.engine_killed",
                        reason=f"{name} ended with code 137: it ran out of memory",
                        advice="Start the run again; when it happens twice, raise SCANNER_MEMORY_MB.",
                        engines=[engine.model_copy(update={"exit_code": 137, "problem": "killed"})],
                        duration_ms=took_ms,
                    ),
                    at + took_ms + i,
                )
                continue
            report = None
            if area in (details or {}):
                report = await self.objects.put(json.dumps({"findings": details[area]}).encode(), "json")
            counts: dict[str, int] = {}
            for line in found:
                counts[line.severity] = counts.get(line.severity, 0) + 1
            await self.tell(
                scanner.ScanFinished(
                    **fields,
                    area=area,
                    state=state,
                    reason="no vulnerability data on this machine" if state == "no_data" else "",
                    engines=[engine],
                    coverage=coverage,
                    counts=counts,
                    findings=found[:200],
                    findings_total=len(found),
                    data_date=data_date if area in ("sca", "image") and state != "no_data" else None,
                    sample_data=run.service.sample and area in ("sca", "image"),
                    duration_ms=took_ms,
                    report=report,
                    image_id=run.image if area in AREAS_IMAGE else "",
                ),
                at + took_ms + i,
            )

    async def decide(
        self, run: Run, environment: str, kind: str, at: int, request: str | None, verdict: str, *, sentence: str,
        evidence: dict[str, tuple[str, str, str]] | None = None, counts: dict[str, dict[str, int]] | None = None,
        reasons: list[Reason] | None = None, ways: list[str] | None = None,
    ) -> None:  # fmt: skip
        """`evidence` maps an area to (evidence, verdict, text); what is not in it is fresh and passes."""
        areas = []
        for area in ("secrets", "sca", "sast", "image", "iac", "license", "sbom", "dast"):
            state, says, words = (evidence or {}).get(area, ("fresh", "pass", ""))
            if area == "dast" and area not in (evidence or {}):
                state, says, words = "not_applicable", "pass", "runs after the deploy"
            first = next((r for r in reasons or [] if r.area == area), None)
            if state == "fresh" and not words:
                words = f"{first.rule}: {first.text}" if first else "nothing found"
            areas.append(
                AreaVerdict(
                    area=area,
                    evidence=state,
                    verdict=says,
                    text=words,
                    threshold=ASKED[area],
                    counts=(counts or {}).get(area, {}),
                    data_date="2026-11-20" if area in ("sca", "image") and state == "fresh" else None,
                    sample_data=run.service.sample and area in ("sca", "image"),
                )
            )
        await self.tell(
            gate.GateDecided(
                **run.fields(),
                decision=ids.new("dec"),
                request=request,
                environment=environment,
                environment_kind=kind,
                image_id=run.image,
                commit=run.commit,
                verdict=verdict,
                sentence=sentence,
                areas=areas,
                reasons=reasons or [],
                ways=ways or [],
                policy="default",
                policy_hash=hashlib.sha256(b"policy").hexdigest(),
                input_hash=hashlib.sha256(run.id.encode()).hexdigest(),
                engine="regorus 0.13",
                duration_ms=41,
                decided_at=datetime.fromtimestamp(at / 1000, UTC).isoformat(),
            ),
            at,
        )

    def _deploy(self, run: Run, environment: str, kind: str, request: str) -> dict[str, Any]:
        return run.fields() | {
            "environment": environment,
            "environment_kind": kind,
            "request": request,
            "image_id": run.image,
            "image": f"{run.service.name}:{run.version}",
            "commit": run.commit,
        }

    def release_fields(self, run: Run, environment: str, request: str, release: str, number: int) -> dict[str, Any]:
        """What every fact about this release carries."""
        more = {"release": release, "release_number": number, "runtime": "local", "version": run.version}
        return self._deploy(run, environment, "production", request) | more

    async def request(
        self, run: Run, environment: str, kind: str, at: int, *, cause: str = "build", back_to: str | None = None
    ) -> str:
        request = ids.new("req")
        fields = self._deploy(run, environment, kind, request)
        await self.tell(
            deployer.DeployRequested(**fields, cause=cause, back_to=back_to, version=run.version, version_by_hand=run.by_hand), at
        )
        return request

    async def deploy(
        self, run: Run, environment: str, kind: str, request: str, at: int, *, wait_ms: int = 400, took_ms: int = 6200,
        watch_s: int | None = 60, back_to: tuple[str, int] | None = None, unhealthy: tuple[str, str, str] | None = None,
        fails: tuple[str, str, str] | None = None, stop_at: int = 0,
    ) -> str:  # fmt: skip
        """Plan, start, progress, ready, settled. `watch_s` None: it is still watched; `stop_at` a step: it is still moving."""
        service = run.service
        before = service.release.get(environment)
        release, number = ids.new("rel"), (before[1] if before else 0) + 1
        made = service.release.setdefault(f"{environment} made", ("", 0))
        number = max(number, made[1] + 1)
        service.release[f"{environment} made"] = ("", number)
        fields = self._deploy(run, environment, kind, request)
        fields |= {"release": release, "release_number": number}
        whole = fields | {"runtime": "local", "version": run.version, "version_by_hand": run.by_hand}
        await self.tell(
            deployer.DeployPlanned(
                **whole, before=before[0] if before else None, back_to=back_to[0] if back_to else None, changes=["image"]
            ),
            at,
        )
        at += wait_ms
        await self.tell(deployer.DeployStarted(**whole), at)
        words = ("Starting beside release " + str(before[1]) if before else "Starting", "Probing /healthz", "Switching", "Draining")
        for i, text in enumerate(words, 1):
            at += took_ms // 5
            await self.tell(deployer.DeployProgressed(**whole, step=i, steps=4, text=text), at)
            if stop_at == i:
                return release
        at += took_ms // 5
        if fails:
            code, reason, advice = fails
            await self.tell(
                deployer.DeployFailed(
                    **fields, code=code, reason=reason, advice=advice, still_serving=before[1] if before else None
                ),
                at,
            )
            run.at = at
            return release
        part = took_ms // 4
        await self.tell(
            deployer.DeployReady(
                **whole,
                url=f"http://{service.name}-{environment}.localhost:8641/",
                container=f"{service.name}-{number}",
                back_to=back_to[0] if back_to else None,
                stages_ms={"start": part, "probe": part, "switch": part, "drain": part},
                text="start 1.4 s, probe 3.1 s, switched and drained",
            ),
            at,
        )
        if back_to and before:
            await self.tell(
                deployer.DeployRolledBack(
                    **whole, from_release=before[0], from_number=before[1], to_number=back_to[1], came_back=["image", "1 variable"]
                ),
                at + 5,
            )
        service.release[environment] = (release, number)
        run.at = at
        if watch_s is None:
            return release
        at += watch_s * 1000
        code, reason, advice = unhealthy or ("", "", "")
        await self.tell(
            deployer.DeploySettled(**whole, healthy=unhealthy is None, seconds=watch_s, code=code, reason=reason, advice=advice), at
        )
        run.at = at
        return release

    async def finish(self, run: Run, outcome: str, *, step: str | None = None, code: str = "", reason: str = "") -> None:
        await self.tell(webhook.RunFinished(**run.fields(), outcome=outcome, step=step, code=code, reason=reason), run.at + 30)
