"""Messages in, facts out: the gate on a real small database with the real policy."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import shared.facts
from gate.clients.bundle import Bundle, default_bundle
from gate.clients.engine import PolicyEngine
from gate.clients.regorus import EmbeddedRegorus
from gate.errors import EngineProblem
from gate.tables import decisions, evidence, questions
from shared.facts.builder import BuildFailed, BuildSucceeded
from shared.facts.deployer import DeployCancelled, DeployReady, DeployRequested
from shared.facts.gate import GateDecided
from shared.facts.scanner import FindingLine, ScanCancelled, ScanFailed, ScanFinished, ScanQueued, ScanStarted
from shared.facts.webhook import PushReceived, RunCancelled, RunFinished, RunStarted, RunSuperseded
from shared.words import Area, EnvironmentKind, RunState, ScanState, Severity, Trigger, Verdict

EXAMPLES = Path(shared.facts.__file__).parent / "examples"
ORG = {"organisation": "main", "service": "svc_1"}
COMMIT = "4be07d2f9a1c3e5b7d9f0a2c4e6b8d0f1a3c5e7b"
PLAN = ["source", "sast", "build", "sca", "gate", "deploy", "operate"]
SOURCE_AREAS = (Area.SECRETS, Area.SAST, Area.IAC)
IMAGE_AREAS = (Area.SCA, Area.SBOM, Area.LICENSE, Area.IMAGE)


def push(run: str = "run_1", number: int = 1, environments: tuple[str, ...] = ("dev",), **more: Any) -> PushReceived:
    values = {"plan": PLAN if environments else PLAN[:5], "commit": COMMIT, **more}
    return PushReceived(
        **ORG, run=run, number=number, service_name="shop", trigger=Trigger.WEBHOOK, environments=list(environments), **values
    )


def built(run: str = "run_1", image_id: str = "sha256:1") -> BuildSucceeded:
    return BuildSucceeded(**ORG, build="bld_1", run=run, number=1, image="shop:1", image_id=image_id, commit=COMMIT)


def scanned(area: Area, run: str = "run_1", state: ScanState = ScanState.COMPLETED, **more: Any) -> ScanFinished:
    image = {"image_id": "sha256:1"} if area in IMAGE_AREAS else {}
    date = {"data_date": "2026-11-20"} if area in (Area.SCA, Area.IMAGE) else {}
    values = {"scan": f"scn_{area}", "commit": COMMIT, **image, **date, **more}
    return ScanFinished(**ORG, run=run, number=1, area=area, state=state, **values)


def secret() -> FindingLine:
    return FindingLine(
        id="v1-1", rule="object-store-key", severity=Severity.CRITICAL, title="An object store key", path="prices.py",
        line=4, commit=COMMIT,
    )  # fmt: skip


def request(run: str = "run_1", name: str = "req_1", environment: str = "dev", **more: Any) -> DeployRequested:
    kind = EnvironmentKind.PRODUCTION if environment == "production" else EnvironmentKind.NOT_PRODUCTION
    values = {"cause": "build", "image_id": "sha256:1", "image": "shop:1", "commit": COMMIT, **more}
    return DeployRequested(**ORG, run=run, number=1, environment=environment, environment_kind=kind, request=name, **values)


async def all_scans(props: Any, run: str = "run_1", **more: Any) -> None:
    for area in (*SOURCE_AREAS, *IMAGE_AREAS):
        await props.hear(scanned(area, run, **more))


async def test_a_clean_run_passes(props: Any) -> None:
    """Push, build, seven scans, a request: one decision, with its input kept and findable by its hash."""
    for message in (push(), built()):
        await props.hear(message)
    await props.hear(request())
    await all_scans(props)
    await props.work()
    (decided,) = await props.sent(GateDecided)
    assert (decided.verdict, decided.request, decided.run, decided.environment) == (Verdict.PASS, "req_1", "run_1", "dev")
    assert decided.sentence == "shop at 4be07d2 may go to dev: nothing stands against it."
    assert {a.area: a.evidence for a in decided.areas}["dast"] == "not_applicable"
    kept = await props.host.objects.get(decided.input)
    assert hashlib.sha256(kept).hexdigest() == decided.input_hash
    assert decided.policy_hash == default_bundle().hash
    assert decided.engine.startswith("regorus 0.13")
    assert decided.holds_until > decided.decided_at
    (row,) = await props.rows(decisions)
    assert row["verdict"] == "pass"


async def test_a_stored_decision_can_be_computed_again(props: Any) -> None:
    await props.hear(push())
    await props.hear(request())
    await all_scans(props, state=ScanState.PARTIAL)
    await props.work()
    (decided,) = await props.sent(GateDecided)
    engine = PolicyEngine(EmbeddedRegorus())
    again = await engine.evaluate(default_bundle(), json.loads(await props.host.objects.get(decided.input)))
    await engine.close()
    assert (again.verdict, again.sentence, again.ways) == (decided.verdict, decided.sentence, decided.ways)


async def test_it_waits_until_every_area_of_the_plan_has_reported(props: Any) -> None:
    await props.hear(push())
    await props.hear(request())
    for area in (*SOURCE_AREAS, *IMAGE_AREAS[:-1]):
        await props.hear(scanned(area))
    await props.hear(ScanStarted(**ORG, scan="scn_9", run="run_1", number=1, areas=["image"]))
    await props.work()
    assert await props.sent(GateDecided) == []
    await props.hear(ScanFailed(**ORG, scan="scn_9", run="run_1", number=1, area=Area.IMAGE, code="x", reason="out of memory"))
    await props.work()
    (decided,) = await props.sent(GateDecided)
    assert decided.verdict == Verdict.WARN
    assert [(r.rule, r.text) for r in decided.reasons] == [("image.run", "out of memory")]


async def test_after_the_waiting_time_what_is_missing_counts_as_missing(props: Any) -> None:
    """Production: a scan that never reports blocks after ten minutes, and not before."""
    await props.hear(push(environments=("production",)))
    await props.hear(request(environment="production"))
    for area in (*SOURCE_AREAS, *IMAGE_AREAS[:-1]):
        await props.hear(scanned(area))
    await props.hear(ScanQueued(**ORG, scan="scn_9", run="run_1", number=1, areas=["image"]))
    overdue = dict(props.service.tasks)["waiting"]
    assert overdue
    props.clock.move(599)
    assert await reap(props) == 0
    props.clock.move(1)
    assert await reap(props) == 1
    await props.work()
    (decided,) = await props.sent(GateDecided)
    assert decided.verdict == Verdict.BLOCK
    assert decided.sentence == "shop at 4be07d2 may not go to production: Image was still running after 10 min."


async def reap(props: Any) -> int:
    """What the reaper does at each turn."""
    from gate.handlers import Questions

    return await Questions(props.service.database, props.clock, 600, 60).ask_overdue()


async def test_a_secret_blocks_and_says_what_would_help(props: Any) -> None:
    await props.hear(push())
    await props.hear(request())
    await all_scans(props)
    await props.work()
    await props.hear(push("run_2", 2))
    await props.hear(request("run_2", "req_2"))
    for area in (*SOURCE_AREAS[1:], *IMAGE_AREAS):
        await props.hear(scanned(area, "run_2"))
    await props.hear(scanned(Area.SECRETS, "run_2", findings=[secret()], findings_total=1, counts={"critical": 1}))
    await props.work()
    first, second = await props.sent(GateDecided)
    assert (first.verdict, second.verdict) == (Verdict.PASS, Verdict.BLOCK)
    assert second.reasons[0].rule == "secrets.none"
    assert second.reasons[0].finding == "v1-1"
    assert second.reasons[0].text == "An object store key in prices.py:4, in the history since 4be07d2"
    assert second.ways == ["Revoke the key and take it out of the history"]


async def test_a_message_heard_twice_decides_once(props: Any) -> None:
    await props.hear(push(), times=2)
    await props.hear(request(), times=2)
    for area in (*SOURCE_AREAS, *IMAGE_AREAS):
        await props.hear(scanned(area), times=2)
    await props.work()
    await props.hear(request())
    await props.work()
    assert len(await props.sent(GateDecided)) == 1


async def test_each_environment_has_its_own_decision(props: Any) -> None:
    """The same High with a fix warns in dev and blocks in production."""
    await props.hear(push(environments=("dev", "production")))
    await props.hear(request())
    await props.hear(request(name="req_2", environment="production"))
    high = FindingLine(id="v1-2", rule="CVE-1", severity=Severity.HIGH, title="t", package="urllib3", fix="2.0.6")
    for area in (*SOURCE_AREAS, *IMAGE_AREAS[1:]):
        await props.hear(scanned(area))
    await props.hear(scanned(Area.SCA, findings=[high], findings_total=1, counts={"high": 1}))
    await props.work()
    said = {d.environment: d.verdict for d in await props.sent(GateDecided)}
    assert said == {"dev": Verdict.WARN, "production": Verdict.BLOCK}


async def test_a_run_that_goes_nowhere_is_judged_for_information(props: Any) -> None:
    await props.hear(push(environments=()))
    for area in SOURCE_AREAS:
        await props.hear(scanned(area))
    await props.hear(built())
    assert (await props.rows(questions))[0]["state"] == "waiting"
    for area in IMAGE_AREAS:
        await props.hear(scanned(area))
    await props.work()
    (decided,) = await props.sent(GateDecided)
    assert (decided.request, decided.environment, decided.verdict) == (None, "", Verdict.PASS)
    assert decided.image_id == "sha256:1"


async def test_a_run_without_an_image_is_not_judged(props: Any) -> None:
    await props.hear(push(environments=()))
    for area in SOURCE_AREAS:
        await props.hear(scanned(area))
    await props.hear(BuildFailed(**ORG, build="bld_1", run="run_1", number=1, stage="build", code="x", reason="y"))
    props.clock.move(10_000)
    assert await reap(props) == 0
    assert await props.sent(GateDecided) == []


@pytest.mark.parametrize(
    "end",
    [
        RunCancelled(**ORG, run="run_1", number=1, by="Ana"),
        RunSuperseded(**ORG, run="run_1", number=1, by_run="run_2", by_number=2),
        RunFinished(**ORG, run="run_1", number=1, outcome=RunState.FAILED),
        DeployCancelled(**ORG, run="run_1", number=1, environment="dev", request="req_1", reason="superseded"),
    ],
    ids=lambda m: m.name,
)
async def test_a_question_nobody_waits_for_is_withdrawn(props: Any, end: Any) -> None:
    """Before it is ripe, and also while its job already waits."""
    await props.hear(push())
    await props.hear(request())
    await all_scans(props)
    await props.hear(end)
    await props.work()
    assert await props.sent(GateDecided) == []
    assert (await props.rows(questions))[0]["state"] == "withdrawn"


async def test_a_request_of_a_run_that_has_ended_is_not_asked(props: Any) -> None:
    """The deployer asked before it heard that the run was superseded."""
    await props.hear(push())
    await props.hear(RunSuperseded(**ORG, run="run_1", number=1, by_run="run_2", by_number=2))
    await props.hear(request())
    assert await props.rows(questions) == []


async def test_a_rollback_is_judged_at_once_by_what_is_stored(props: Any) -> None:
    """No new scan, an old result, an area that failed: it warns and never blocks, because this image served here before."""
    await props.hear(push(environments=("production",)))
    await props.hear(request(environment="production"))
    await all_scans(props)
    await props.work()
    await props.hear(DeployReady(
        **ORG, run="run_1", number=1, environment="dev", request="req_0", release="rel_0", release_number=1, runtime="local"
    ))  # fmt: skip
    props.clock.move(60 * 86400)
    plan = ["gate", "deploy", "operate"]
    await props.hear(RunStarted(
        **ORG, run="run_9", number=9, service_name="shop", trigger=Trigger.ROLLBACK, plan=plan, commit=COMMIT,
        environments=["production"],
    ))  # fmt: skip
    await props.hear(request("run_9", "req_9", "production", cause="rollback", back_to="rel_1"))
    await props.work()
    decided = (await props.sent(GateDecided))[-1]
    assert (decided.request, decided.verdict) == ("req_9", Verdict.WARN)
    assert decided.sentence.startswith("shop at 4be07d2 may go back to production with warnings: ")
    assert {a.area: a.evidence for a in decided.areas}["sca"] == "stale"
    assert {a.area: a.evidence for a in decided.areas}["dast"] == "not_applicable"


async def test_a_rollback_to_an_unknown_image_is_still_judged_by_its_findings(props: Any) -> None:
    await props.hear(push())
    await props.hear(scanned(Area.SECRETS, findings=[secret()], findings_total=1))
    await props.hear(request("run_9", "req_9", cause="rollback", back_to="rel_1"))
    await props.work()
    (decided,) = await props.sent(GateDecided)
    assert decided.verdict == Verdict.BLOCK


async def test_dast_is_missing_only_when_planned_and_after_a_first_deploy_to_a_test_environment(props: Any) -> None:
    """Nothing warns of a scan that nobody has set up."""
    await props.hear(push(plan=[*PLAN, "dast"]))
    await props.hear(request())
    await all_scans(props)
    await props.work()
    await props.hear(DeployReady(
        **ORG, run="run_1", number=1, environment="dev", request="req_1", release="rel_1", release_number=1, runtime="local"
    ))  # fmt: skip
    for number, plan in ((2, [*PLAN, "dast"]), (3, PLAN)):
        await props.hear(push(f"run_{number}", number, plan=plan))
        await props.hear(request(f"run_{number}", f"req_{number}"))
        await all_scans(props, f"run_{number}")
        await props.work()
    first, second, third = await props.sent(GateDecided)
    assert (first.verdict, second.verdict, third.verdict) == (Verdict.PASS, Verdict.WARN, Verdict.PASS)
    assert [r.rule for r in second.reasons] == ["dast.evidence"]


async def test_the_whole_report_is_read_when_the_message_was_too_short(props: Any) -> None:
    """201 High without a fix and one with: the one that blocks production is not among the first."""
    rows = [FindingLine(id=f"v1-{n}", rule=f"CVE-{n}", severity=Severity.HIGH, title="t", package=f"lib{n}") for n in range(201)]
    rows.append(FindingLine(id="v1-x", rule="CVE-X", severity=Severity.HIGH, title="t", package="zlib", fix="1.3"))
    report = await props.host.objects.put(json.dumps({"findings": [r.model_dump(mode="json") for r in rows]}).encode(), "json")
    await props.hear(push(environments=("production",)))
    await props.hear(request(environment="production"))
    for area in (*SOURCE_AREAS, *IMAGE_AREAS[:-1]):
        await props.hear(scanned(area))
    await props.hear(scanned(Area.IMAGE, findings=rows[:200], findings_total=202, counts={"high": 202}, report=report))
    await props.work()
    (decided,) = await props.sent(GateDecided)
    assert (decided.reasons[0].rule, decided.reasons[0].finding) == ("image.high_with_fix", "v1-x")
    assert decided.reasons[-1].text == "and 196 more of the same rule"


async def test_a_banned_component_is_found_in_the_report(wired: Any) -> None:
    """The components of an SBOM stand in its report alone; without it the area is a gap, not clean."""
    async with wired(banned_components=["event-stream"]) as props:
        components = [{"name": "event-stream", "version": "3.3.6", "purl": "pkg:npm/event-stream@3.3.6", "licences": []}]
        report = await props.host.objects.put(json.dumps({"components": components, "findings": []}).encode(), "json")
        for number, found in ((1, report), (2, None)):
            run = f"run_{number}"
            await props.hear(push(run, number, ("production",)))
            await props.hear(request(run, f"req_{number}", "production"))
            for area in (*SOURCE_AREAS, *IMAGE_AREAS):
                await props.hear(scanned(area, run, **({"report": found} if area is Area.SBOM else {})))
        await props.work()
        said = {d.run: [(r.rule, r.effect, r.text) for r in d.reasons] for d in await props.sent(GateDecided)}
        assert said["run_1"] == [("sbom.banned", "block", "event-stream 3.3.6 is banned by the organisation")]
        assert [(rule, effect) for rule, effect, _ in said["run_2"]] == [("sbom.components", "block")]


async def test_without_the_report_what_was_not_listed_counts_as_the_worst(props: Any) -> None:
    await props.hear(push(environments=("production",)))
    await props.hear(request(environment="production"))
    for area in (*SOURCE_AREAS, *IMAGE_AREAS[:-1]):
        await props.hear(scanned(area))
    gone = "scanner/" + "0" * 64 + ".json"
    await props.hear(scanned(Area.IMAGE, findings=[], findings_total=3, counts={"high": 3}, report=gone))
    await props.work()
    (decided,) = await props.sent(GateDecided)
    assert (decided.verdict, decided.reasons[0].rule) == (Verdict.BLOCK, "image.high_with_fix")


async def test_a_cancelled_scan_is_waited_for_no_longer(props: Any) -> None:
    await props.hear(push())
    await props.hear(request())
    await props.hear(ScanQueued(**ORG, scan="scn_1", run="run_1", number=1, areas=["sast"]))
    for area in (Area.SECRETS, Area.IAC, *IMAGE_AREAS):
        await props.hear(scanned(area))
    await props.hear(ScanCancelled(**ORG, scan="scn_1", run="run_1", number=1, areas=["sast"], reason="stopped"))
    await props.work()
    (decided,) = await props.sent(GateDecided)
    assert [(r.rule, r.text) for r in decided.reasons] == [("sast.run", "the scan was cancelled: stopped")]


async def test_a_scan_state_of_a_newer_scanner_is_no_proof(props: Any) -> None:
    await props.hear(push())
    told = scanned(Area.SCA).model_copy(update={"state": ScanState("half_done")})
    await props.hear(told)
    assert (await props.rows(evidence))[0]["state"] == "failed"


class BrokenEngine:
    """An engine whose answers are all problems."""

    name = "broken"

    async def ask(self, bundle: Bundle, document: dict[str, Any]) -> Any:
        raise EngineProblem("policy.timeout", "the policy did not answer within 10 s")

    async def check(self) -> None: ...

    async def close(self) -> None: ...


async def test_an_engine_that_fails_is_a_deny(wired: Any) -> None:
    async with wired(engine=BrokenEngine()) as props:
        await props.hear(push())
        await props.hear(request())
        await all_scans(props)
        await props.work()
        (decided,) = await props.sent(GateDecided)
        assert (decided.verdict, decided.reasons[0].area, decided.reasons[0].rule) == (Verdict.BLOCK, "other", "policy.timeout")
        assert decided.input


class DefectiveEngine(BrokenEngine):
    async def ask(self, bundle: Bundle, document: dict[str, Any]) -> Any:
        raise RuntimeError("a defect of ours")


async def test_a_defect_of_ours_is_a_deny_too(wired: Any) -> None:
    """The job fails; the request still gets its answer, and it is no."""
    async with wired(engine=DefectiveEngine()) as props:
        await props.hear(push())
        await props.hear(request())
        await all_scans(props)
        await props.work()
        (decided,) = await props.sent(GateDecided)
        assert (decided.verdict, decided.reasons[0].rule, decided.input) == (Verdict.BLOCK, "job.broken", None)
        assert "RuntimeError" in decided.sentence


async def test_it_reads_the_examples_of_those_it_hears(props: Any) -> None:
    """Every example message that the gate hears is handled; those that are not written yet are named by the contract test."""
    for cls, _, _ in props.service.subscribers.table.values():
        path = EXAMPLES / f"{cls.name}.v1.json"
        if path.exists():
            await props.hear(cls.model_validate_json(path.read_text()))
    await props.work()


async def test_what_it_announces_looks_like_its_example(props: Any) -> None:
    await props.hear(push())
    await props.hear(request())
    for area in (*SOURCE_AREAS[1:], *IMAGE_AREAS):
        await props.hear(scanned(area))
    await props.hear(scanned(Area.SECRETS, findings=[secret()], findings_total=1, counts={"critical": 1}))
    await props.work()
    (decided,) = await props.sent(GateDecided)
    example = json.loads((EXAMPLES / "gate.decided.v1.json").read_text())
    told = decided.model_dump(mode="json")
    assert shape(told) == shape(example)


def shape(value: Any) -> Any:
    """The names and kinds of a JSON value, without what it says."""
    if isinstance(value, dict):
        return {k: shape(v) if k != "counts" else {} for k, v in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return type(value).__name__
