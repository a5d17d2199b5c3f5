"""Messages in, facts and orders out: the deployer on a real small database."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import shared.facts
from deployer.handlers.checks import Seen
from deployer.tables import environments, releases, requests
from shared.errors import Rejected
from shared.facts.builder import BuildFailed, BuildSucceeded
from shared.facts.deployer import (
    DeployCancelled,
    DeployFailed,
    DeployPlanned,
    DeployProgressed,
    DeployReady,
    DeployRequested,
    DeployRolledBack,
    DeploySettled,
    DeployStarted,
    EnvironmentChanged,
)
from shared.facts.gate import GateDecided
from shared.facts.gateway import ServiceDeleted
from shared.facts.operator_proxy import ReleaseObserved, RuntimeChanged
from shared.facts.webhook import RunCancelled, RunFinished, RunSuperseded
from shared.orders.operator_proxy import ApplyRelease, RemoveTarget
from shared.queries.deployer import PreviewRollback
from shared.words import Phase, RunState, Trigger, Verdict

ORG = {"organisation": "main", "service": "svc_1"}
EXAMPLES = Path(shared.facts.__file__).parents[1]


# -- the straight road -------------------------------------------------------------------------------------------------
async def test_a_build_becomes_a_release_that_serves(props: Any) -> None:
    """Built -> requested -> decided -> planned and ordered -> started, progressed, ready -> settled."""
    await props.push(1)
    assert await props.news() == ["deploy.requested"]
    asked = await props.request(1)
    assert (asked.cause, asked.image_id, asked.environment, asked.commit) == ("build", "sha256:1", "dev", "1" * 40)
    await props.decide(1)
    assert await props.news() == ["deploy.planned", "release.apply"]
    order, planned = await props.order(1), await props.release(1)
    assert (order.release, order.release_number, order.fence, order.image_id) == (planned.release, 1, 1, "sha256:1")
    assert (order.runtime, order.service_name, order.container_port, order.health_path) == ("local", "shop", 8080, "/")
    assert planned.changes == ["first release here", "image shop:1"]
    await props.observe(1, Phase.STARTING, Phase.PROBING, Phase.SWITCHED, Phase.DRAINING)
    assert await props.news() == ["deploy.started", *["deploy.progressed"] * 4]
    await props.observe(1, Phase.HEALTHY, url="http://127.0.0.1:8641/", container="shop-dev-1", stages_ms={"start": 5})
    (ready,) = await props.sent(DeployReady)
    assert (ready.url, ready.container, ready.stages_ms, ready.release_number) == (
        "http://127.0.0.1:8641/", "shop-dev-1", {"start": 5}, 1,
    )  # fmt: skip
    await props.observe(1, Phase.SETTLED, seconds=60)
    (settled,) = await props.sent(DeploySettled)
    assert (settled.healthy, settled.seconds) == (True, 60)
    (release,) = await props.rows(releases)
    assert (release["decision_id"], release["digest"], release["variables"]) == ("dec_1", None, {})


async def test_the_next_release_knows_what_it_replaces(props: Any) -> None:
    first = await props.deploy(1)
    await props.hear(props.environment(variables={"GREETING": "Hi"}))
    await props.deploy(2)
    planned = await props.release(2)
    assert (planned.before, planned.release_number) == (first, 2)
    assert planned.changes == ["image shop:1 -> shop:2", "variable GREETING added"]
    order = await props.order(2)
    assert (order.fence, order.variables) == (2, {"GREETING": "Hi"})


async def test_what_is_heard_twice_happens_once(props: Any) -> None:
    await props.push(1)
    await props.push(1)
    await props.decide(1)
    await props.decide(1)
    await props.observe(1, Phase.STARTING, Phase.HEALTHY, Phase.HEALTHY, Phase.STARTING, Phase.SETTLED, Phase.SETTLED)
    for kind in (DeployRequested, DeployPlanned, ApplyRelease, DeployStarted, DeployReady, DeploySettled):
        assert len(await props.sent(kind)) == 1, kind.name


async def test_a_run_asks_for_each_of_its_environments(props: Any) -> None:
    await props.register("dev", "production")
    await props.push(1, "dev", "production")
    asked = {m.environment: m.environment_kind.value for m in await props.sent(DeployRequested)}
    assert asked == {"dev": "not_production", "production": "production"}
    await props.decide(1)
    await props.decide(1, Verdict.WARN, environment="production")
    assert {m.environment for m in await props.sent(ApplyRelease)} == {"dev", "production"}


async def test_a_run_that_goes_nowhere_asks_nothing(props: Any) -> None:
    await props.hear(BuildSucceeded(**ORG, build="b", run="run_5", number=5, image="x", image_id="sha256:5"))
    assert await props.news() == []


@pytest.mark.parametrize("verdict", [Verdict.BLOCK, Verdict.OTHER])
async def test_only_pass_and_warn_go_on(props: Any, verdict: Verdict) -> None:
    """A verdict that we do not know is no yes."""
    await props.push(1)
    await props.news()
    await props.decide(1, verdict)
    assert await props.news() == ["deploy.cancelled"]
    (cancelled,) = await props.sent(DeployCancelled)
    assert cancelled.reason == "blocked by the gate: a secret is in the history"


# -- one after another -------------------------------------------------------------------------------------------------
async def test_releases_of_one_environment_are_put_in_place_one_after_another(props: Any) -> None:
    for number in (1, 2, 3):
        await props.push(number)
    for number in (3, 2, 1):
        await props.decide(number)
    assert [m.run for m in await props.sent(ApplyRelease)] == ["run_1"]
    await props.observe(1, Phase.STARTING, Phase.HEALTHY)
    assert [m.run for m in await props.sent(ApplyRelease)] == ["run_1", "run_2"]
    await props.observe(2, Phase.STARTING)
    await props.observe(2, Phase.FAILED, code="container.exited", reason="it exited with 1", advice="See its log.")
    assert [(m.run, m.fence) for m in await props.sent(ApplyRelease)] == [("run_1", 1), ("run_2", 2), ("run_3", 3)]


async def test_another_environment_does_not_wait(props: Any) -> None:
    await props.register("dev", "stage")
    await props.push(1, "dev")
    await props.push(2, "stage")
    await props.decide(1)
    await props.decide(2, environment="stage")
    assert len(await props.sent(ApplyRelease)) == 2


@pytest.mark.parametrize(
    "end",
    [
        RunSuperseded(**ORG, run="run_1", number=1, by_run="run_2", by_number=2),
        RunCancelled(**ORG, run="run_1", number=1, by="Ana"),
        RunFinished(**ORG, run="run_1", number=1, outcome=RunState.FAILED),
    ],
    ids=lambda m: m.name,
)
async def test_newer_ones_wait_for_an_undecided_head_while_its_run_lives(props: Any, end: Any) -> None:
    await props.push(1)
    await props.push(2)
    await props.decide(2)
    assert await props.sent(ApplyRelease) == []
    await props.hear(end)
    assert [m.request for m in await props.sent(DeployCancelled)] == [(await props.request(1)).request]
    assert [m.run for m in await props.sent(ApplyRelease)] == ["run_2"]
    await props.decide(1)
    assert len(await props.sent(ApplyRelease)) == 1


async def test_a_blocked_head_lets_the_next_one_go_on(props: Any) -> None:
    await props.push(1)
    await props.push(2)
    await props.decide(2)
    await props.decide(1, Verdict.BLOCK)
    assert [m.run for m in await props.sent(ApplyRelease)] == ["run_2"]


async def test_a_switch_that_has_begun_is_never_touched(props: Any) -> None:
    await props.push(1)
    await props.decide(1)
    await props.observe(1, Phase.STARTING)
    await props.hear(RunCancelled(**ORG, run="run_1", number=1, by="Ana"))
    assert await props.sent(DeployCancelled) == []
    await props.observe(1, Phase.HEALTHY)
    assert len(await props.sent(DeployReady)) == 1


async def test_an_older_run_that_comes_late_does_not_go_back(props: Any) -> None:
    await props.deploy(2)
    await props.push(1)
    await props.decide(1)
    (cancelled,) = await props.sent(DeployCancelled)
    assert cancelled.reason == "run #2 is newer and was put in place before"
    assert len(await props.sent(ApplyRelease)) == 1


async def test_a_run_that_was_cancelled_before_its_build_ended_asks_nothing(props: Any) -> None:
    await props.push(1)
    await props.hear(RunCancelled(**ORG, run="run_1", number=1, by="Ana"))
    await props.news()
    await props.hear(BuildSucceeded(**ORG, build="b", run="run_1", number=1, image="x", image_id="sha256:5"))
    assert await props.news() == []


async def test_a_failed_build_ends_the_wait(props: Any) -> None:
    await props.hear(BuildFailed(**ORG, build="b", run="run_1", number=1, stage="build", code="x", reason="y"))
    assert await props.news() == []


# -- the way back ------------------------------------------------------------------------------------------------------
async def test_a_rollback_brings_back_image_and_configuration(props: Any) -> None:
    """Release 1 with its own variables serves again, as release 3; what came back is said in words."""
    await props.hear(props.environment(variables={"GREETING": "Hello"}))
    first = await props.deploy(1)
    await props.hear(props.environment(variables={"GREETING": "Hi"}, container_port=9090))
    second = await props.deploy(2)
    await props.news()
    await props.again(3, first)
    asked = await props.request(3)
    assert (asked.cause, asked.back_to, asked.image_id, asked.commit) == ("rollback", first, "sha256:1", "1" * 40)
    await props.decide(3, Verdict.WARN)
    assert await props.sent(ApplyRelease) == (await props.sent(ApplyRelease))[:2]
    await props.work()
    assert props.answering.asked == ["sha256:1"]
    order, planned = await props.order(3), await props.release(3)
    assert (order.image_id, order.variables, order.container_port) == ("sha256:1", {"GREETING": "Hello"}, 8080)
    assert (order.release_number, order.fence, planned.back_to, planned.before) == (3, 3, first, second)
    await props.observe(3, Phase.STARTING, Phase.HEALTHY)
    (back,) = await props.sent(DeployRolledBack)
    assert (back.from_release, back.from_number, back.to_number, back.release) == (second, 2, 1, order.release)
    assert back.came_back == ["image shop:1", "1 variable: GREETING", "container port 8080"]
    ready = (await props.sent(DeployReady))[-1]
    assert (ready.back_to, ready.release) == (first, order.release)


async def test_instant_rollback_goes_back_step_by_step(props: Any) -> None:
    """Preview without a release: the one before; after a rollback one further back; then there is nothing."""
    first, second = await props.deploy(1), await props.deploy(2)
    third = await props.deploy(3)
    assert third
    ask = PreviewRollback(**ORG, environment="dev")
    preview = await props.ask(ask)
    assert (preview.release, preview.release_number, preview.from_number) == (second, 2, 3)
    await props.roll_back(4, preview.release)
    preview = await props.ask(ask)
    assert (preview.release, preview.release_number, preview.from_number) == (first, 1, 2)
    await props.roll_back(5, preview.release)
    with pytest.raises(Rejected) as refused:
        await props.ask(ask)
    assert refused.value.code == "deploy.nothing_before"


async def test_the_preview_shows_a_diff_and_what_is_there(props: Any) -> None:
    first = await props.deploy(1)
    await props.hear(props.environment(variables={"GREETING": "Hi"}))
    await props.deploy(2)
    props.answering.seen = Seen(built=False, on_runtime=None, reachable=False)
    preview = await props.ask(PreviewRollback(**ORG, environment="dev", release=first))
    assert preview.lines[:3] == ["- image shop:2", "+ image shop:1", "- variable GREETING=Hi"]
    assert (preview.image_exists, preview.target_reachable) == (False, False)
    for wrong, code in (
        (PreviewRollback(**ORG, environment="dev", release="rel_unknown"), "deploy.release_unknown"),
        (PreviewRollback(**ORG, environment="nowhere"), "deploy.environment_unknown"),
        (PreviewRollback(organisation="other", service="svc_1", environment="dev"), "deploy.environment_unknown"),
    ):
        with pytest.raises(Rejected) as refused:
            await props.ask(wrong)
        assert refused.value.code == code


@pytest.mark.parametrize(
    ("seen", "gone"),
    [
        (Seen(built=False, on_runtime=False, reachable=True), True),
        (Seen(built=False, on_runtime=None, reachable=False), True),
        (Seen(built=None, on_runtime=False, reachable=True), True),
        (Seen(built=False, on_runtime=True, reachable=True), False),
        (Seen(built=True, on_runtime=False, reachable=True), False),
        (Seen(built=None, on_runtime=None, reachable=False), False),
    ],
)
async def test_an_image_that_was_removed_fails_the_rollback_with_advice(props: Any, seen: Seen, gone: bool) -> None:
    """Nothing is changed on the runtime; when nobody could say, the runtime will see."""
    first, _ = await props.deploy(1), await props.deploy(2)
    props.answering.seen = seen
    await props.again(3, first)
    await props.decide(3)
    await props.work()
    failed = await props.sent(DeployFailed)
    assert bool(failed) == gone
    if gone:
        assert (failed[0].code, failed[0].still_serving) == ("deploy.image_gone", 2)
        assert failed[0].reason == "image shop:1 of release 1 was removed"
        assert failed[0].advice.startswith("Build its commit again")
        assert len(await props.sent(ApplyRelease)) == 2


async def test_an_image_that_only_the_runtime_misses_has_the_same_code(props: Any) -> None:
    await props.push(1)
    await props.decide(1)
    await props.observe(1, Phase.FAILED, code="image.gone", reason="no such image", advice="x")
    (failed,) = await props.sent(DeployFailed)
    assert (failed.code, failed.still_serving) == ("deploy.image_gone", None)


async def test_a_rollback_that_is_cancelled_while_it_is_checked_goes_nowhere(props: Any) -> None:
    first, _ = await props.deploy(1), await props.deploy(2)
    await props.again(3, first)
    await props.decide(3)
    await props.hear(RunCancelled(**ORG, run="run_3", number=3, by="Ana"))
    await props.work()
    assert len(await props.sent(ApplyRelease)) == 2
    assert [m.run for m in await props.sent(DeployCancelled)] == ["run_3"]


async def test_after_a_rollback_only_newer_commits_are_deployed_by_themselves(props: Any) -> None:
    """The same commit again (a sweep) is held; a newer push goes on and lifts the hold."""
    first, _ = await props.deploy(1), await props.deploy(2)
    await props.roll_back(3, first)
    assert (await props.rows(environments))[0]["hold"] == {"number": 3, "commits": ["2" * 40]}
    await props.push(4, commit="2" * 40, trigger=Trigger.SWEEP)
    await props.decide(4)
    (held,) = await props.sent(DeployCancelled)
    assert held.reason == "held after a rollback: this commit was rolled back; push a newer commit, or deploy by hand"
    await props.deploy(5)
    assert (await props.rows(environments))[0]["hold"] is None
    await props.push(6, commit="2" * 40)
    await props.decide(6)
    assert (await props.order(6)).image_id == "sha256:6"


async def test_a_rollback_that_fails_holds_nothing(props: Any) -> None:
    first, _ = await props.deploy(1), await props.deploy(2)
    await props.again(3, first)
    await props.decide(3)
    await props.work()
    await props.observe(3, Phase.FAILED, code="container.exited", reason="x")
    assert (await props.rows(environments))[0]["hold"] is None
    assert (await props.sent(DeployFailed))[0].still_serving == 2


async def test_a_release_can_go_to_another_environment(props: Any) -> None:
    """A promotion: the image of dev's release with the variables of production."""
    await props.register("dev")
    await props.hear(props.environment("production", variables={"MODE": "live"}))
    first = await props.deploy(1)
    await props.again(2, first, "production", Trigger.PROMOTION)
    asked = await props.request(2, "production")
    assert (asked.cause, asked.image_id, asked.environment_kind) == ("promotion", "sha256:1", "production")
    await props.decide(2, environment="production")
    await props.work()
    order = await props.order(2, "production")
    assert (order.image_id, order.variables, order.release_number) == ("sha256:1", {"MODE": "live"}, 1)


