# ruff: noqa: E501  (facts read better as one line)
"""Facts of a long history, as the services tell them: runs of many services with builds, scans, verdicts and deploys.

32 facts a run, about 0.9 kB each: what a push to one environment says on the stream.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

PLAN = ["source", "sast", "build", "sca", "gate", "deploy", "operate"]
SOURCE_AREAS, IMAGE_AREAS = ["sast", "secrets", "iac"], ["sca", "sbom", "license", "image"]
FACTS_A_RUN = 32

Told = tuple[str, bytes]
"""(subject, body)"""


def _fact(owner: str, name: str, service: str, **body: Any) -> Told:
    told = {"organisation": "main", "service": service, **body}
    return f"kiops.{owner}.{name}.main.{service}", json.dumps(told).encode()


def service_id(number: int) -> str:
    return f"svc_{number:032x}"


def services(count: int) -> Iterator[Told]:
    """The catalogue: each service with one environment and a rule."""
    runtime = {"organisation": "main", "service": "_", "runtime": "local", "label": "This machine", "runtime_kind": "docker"}
    yield "kiops.operator-proxy.runtime.changed.main.local", json.dumps(runtime | {"reachable": True}).encode()
    for number in range(count):
        of, name = service_id(number), f"shop-{number:04d}"
        url = f"https://git.example.org/{name}.git"
        yield _fact("gateway", "service.registered", of, name_=name, repository_url=url, by="ada")
        place = {"environment": "development", "environment_kind": "not_production", "runtime": "local", "container_port": 8080}
        yield _fact(
            "deployer", "environment.changed", of, **place, entry_port=8000 + number, url=f"http://127.0.0.1:{8000 + number}/"
        )
        yield _fact("webhook", "rule.changed", of, branches=["main"], environments=["development"])


def _findings(area: str, count: int, number: int) -> list[dict[str, Any]]:
    line = {"severity": "medium", "path": "src/app/handlers/orders.py", "confidence": "high"}
    return [
        {**line, "id": f"{area}-{(number // 50 + each) % 40:04d}", "rule": f"{area}.rule-{each}", "title": f"Input {each} is evaluated", "line": each}
        for each in range(count)
    ]  # fmt: skip


def _scan(of: str, base: dict[str, Any], areas: list[str], number: int) -> Iterator[Told]:
    scan = base | {"scan": f"scn_{base['run'][4:]}{areas[0]}", "commit": f"{number:040x}", "image_id": ""}
    yield _fact("scanner", "scan.queued", of, **scan, areas=areas)
    yield _fact("scanner", "scan.started", of, **scan, areas=areas, attempt=1)
    for area in areas:
        found = _findings(area, 4 if area in ("sast", "sca") else 0, number)
        engines = [{"name": "semgrep", "version": "1.182.0", "exit_code": 0, "rules": 41, "data_date": "2026-11-20"}]
        more = {"engines": engines, "coverage": {"files": 60, "commits": 1}, "counts": {"medium": len(found)} if found else {}}
        report = f"scanner/{number:064x}.json"
        yield _fact("scanner", "scan.finished", of, **scan, area=area, state="completed", findings=found, findings_total=len(found),
                    duration_ms=1834, report=report, **more)  # fmt: skip


def run(service: int, number: int) -> Iterator[Told]:
    """One push, from its delivery to the watched release."""
    of = service_id(service)
    unique = f"{number:08x}{service:024x}"
    base = {"run": f"run_{unique}", "number": number}
    commit = f"{number:040x}"
    push = {
        "service_name": f"shop-{service:04d}",
        "trigger": "webhook",
        "executor": "Ada",
        "ref": "refs/heads/main",
        "branch": "main",
    }
    yield _fact("webhook", "push.received", of, **base, **push, commit=commit, author="Ada", message="Greet the customer by name",
                plan=PLAN, environments=["development"], delivery=f"dlv_{unique}", provider="generic",
                repository_url="https://git.example.org/shop.git", changed_paths=["src/app/greeting.py"], changed_count=1)  # fmt: skip
    build = base | {"build": f"bld_{unique}", "commit": commit}
    yield _fact("builder", "build.queued", of, **build)
    yield from _scan(of, base, SOURCE_AREAS, number)
    yield _fact("builder", "build.started", of, **build)
    yield _fact(
        "builder", "source.fetched", of, **build, files=61, duration_ms=431, author="Ada", message="Greet the customer by name"
    )
    image = {"image": f"shop-{service:04d}:{number}", "image_id": f"sha256:{number:064x}", "commit": commit}
    stages = {"clone": 431, "analyse": 120, "build": 3120, "push": 210}
    yield _fact("builder", "build.succeeded", of, **build | image, version=f"2026-{number}", size_bytes=58_000_000, steps=7,
                steps_cached=5, stages_ms=stages, duration_ms=3881, base_image="python:3.11-slim", log=f"builder/{number:064x}.ndjson",
                log_lines=140)  # fmt: skip
    request = base | image | {"environment": "development", "environment_kind": "not_production", "request": f"req_{unique}"}
    yield _fact("deployer", "deploy.requested", of, **request, cause="build", version=f"2026-{number}")
    yield from _scan(of, base, IMAGE_AREAS, number)
    areas = [
        {"area": area, "evidence": "fresh", "verdict": "pass", "text": "nothing that counts"} for area in SOURCE_AREAS + IMAGE_AREAS
    ]
    yield _fact("gate", "gate.decided", of, **request, decision=f"dec_{unique}", verdict="pass", sentence="It may go to development.",
                areas=areas, policy="default", policy_hash="0" * 64, input_hash="1" * 64, engine="built in", duration_ms=14)  # fmt: skip
    release = request | {"release": f"rel_{unique}", "release_number": number, "runtime": "local", "version": f"2026-{number}"}
    yield _fact("deployer", "deploy.planned", of, **release, changes=["~ image shop"])
    yield _fact("deployer", "deploy.started", of, **release)
    for step, text in enumerate(("Starting", "Waiting for the container", "Switching", "Draining"), 1):
        yield _fact("deployer", "deploy.progressed", of, **release, step=step, steps=4, text=text)
    stages = {"start": 800, "probe": 700, "switch": 100, "drain": 400}
    yield _fact("deployer", "deploy.ready", of, **release, url=f"http://127.0.0.1:{8000 + service}/", container=f"shop-{number}",
                stages_ms=stages, text="healthy, switched, nothing to drain")  # fmt: skip
    yield _fact("deployer", "deploy.settled", of, **release, healthy=True, seconds=30)
    yield _fact("webhook", "run.finished", of, **base, outcome="success")


def told(facts: int, count: int = 40, beside: int = 8) -> Iterator[Told]:
    """About so many facts: `count` services, `beside` runs at a time so that their facts stand between each other's."""
    yield from services(count)
    left, number, going = facts, [0] * count, list[Iterator[Told]]()
    turn = 0
    while left > 0:
        while len(going) < beside:
            number[turn % count] += 1
            going.append(run(turn % count, number[turn % count]))
            turn += 1
        for each in list(going):
            fact = next(each, None)
            if fact is None:
                going.remove(each)
            else:
                yield fact
                left -= 1
