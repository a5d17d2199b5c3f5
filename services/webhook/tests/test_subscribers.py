"""What is heard and what is announced; the messages are the contracts' examples."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from importlib.resources import files
from typing import Any

import pytest
from shared.bus import HEARS
from shared.facts import builder, deployer, gate, gateway, scanner
from shared.facts._base import REGISTRY, Message
from shared.facts.webhook import (
    EndpointChanged,
    PushReceived,
    RuleChanged,
    RunCancelled,
    RunFinished,
    RunStarted,
    RunSuperseded,
)
from shared.orders.webhook import CancelRun, SetRule, StartRun
from shared.words import Area, RunState, ScanState, StepState, Trigger, Verdict
from webhook import tables
from webhook.domain.runs import IMAGE_AREAS, SOURCE_AREAS

from .conftest import FIRST, SECOND, SHOP, Props, Wired

MAIN: dict[str, Any] = {"organisation": "main", "service": SHOP}


def example(kind: type[Message]) -> dict[str, Any]:
    folder = "orders" if kind.kind == "order" else "facts"
    return json.loads(files("shared").joinpath(folder, "examples", f"{kind.name}.v1.json").read_text())


async def to_environments(props: Props, *names: str, **changes: Any) -> None:
    rule = {"branches": ["main"], "environments": list(names), "intent": "rule"} | changes
    await props.hear(SetRule(**MAIN, **rule))


class Road:
    """The facts of one run, as the other services would tell them."""

    def __init__(self, props: Props, told: dict[str, Any]) -> None:
        self.props, self.run, self.number = props, told["run"]["id"], told["run"]["number"]

    @property
    def ids(self) -> dict[str, Any]:
        return MAIN | {"run": self.run, "number": self.number}

    async def build(self) -> None:
        build = self.ids | {"build": "bld_1"}
        await self.props.hear(builder.BuildStarted(**build))
        await self.props.hear(builder.SourceFetched(**build, files=6, duration_ms=200))
        await self.props.hear(builder.BuildSucceeded(**build, image="shop:1", image_id="sha256:1"))

    async def scan(self, areas: tuple[Area, ...], state: ScanState = ScanState.COMPLETED) -> None:
        scan = self.ids | {"scan": "scn_1"}
        await self.props.hear(scanner.ScanStarted(**scan, areas=list(areas)))
        for area in areas:
            await self.props.hear(scanner.ScanFinished(**scan, area=area, state=state))

    async def decide(self, environment: str = "", verdict: Verdict = Verdict.PASS, **more: Any) -> None:
        fact = {"decision": "dec_1", "environment": environment, "verdict": verdict, "sentence": "passed"} | more
        await self.props.hear(gate.GateDecided(**self.ids, **fact))

    def deploy(self, environment: str, **more: Any) -> dict[str, Any]:
        release = {"release": "rel_1", "release_number": 1, "runtime": "local"}
        return self.ids | {"environment": environment, "request": "req_1"} | release | more

    async def put_in_place(self, environment: str) -> None:
        await self.props.hear(deployer.DeployPlanned(**self.deploy(environment)))
        await self.props.hear(deployer.DeployStarted(**self.deploy(environment)))
        await self.props.hear(deployer.DeployReady(**self.deploy(environment)))

    async def watch(self, environment: str, healthy: bool = True, **more: Any) -> None:
        await self.props.hear(deployer.DeploySettled(**self.deploy(environment), healthy=healthy, seconds=10, **more))

    async def to_the_gate(self) -> None:
        await self.scan(SOURCE_AREAS)
        await self.build()
        await self.scan(IMAGE_AREAS)


async def ended(props: Props) -> list[tuple[int, RunState, str | None, str]]:
    return [(fact.number, fact.outcome, fact.step, fact.code) for fact in await props.sent(RunFinished)]


# -- the doors ---------------------------------------------------------------------------------------------------------
async def test_it_hears_what_the_table_says(props: Props) -> None:
    assert props.service.subscribers.classes() == set(HEARS["webhook"])


@pytest.mark.parametrize("kind", HEARS["webhook"], ids=lambda kind: kind.name)
async def test_every_message_it_hears_is_taken_as_its_example_shows_it(props: Props, kind: type[Message]) -> None:
    await props.hear(kind.model_validate(example(kind)), times=2)


async def test_what_it_announces_looks_like_the_examples(props: Props) -> None:
    await to_environments(props, "development")
    road = Road(props, await props.push())
    await props.hear(StartRun(**MAIN, intent="i2", executor="Ada", release="rel_1", environments=["development"]))
    await props.push(after=SECOND, before=FIRST)
    await props.push(ref="refs/heads/topic")
    second = (await props.sent(PushReceived))[-1]
    await props.hear(CancelRun(**MAIN, intent="i3", run=second.run, by="Ada"))
    announced = await props.sent()
    assert {message.name for message in announced} == {
        name for name, cls in ((cls.name, cls) for cls in REGISTRY.values()) if cls.owner == "webhook" and cls.kind == "fact"
    }
    for message in announced:
        shown, said = example(type(message)), json.loads(message.model_dump_json())
        assert shown.keys() == said.keys(), message.name
        for field, value in said.items():
            if value is not None and shown[field] is not None:
                assert type(value) is type(shown[field]), f"{message.name}.{field}"
    assert road.number == 1


# -- the catalogue -----------------------------------------------------------------------------------------------------
async def test_a_registered_service_gets_an_endpoint_and_the_rule_of_its_branch(wired: Wired) -> None:
    async with wired() as props:
        await props.register(branch="trunk")
        (endpoint,) = await props.sent(EndpointChanged)
        (rule,) = await props.sent(RuleChanged)
        assert (endpoint.label, endpoint.provider, endpoint.path) == ("Default", "generic", props.endpoint)
        assert (rule.branches, rule.tags, rule.environments, rule.supersede) == (["trunk"], [], [], True)
        assert len(bytes.fromhex(props.secret)) == 32


async def test_the_secret_is_sealed_in_the_table_and_in_no_message(props: Props) -> None:
    (row,) = await props.rows(tables.endpoints)
    assert props.secret not in json.dumps(row)
    assert props.host.keys.open(row["sealed_secret"]) == props.secret
    assert all(props.secret not in message.model_dump_json() for message in await props.sent())


async def test_a_rule_that_names_just_the_branch_follows_it(props: Props) -> None:
    fact = {"name_": "shop", "repository_url": "https://git.example.org/shop.git"}
    await props.hear(gateway.ServiceChanged(**MAIN, **fact, branch="trunk"))
    assert (await props.sent(RuleChanged))[-1].branches == ["trunk"]
    await to_environments(props, branches=["release/*"])
    await props.hear(gateway.ServiceChanged(**MAIN, **fact, branch="main"))
    assert (await props.sent(RuleChanged))[-1].branches == ["release/*"]
    assert len(await props.sent(EndpointChanged)) == 1


async def test_a_deleted_service_answers_404_and_its_runs_are_cancelled(props: Props) -> None:
    await props.push()
    await props.hear(gateway.ServiceDeleted(**MAIN, name_="shop", by="Ada"))
    assert (await props.deliver()).status_code == 404
    assert [fact.by for fact in await props.sent(RunCancelled)] == ["Ada"]
    assert await ended(props) == [(1, RunState.CANCELLED, None, "run.cancelled")]


async def test_a_service_that_comes_back_goes_on_numbering(props: Props) -> None:
    await props.push()
    await props.hear(gateway.ServiceDeleted(**MAIN, name_="shop", by="Ada"))
    await props.register()
    assert (await props.push(after=SECOND))["run"]["number"] == 2


# -- orders ------------------------------------------------------------------------------------------------------------
async def test_a_rule_is_set_and_answered(props: Props) -> None:
    await props.hear(SetRule(**MAIN, branches=["a", "b/*"], environments=["dev", "dev"], intent="i1", by="Ada"))
    assert [(answer.intent, answer.accepted) for answer in props.answers] == [("i1", True)]
    rule = (await props.sent(RuleChanged))[-1]
    assert (rule.branches, rule.environments) == (["a", "b/*"], ["dev"])


async def test_a_wrong_pattern_is_refused_with_its_reason(props: Props) -> None:
    await props.hear(SetRule(**MAIN, branches=["a b"], intent="i1"))
    (answer,) = props.answers
    assert (answer.accepted, answer.code) == (False, "rule.pattern_wrong")
    assert len(await props.sent(RuleChanged)) == 1


async def test_a_build_by_hand_has_the_plan_of_a_push(props: Props) -> None:
    await to_environments(props, "dev")
    order = {"executor": "Ada", "branch": "topic", "commit": FIRST, "version": "1.0"}
    await props.hear(StartRun(**MAIN, **order, intent="i1"))
    (fact,) = await props.sent(PushReceived)
    assert props.answers[-1].data == {"run": fact.run, "number": "1"}
    assert (fact.trigger, fact.executor, fact.version, fact.ref) == (Trigger.MANUAL, "Ada", "1.0", "refs/heads/topic")
    assert fact.plan[-1] == "operate"
    assert fact.environments == ["dev"]


async def test_a_build_by_hand_may_go_nowhere_or_elsewhere(props: Props) -> None:
    await to_environments(props, "dev")
    await props.hear(StartRun(**MAIN, executor="Ada", commit=FIRST, environments=[], intent="i1"))
    await props.hear(StartRun(**MAIN, executor="Ada", tag="v1", commit=FIRST, environments=["prod"], intent="i2"))
    nowhere, elsewhere = await props.sent(PushReceived)
    assert (nowhere.environments, nowhere.plan[-1], nowhere.cause) == ([], "gate", f"started by Ada for commit {FIRST[:7]}")
    assert (elsewhere.environments, elsewhere.tag) == (["prod"], "v1")


@pytest.mark.parametrize(
    ("order", "code"),
    [
        ({"branch": "main"}, "run.commit_missing"),
        ({"commit": "abc"}, "run.commit_missing"),
        ({"commit": FIRST, "version": "-x"}, "run.version_wrong"),
        ({"commit": FIRST, "version": "a" * 129}, "run.version_wrong"),
        ({"commit": SECOND, "version": "1.0"}, "run.version_taken"),
        ({"release": "rel_1"}, "run.environment_missing"),
        ({"service": "svc_" + "9" * 32, "commit": FIRST}, "service.unknown"),
    ],
)
async def test_a_run_that_cannot_begin_is_refused_in_words(props: Props, order: dict[str, Any], code: str) -> None:
    await props.hear(StartRun(**MAIN, executor="Ada", commit=FIRST, version="1.0", intent="i0"))
    await props.hear(StartRun(**(MAIN | {"executor": "Ada", "intent": "i1"} | order)))
    answer = props.answers[-1]
    assert (answer.accepted, answer.code) == (False, code)
    assert answer.reason
    assert len(await props.rows(tables.runs)) == 1


async def test_the_same_version_of_the_same_commit_may_be_built_again(props: Props) -> None:
    for intent in ("i1", "i2"):
        await props.hear(StartRun(**MAIN, executor="Ada", commit=FIRST, version="1.0", intent=intent))
    assert [answer.accepted for answer in props.answers] == [True, True]


async def test_a_rollback_is_a_run_without_source(props: Props) -> None:
    order = {"executor": "Ada", "trigger": Trigger.ROLLBACK, "release": "rel_1", "release_number": 1, "commit": FIRST}
    await props.hear(StartRun(**MAIN, **order, environments=["dev"], intent="i1"))
    (fact,) = await props.sent(RunStarted)
    assert (fact.plan, fact.release, fact.cause) == (["gate", "deploy", "operate"], "rel_1", "rollback to release 1 by Ada")
    road = Road(props, {"run": {"id": fact.run, "number": fact.number}})
    await road.decide("dev", request="req_1")
    await road.put_in_place("dev")
    back = deployer.DeployRolledBack(**road.deploy("dev"), to_number=1, came_back=["image"])
    await props.hear(back)
    await road.watch("dev")
    assert await ended(props) == [(1, RunState.SUCCESS, None, "")]


async def test_a_person_cancels_a_run_and_is_told(props: Props) -> None:
    road = Road(props, await props.push())
    await road.build()
    await props.hear(CancelRun(**MAIN, run=road.run, by="Ada", intent="i1"))
    assert props.answers[-1].accepted
    assert [fact.by for fact in await props.sent(RunCancelled)] == ["Ada"]
    assert await ended(props) == [(1, RunState.CANCELLED, None, "run.cancelled")]
    await props.hear(CancelRun(**MAIN, run=road.run, by="Ada", intent="i2"))
    assert (props.answers[-1].accepted, props.answers[-1].code) == (False, "run.over")
    assert len(await ended(props)) == 1


async def test_an_unknown_run_and_one_of_another_organisation_cannot_be_cancelled(props: Props) -> None:
    road = Road(props, await props.push())
    await props.hear(CancelRun(**MAIN, run="run_unknown", by="Ada", intent="i1"))
    await props.hear(CancelRun(organisation="other", service=SHOP, run=road.run, by="Eve", intent="i2"))
    assert [answer.code for answer in props.answers] == ["run.unknown", "run.unknown"]


async def test_what_serves_already_cannot_be_cancelled(props: Props) -> None:
    await to_environments(props, "dev")
    road = Road(props, await props.push())
    await road.to_the_gate()
    await road.decide("dev")
    await road.put_in_place("dev")
    await props.hear(CancelRun(**MAIN, run=road.run, by="Ada", intent="i1"))
    assert props.answers[-1].code == "run.already_serves"


# -- the road ----------------------------------------------------------------------------------------------------------
async def test_a_run_with_an_environment_goes_the_whole_road_and_ends_once(props: Props) -> None:
    await to_environments(props, "dev")
    road = Road(props, await props.push())
    await road.to_the_gate()
    await props.hear(deployer.DeployRequested(**road.ids, environment="dev", request="req_1", cause="build"))
    await road.decide("dev", Verdict.WARN)
    await road.put_in_place("dev")
    assert await ended(props) == []
    for _ in range(2):
        await road.watch("dev")
    assert await ended(props) == [(1, RunState.SUCCESS, None, "")]
    (run,) = await props.rows(tables.runs)
    assert (run["state"], run["ended_at_ms"]) == ("success", props.clock.now_ms())


async def test_a_run_without_environment_ends_with_the_gate(props: Props) -> None:
    road = Road(props, await props.push())
    await road.to_the_gate()
    assert await ended(props) == []
    await road.decide()
    assert await ended(props) == [(1, RunState.SUCCESS, None, "")]


async def test_a_failed_build_ends_the_run_with_the_source_scans(props: Props) -> None:
    await to_environments(props, "dev")
    road = Road(props, await props.push())
    build = road.ids | {"build": "bld_1"}
    await props.hear(builder.BuildFailed(**build, stage="build", code="build.step_failed", reason="RUN make failed"))
    assert await ended(props) == []
    await road.scan(SOURCE_AREAS)
    assert await ended(props) == [(1, RunState.FAILED, "build", "build.step_failed")]


async def test_source_that_is_gone_is_the_source_step(props: Props) -> None:
    road = Road(props, await props.push())
    build = road.ids | {"build": "bld_1"}
    await props.hear(builder.BuildFailed(**build, stage="clone", code="source.not_found", reason="no repository"))
    for area in SOURCE_AREAS:
        fact = {"scan": "scn_1", "area": area, "code": "source.not_found", "reason": "no repository"}
        await props.hear(scanner.ScanFailed(**road.ids, **fact))
    assert await ended(props) == [(1, RunState.FAILED, "source", "source.not_found")]


async def test_a_blocked_run_says_which_rule(props: Props) -> None:
    await to_environments(props, "dev")
    road = Road(props, await props.push())
    await road.to_the_gate()
    await road.decide("dev", Verdict.BLOCK, sentence="blocked: secrets.none in prices.py:4")
    await props.hear(deployer.DeployCancelled(**road.ids, environment="dev", request="req_1", reason="the gate blocked it"))
    assert await ended(props) == [(1, RunState.BLOCKED, "gate", "gate.blocked")]
    assert (await props.sent(RunFinished))[0].reason == "blocked: secrets.none in prices.py:4"


async def test_a_verdict_that_nobody_knows_blocks(props: Props) -> None:
    road = Road(props, await props.push())
    await road.to_the_gate()
    await road.decide("", Verdict("maybe"))
    assert (await ended(props))[0][1] is RunState.BLOCKED


@pytest.mark.parametrize(
    ("state", "shown"),
    [
        (ScanState.COMPLETED, StepState.SUCCESS),
        (ScanState.PARTIAL, StepState.WARNING),
        (ScanState.NO_DATA, StepState.WARNING),
        (ScanState.NOT_APPLICABLE, StepState.SKIPPED),
        (ScanState.FAILED, StepState.FAILED),
        (ScanState.OTHER, StepState.WARNING),
    ],
)
async def test_how_a_scan_ended_is_kept(props: Props, state: ScanState, shown: StepState) -> None:
    road = Road(props, await props.push())
    await road.scan((Area.IAC,), state)
    kept = {row["part"]: row["state"] for row in await props.rows(tables.steps)}
    assert kept == {"iac": shown.value}


async def test_a_deploy_that_failed_and_a_release_that_did_not_stay_healthy(props: Props) -> None:
    await to_environments(props, "dev", "prod")
    road = Road(props, await props.push())
    await road.to_the_gate()
    for name in ("dev", "prod"):
        await road.decide(name)
    failed = {"environment": "prod", "request": "req_2", "code": "deploy.port_taken", "reason": "port 80 is taken"}
    await props.hear(deployer.DeployFailed(**road.ids, **failed))
    await road.put_in_place("dev")
    assert await ended(props) == []
    await road.watch("dev", healthy=False, code="deploy.unhealthy", reason="3 of 3 probes failed")
    assert await ended(props) == [(1, RunState.FAILED, "deploy", "deploy.port_taken")]


async def test_facts_of_runs_that_are_not_ours_are_passed_over(props: Props) -> None:
    strange = Road(props, {"run": {"id": "run_strange", "number": 7}})
    await strange.to_the_gate()
    await strange.decide()
    assert await ended(props) == []
    foreign = Road(props, await props.push())
    await props.hear(builder.BuildStarted(organisation="other", service=SHOP, run=foreign.run, number=1, build="b"))
    assert await props.rows(tables.steps) == []


async def test_a_switch_that_has_begun_is_not_superseded(props: Props) -> None:
    await to_environments(props, "dev")
    road = Road(props, await props.push(after=FIRST))
    await road.to_the_gate()
    await road.decide("dev")
    await props.hear(deployer.DeployPlanned(**road.deploy("dev")))
    await props.push(after=SECOND, before=FIRST)
    assert await props.sent(RunSuperseded) == []
    await road.put_in_place("dev")
    await road.watch("dev")
    assert await ended(props) == [(1, RunState.SUCCESS, None, "")]


async def test_every_fact_twice_and_late_ones_end_a_run_once(props: Props) -> None:
    await to_environments(props, "dev")
    road = Road(props, await props.push())
    for _ in range(2):
        await road.decide("dev")
        await road.watch("dev")
        await road.to_the_gate()
        await road.put_in_place("dev")
    assert await ended(props) == [(1, RunState.SUCCESS, None, "")]


# -- nobody speaks -----------------------------------------------------------------------------------------------------
async def turn(props: Props, name: str, *, until: Callable[[], Awaitable[object]] | None = None) -> None:
    """Some turns of one of the tasks that the service runs: until it did something, or for a while in which it is to do nothing."""
    (task,) = [function for its, function in props.service.tasks if its == name]
    running = asyncio.ensure_future(task())
    if until is None:
        await asyncio.sleep(0.15)
    else:
        async with asyncio.timeout(30):
            while not await until():
                await asyncio.sleep(0.01)
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running


async def test_a_step_whose_owner_is_silent_fails_the_run(wired: Wired) -> None:
    async with wired(reaper_seconds=0.01, gate_silent_seconds=60) as props:
        await props.register()
        road = Road(props, await props.push())
        await road.to_the_gate()
        props.clock.move(55)
        await turn(props, "reaper")
        assert await ended(props) == []
        props.clock.move(10)
        await turn(props, "reaper", until=lambda: ended(props))
        assert await ended(props) == [(1, RunState.FAILED, "gate", "run.step_silent")]


@pytest.mark.slow
async def test_a_run_has_a_deadline(wired: Wired) -> None:
    async with wired(reaper_seconds=0.01, run_deadline_seconds=600) as props:
        await props.register()
        road = Road(props, await props.push())
        for _ in range(6):
            props.clock.move(99)
            await props.hear(builder.BuildStarted(**road.ids, build="bld_1"))
            await turn(props, "reaper")
        assert await ended(props) == []
        props.clock.move(10)
        await turn(props, "reaper", until=lambda: ended(props))
        assert await ended(props) == [(1, RunState.FAILED, "source", "run.deadline")]
        (fact,) = await props.sent(RunFinished)
        assert fact.reason == "not over after 0.166667 h; still open: build, gate, sast, sca, source"


# -- answers -----------------------------------------------------------------------------------------------------------
async def test_the_secret_of_an_endpoint_is_for_its_own_organisation(props: Props) -> None:
    from shared.errors import Rejected
    from shared.queries.webhook import AskEndpointSecret

    endpoint = props.endpoint.rsplit("/", 1)[1]
    found = await props.ask(AskEndpointSecret(organisation="main", endpoint=endpoint))
    assert (found.secret, found.path, found.label) == (props.secret, props.endpoint, "Default")
    for organisation, wanted in (("other", endpoint), ("main", "ep_unknown")):
        with pytest.raises(Rejected) as caught:
            await props.ask(AskEndpointSecret(organisation=organisation, endpoint=wanted))
        assert caught.value.code == "webhook.endpoint_unknown"


async def test_the_ledger_shows_every_delivery_newest_first(props: Props) -> None:
    from shared.queries.webhook import ListDeliveries

    await props.push()
    props.clock.move(1)
    await props.push(ref="refs/heads/topic")
    props.clock.move(1)
    await props.deliver(signature="sha256=" + "0" * 64)
    found = await props.ask(ListDeliveries(**MAIN))
    assert [(row.verdict, row.code, row.run_number) for row in found.rows] == [
        ("unsigned", "webhook.signature_wrong", None),
        ("ignored", "delivery.no_rule", None),
        ("run", "delivery.run", 1),
    ]
    assert [(row.ref, row.commit) for row in found.rows][2] == ("refs/heads/main", FIRST)
    assert (await props.ask(ListDeliveries(organisation="other", service=SHOP))).rows == []
    assert len((await props.ask(ListDeliveries(**MAIN, limit=1))).rows) == 1


async def test_raw_bodies_go_after_their_time_and_quiet_endpoints_are_ready_again(wired: Wired) -> None:
    async with wired(keep_raw_days=7, retention_seconds=0.01) as props:
        await props.register()
        await props.push()
        await turn(props, "retention")
        assert [row["body"] is None for row in await props.rows(tables.deliveries)] == [False]
        props.clock.move(31 * 86_400)

        async def forgotten() -> bool:
            states = [fact.state for fact in await props.sent(EndpointChanged)]
            return states[-1] == "ready" and [row["body"] for row in await props.rows(tables.deliveries)] == [None]

        await turn(props, "retention", until=forgotten)
        (row,) = await props.rows(tables.deliveries)
        assert (row["body"], row["code"]) == (None, "delivery.run")
        assert [fact.state for fact in await props.sent(EndpointChanged)] == ["ready", "active", "ready"]