# -- what goes wrong ---------------------------------------------------------------------------------------------------
async def test_an_unknown_environment_or_release_ends_the_run_with_a_named_error(props: Any) -> None:
    await props.push(1, "nowhere")
    await props.again(2, "rel_unknown")
    failed = await props.sent(DeployFailed)
    assert [(m.run, m.code) for m in failed] == [
        ("run_1", "deploy.environment_unknown"),
        ("run_2", "deploy.release_unknown"),
    ]
    assert all(m.advice for m in failed)


async def test_a_release_of_another_service_is_unknown(props: Any) -> None:
    first = await props.deploy(1)
    await props.hear(props.environment().model_copy(update={"service": "svc_2"}))
    from shared.facts.webhook import RunStarted

    await props.hear(
        RunStarted(
            organisation="main", service="svc_2", run="run_9", number=9, service_name="x", trigger=Trigger.ROLLBACK,
            environments=["dev"], release=first,
        )
    )  # fmt: skip
    assert [m.code for m in await props.sent(DeployFailed)] == ["deploy.release_unknown"]


async def test_a_failed_release_says_what_still_serves(props: Any) -> None:
    await props.deploy(1)
    await props.push(2)
    await props.decide(2)
    await props.observe(2, Phase.STARTING)
    await props.observe(2, Phase.FAILED, code="container.unhealthy", reason="it never answered", advice="See its log.")
    (failed,) = await props.sent(DeployFailed)
    assert (failed.code, failed.still_serving, failed.release_number, failed.advice) == (
        "container.unhealthy", 1, 2, "See its log.",
    )  # fmt: skip


async def test_a_release_that_falls_ill_after_the_switch_settles_badly(props: Any) -> None:
    await props.push(1)
    await props.decide(1)
    await props.observe(1, Phase.STARTING, Phase.HEALTHY)
    await props.observe(1, Phase.UNHEALTHY, seconds=12, code="container.exited", reason="it ended", advice="See its log.")
    (settled,) = await props.sent(DeploySettled)
    assert (settled.healthy, settled.seconds, settled.code) == (False, 12, "container.exited")


async def test_no_release_stays_in_the_air(props: Any) -> None:
    """Ten minutes without a sign: failed with advice, and the next one goes on with a higher fence."""
    await props.push(1)
    await props.push(2)
    await props.decide(1)
    await props.decide(2)
    await props.hear(
        RuntimeChanged(organisation="main", runtime="local", label="", runtime_kind="", reachable=False, reason="engine away")
    )
    await props.observe(1, Phase.STARTING)
    props.clock.move(599)
    assert await props.reap() == 0
    props.clock.move(1)
    assert await props.reap() == 1
    (failed,) = await props.sent(DeployFailed)
    assert (failed.code, failed.run) == ("deploy.no_answer", "run_1")
    assert failed.reason == "runtime local gave no sign of the release for 10 min (engine away)"
    assert (await props.order(2)).fence == 2
    assert await props.reap() == 0


async def test_a_late_sign_of_a_given_up_release_counts_only_while_it_is_the_newest(props: Any) -> None:
    await props.push(1)
    await props.decide(1)
    props.clock.move(601)
    await props.reap()
    await props.observe(1, Phase.HEALTHY)
    assert len(await props.sent(DeployReady)) == 1
    await props.push(2)
    await props.decide(2)
    props.clock.move(601)
    await props.reap()
    await props.push(3)
    await props.decide(3)
    await props.observe(2, Phase.HEALTHY)
    assert [m.run for m in await props.sent(DeployReady)] == ["run_1"]


async def test_a_gate_that_never_decides_is_not_waited_for_for_ever(props: Any) -> None:
    await props.push(1)
    props.clock.move(1800)
    assert await props.reap() == 1
    (failed,) = await props.sent(DeployFailed)
    assert failed.code == "deploy.no_decision"
    await props.decide(1)
    assert await props.sent(ApplyRelease) == []


async def test_a_watch_of_which_nobody_hears_ends(props: Any) -> None:
    await props.push(1)
    await props.decide(1)
    await props.observe(1, Phase.HEALTHY)
    props.clock.move(659)
    assert await props.reap() == 0
    props.clock.move(1)
    assert await props.reap() == 1
    (settled,) = await props.sent(DeploySettled)
    assert (settled.healthy, settled.code) == (False, "deploy.no_answer")


async def test_a_target_that_is_gone_serves_nothing(props: Any) -> None:
    await props.deploy(1)
    await props.observe(1, Phase.GONE)
    assert (await props.rows(environments))[0]["release_id"] is None
    assert (await props.sent(EnvironmentChanged))[-1].release is None
    await props.push(2)
    await props.decide(2)
    assert (await props.release(2)).before is None


async def test_an_observation_of_an_unknown_release_is_passed_over(props: Any) -> None:
    await props.hear(ReleaseObserved(**ORG, runtime="local", release="rel_x", run="run_x", environment="dev", phase=Phase.HEALTHY))
    assert await props.news() == []


# -- environments and services -----------------------------------------------------------------------------------------
async def test_setting_an_environment_announces_it_and_answers(props: Any) -> None:
    order = props.environment("production", container_port=3000, health_path="/healthz", variables={"A": "b"})
    await props.hear(order)
    told = (await props.sent(EnvironmentChanged))[-1]
    assert (told.environment, told.environment_kind, told.container_port, told.health_path) == (
        "production", "production", 3000, "/healthz",
    )  # fmt: skip
    assert props.answers[-1].accepted
    assert props.answers[-1].intent == order.intent


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"environment": "Prod!"}, "deploy.environment_wrong"),
        ({"environment": "x" * 41}, "deploy.environment_wrong"),
        ({"runtime": "a b"}, "deploy.environment_wrong"),
        ({"container_port": 0}, "deploy.environment_wrong"),
        ({"container_port": 65536}, "deploy.environment_wrong"),
        ({"health_path": "healthz"}, "deploy.environment_wrong"),
        ({"health_path": "/a b"}, "deploy.environment_wrong"),
        ({"observe_seconds": -1}, "deploy.environment_wrong"),
        ({"variables": {"A-B": "x"}}, "deploy.environment_wrong"),
        ({"variables": {"A": "x\0"}}, "deploy.environment_wrong"),
        ({"variables": {"A": "x" * 33000}}, "deploy.environment_wrong"),
        ({"variables": {f"A{n}": "x" * 30000 for n in range(5)}}, "deploy.environment_wrong"),
        ({"service": "svc_unknown"}, "deploy.service_unknown"),
    ],
)
async def test_what_cannot_be_is_refused_with_advice(props: Any, changes: dict[str, Any], code: str) -> None:
    await props.hear(props.environment().model_copy(update=changes))
    answer = props.answers[-1]
    assert (answer.accepted, answer.code) == (False, code)
    assert answer.reason
    assert answer.advice
    assert await props.news() == []


async def test_a_running_environment_does_not_change_its_runtime(props: Any) -> None:
    await props.deploy(1)
    await props.hear(props.environment(runtime="other"))
    assert props.answers[-1].code == "deploy.runtime_in_use"


async def test_a_deleted_service_leaves_the_queue_and_goes_only_when_that_was_said(props: Any) -> None:
    await props.deploy(1)
    await props.push(2)
    await props.news()
    await props.hear(ServiceDeleted(**ORG, name_="shop", remove_running=True, by="Ana"))
    assert await props.news() == ["deploy.cancelled", "target.remove"]
    (order,) = await props.sent(RemoveTarget)
    assert (order.environment, order.runtime, order.by) == ("dev", "local", "Ana")
    await props.push(3)
    assert (await props.sent(DeployFailed))[-1].code == "deploy.environment_unknown"


async def test_a_deleted_service_keeps_running_when_nothing_was_said(props: Any) -> None:
    await props.deploy(1)
    await props.news()
    await props.hear(ServiceDeleted(**ORG, name_="shop"))
    assert await props.news() == []


async def test_a_queue_of_many_runs_ends_in_order_with_growing_fences(props: Any) -> None:
    """Thirty runs, decided in any order, some blocked, some cancelled: what is placed is in run order, each once."""
    numbers = list(range(1, 31))
    for number in numbers:
        await props.push(number)
    for number in sorted(numbers, key=lambda n: (n * 7) % 31):
        if number % 5 == 0:
            await props.hear(RunCancelled(**ORG, run=f"run_{number}", number=number, by="Ana"))
        await props.decide(number, Verdict.BLOCK if number % 7 == 0 else Verdict.PASS)
        for row in [r for r in await props.rows(requests) if r["state"] == "placing"]:
            await props.observe(row["number"], Phase.STARTING, Phase.HEALTHY)
    for _ in numbers:
        for row in [r for r in await props.rows(requests) if r["state"] == "placing"]:
            await props.observe(row["number"], Phase.STARTING, Phase.HEALTHY)
    placed = [int(m.run.removeprefix("run_")) for m in await props.sent(ApplyRelease)]
    assert placed == [n for n in numbers if n % 5 and n % 7]
    assert [m.fence for m in await props.sent(ApplyRelease)] == list(range(1, len(placed) + 1))


# -- examples ----------------------------------------------------------------------------------------------------------
async def test_it_reads_the_examples_of_what_it_hears(props: Any) -> None:
    for cls, _, _ in props.service.subscribers.table.values():
        folder = "facts" if cls.kind == "fact" else "orders"
        await props.hear(cls.model_validate_json((EXAMPLES / folder / "examples" / f"{cls.name}.v1.json").read_text()))


async def test_what_it_announces_looks_like_its_examples(props: Any) -> None:
    """Every fact of the deployer is announced once on this road, with the names and kinds of its example."""
    await props.hear(props.environment(variables={"GREETING": "Hello"}))
    first = await props.deploy(1)
    await props.hear(props.environment(variables={"GREETING": "Hi"}))
    await props.deploy(2)
    await props.roll_back(3, first)
    await props.push(4)
    await props.decide(4)
    await props.observe(4, Phase.FAILED, code="container.exited", reason="x", advice="y")
    await props.push(5)
    await props.decide(5, Verdict.BLOCK)
    facts = (
        EnvironmentChanged, DeployRequested, DeployPlanned, DeployStarted, DeployProgressed, DeployReady, DeploySettled,
        DeployFailed, DeployCancelled, DeployRolledBack,
    )  # fmt: skip
    for cls in facts:
        told = (await props.sent(cls))[-1].model_dump(mode="json")
        example = json.loads((EXAMPLES / "facts" / "examples" / f"{cls.name}.v1.json").read_text())
        assert set(example) == set(told), cls.name
    assert GateDecided.owner == "gate"
