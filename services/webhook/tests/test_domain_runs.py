"""The run's state machine: when it is over, how it ended, what cannot happen any more."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shared.words import RUN_ENDED, RunState, Step, StepState, Trigger
from webhook.domain.runs import (
    ENDED,
    IMAGE_AREAS,
    SOURCE_AREAS,
    Outcome,
    Patience,
    Run,
    Sibling,
    plan_of_release,
    plan_with_source,
    supersede,
)

OK, WARN, FAIL = StepState.SUCCESS, StepState.WARNING, StepState.FAILED
RUNS, WAITS, SKIP, BLOCK, GONE = (
    StepState.RUNNING,
    StepState.WAITING,
    StepState.SKIPPED,
    StepState.BLOCKED,
    StepState.CANCELLED,
)
PATIENCE = Patience(build=100, scan=50, gate=20, deploy=40)


def push(*environments: str) -> Run:
    return Run("run_1", 1, tuple(plan_with_source(environments)), environments, born_at_ms=0)


def hear(run: Run, *heard: tuple[Step, str, StepState], at_ms: int = 1000) -> Run:
    for step, part, state in heard:
        run.hear(step, part, state, at_ms=at_ms, code=f"{step.value}.{state.value}", reason="because")
    return run


def scans(step: Step, state: StepState = OK) -> list[tuple[Step, str, StepState]]:
    areas = SOURCE_AREAS if step is Step.SAST else IMAGE_AREAS
    return [(step, area, state) for area in areas]


def built() -> list[tuple[Step, str, StepState]]:
    return [(Step.SOURCE, "", OK), (Step.BUILD, "", OK)]


def whole(*environments: str) -> list[tuple[Step, str, StepState]]:
    """Everything that is heard of a push that goes well."""
    facts = [*built(), *scans(Step.SAST), *scans(Step.SCA)]
    for name in environments or ("",):
        facts.append((Step.GATE, name, OK))
    for name in environments:
        facts += [(Step.DEPLOY, name, RUNS), (Step.DEPLOY, name, OK), (Step.OPERATE, name, RUNS), (Step.OPERATE, name, OK)]
    return facts


def test_a_push_without_environment_has_no_deploy_in_its_plan() -> None:
    assert Step.DEPLOY not in plan_with_source([])
    assert plan_with_source(["dev"])[-2:] == [Step.DEPLOY, Step.OPERATE]
    assert plan_of_release() == [Step.GATE, Step.DEPLOY, Step.OPERATE]
    assert push().step_state(Step.DEPLOY) is StepState.NOT_IN_RUN


@pytest.mark.parametrize("environments", [(), ("dev",), ("dev", "prod")])
def test_a_run_is_over_with_the_last_part_of_its_plan_and_not_before(environments: tuple[str, ...]) -> None:
    run = push(*environments)
    facts = whole(*environments)
    for fact in facts[:-1]:
        hear(run, fact)
        assert run.outcome() is None
    hear(run, facts[-1])
    assert run.outcome() == Outcome(RunState.SUCCESS)


def test_the_first_thing_heard_makes_a_run_running() -> None:
    run = push()
    assert run.state is RunState.PENDING
    assert hear(run, (Step.SOURCE, "", WAITS)).state is RunState.RUNNING


def test_a_failed_build_ends_the_run_when_the_source_scans_are_over() -> None:
    run = hear(push("dev"), (Step.SOURCE, "", OK), (Step.BUILD, "", FAIL))
    assert run.outcome() is None, "the source scans are still at work"
    assert {run.step_state(step) for step in (Step.SCA, Step.GATE, Step.DEPLOY, Step.OPERATE)} == {SKIP}
    hear(run, *scans(Step.SAST))
    assert run.outcome() == Outcome(RunState.FAILED, Step.BUILD, "build.failed", "because")


def test_a_failed_build_ends_the_run_at_once_when_nothing_else_is_at_work() -> None:
    run = hear(push("dev"), *scans(Step.SAST), (Step.SOURCE, "", OK), (Step.BUILD, "", FAIL))
    assert run.outcome() == Outcome(RunState.FAILED, Step.BUILD, "build.failed", "because")


def test_source_that_cannot_be_fetched_skips_the_build_and_all_after_it() -> None:
    run = hear(push("dev"), (Step.SOURCE, "", FAIL), *scans(Step.SAST, FAIL))
    outcome = run.outcome()
    assert outcome and (outcome.state, outcome.step) == (RunState.FAILED, Step.SOURCE)
    assert run.step_state(Step.BUILD) is SKIP


def test_a_failed_scan_does_not_fail_the_run_since_the_gate_weighs_it() -> None:
    facts = [(step, part, FAIL if step in (Step.SAST, Step.SCA) else state) for step, part, state in whole("dev")]
    run = hear(push("dev"), *facts)
    assert run.outcome() == Outcome(RunState.SUCCESS)
    assert run.step_state(Step.SAST) is FAIL


def test_without_a_gate_a_failed_scan_fails_the_run() -> None:
    run = Run("run_1", 1, (Step.SOURCE, Step.SAST), (), born_at_ms=0)
    outcome = hear(run, (Step.SOURCE, "", OK), *scans(Step.SAST, FAIL)).outcome()
    assert outcome and (outcome.state, outcome.step) == (RunState.FAILED, Step.SAST)


def test_a_blocking_gate_ends_the_run_blocked_without_waiting_for_the_deployer() -> None:
    run = hear(push("dev"), *built(), *scans(Step.SAST), *scans(Step.SCA), (Step.GATE, "dev", BLOCK))
    assert run.outcome() == Outcome(RunState.BLOCKED, Step.GATE, "gate.blocked", "because")
    assert run.step_state(Step.DEPLOY) is SKIP


def test_a_gate_for_information_may_block_a_run_that_goes_nowhere() -> None:
    run = hear(push(), *built(), *scans(Step.SAST), *scans(Step.SCA), (Step.GATE, "", BLOCK))
    outcome = run.outcome()
    assert outcome and outcome.state is RunState.BLOCKED


def test_one_environment_blocked_and_one_deployed_is_blocked_once_the_other_has_settled() -> None:
    run = hear(push("dev", "prod"), *built(), *scans(Step.SAST), *scans(Step.SCA))
    hear(run, (Step.GATE, "prod", BLOCK), (Step.GATE, "dev", OK), (Step.DEPLOY, "dev", OK))
    assert run.outcome() is None
    outcome = hear(run, (Step.OPERATE, "dev", OK)).outcome()
    assert outcome and (outcome.state, outcome.step) == (RunState.BLOCKED, Step.GATE)


def test_failed_is_worse_than_blocked() -> None:
    run = hear(push("dev", "prod"), *built(), *scans(Step.SAST), *scans(Step.SCA))
    hear(run, (Step.GATE, "prod", BLOCK), (Step.GATE, "dev", OK), (Step.DEPLOY, "dev", FAIL))
    outcome = run.outcome()
    assert outcome and (outcome.state, outcome.step) == (RunState.FAILED, Step.DEPLOY)


def test_a_deploy_that_failed_is_not_watched() -> None:
    run = hear(push("dev"), *whole("dev")[:-4], (Step.DEPLOY, "dev", FAIL))
    assert run.step_state(Step.OPERATE) is SKIP
    assert run.outcome() == Outcome(RunState.FAILED, Step.DEPLOY, "deploy.failed", "because")


def test_a_release_that_does_not_stay_healthy_fails_the_run() -> None:
    outcome = hear(push("dev"), *whole("dev")[:-1], (Step.OPERATE, "dev", FAIL)).outcome()
    assert outcome and (outcome.state, outcome.step) == (RunState.FAILED, Step.OPERATE)


def test_a_rollback_is_over_with_its_watch() -> None:
    run = Run("run_1", 4, tuple(plan_of_release()), ("dev",), born_at_ms=0)
    hear(run, (Step.GATE, "dev", WARN), (Step.DEPLOY, "dev", OK))
    assert run.outcome() is None
    assert hear(run, (Step.OPERATE, "dev", OK)).outcome() == Outcome(RunState.SUCCESS)


def test_work_that_was_cancelled_from_below_cancels_the_run() -> None:
    run = hear(push(), (Step.SOURCE, "", GONE), (Step.BUILD, "", GONE), *scans(Step.SAST, GONE))
    outcome = run.outcome()
    assert outcome and outcome.state is RunState.CANCELLED


def test_what_is_not_in_the_plan_is_passed_over() -> None:
    run = hear(push("dev"), (Step.DAST, "dast", FAIL), (Step.GATE, "elsewhere", BLOCK), (Step.DEPLOY, "", FAIL))
    assert run.state is RunState.PENDING
    assert not run.changed


def test_a_part_that_ended_never_changes_again() -> None:
    run = hear(push("dev"), (Step.BUILD, "", OK), (Step.BUILD, "", FAIL), (Step.BUILD, "", RUNS))
    assert run.of(Step.BUILD)[""].state is OK


def test_a_sign_of_life_never_takes_a_running_part_back() -> None:
    run = hear(push("dev"), (Step.GATE, "dev", RUNS), (Step.GATE, "dev", WAITS))
    assert run.of(Step.GATE)["dev"].state is RUNS


def test_nothing_is_heard_after_the_end() -> None:
    run = push("dev")
    run.end(Outcome(RunState.CANCELLED, code="run.cancelled"))
    run.changed.clear()
    hear(run, *whole("dev"))
    assert run.state is RunState.CANCELLED
    assert not run.changed


def test_cancelling_cancels_what_had_not_ended_and_leaves_the_rest() -> None:
    run = hear(push("dev"), *built(), (Step.SAST, "sast", RUNS))
    run.end(Outcome(RunState.CANCELLED, code="run.cancelled", reason="cancelled by Ada"))
    assert run.step_state(Step.BUILD) is OK
    assert {part.state for part in run.of(Step.SAST).values()} == {GONE}
    assert all(part.ended for part in run.parts.values())


def test_a_run_that_failed_by_its_deadline_fails_what_ran_and_skips_the_rest() -> None:
    run = hear(push("dev"), *built(), (Step.SAST, "sast", RUNS))
    run.end(Outcome(RunState.FAILED, Step.SAST, "run.deadline", "not over after 4 h"))
    assert run.of(Step.SAST)["sast"].state is FAIL
    assert run.step_state(Step.DEPLOY) is SKIP


def test_there_is_nothing_to_cancel_once_every_environment_has_switched() -> None:
    run = hear(push("dev", "prod"), (Step.DEPLOY, "dev", OK))
    assert not run.serves_everywhere()
    assert hear(run, (Step.DEPLOY, "prod", OK)).serves_everywhere()
    assert not push().serves_everywhere()


# -- silence -----------------------------------------------------------------------------------------------------------
def test_only_what_could_be_at_work_is_due() -> None:
    run = push("dev")
    assert {step for step, _ in run.due()} == {Step.SOURCE, Step.SAST}
    hear(run, (Step.SOURCE, "", OK))
    assert {step for step, _ in run.due()} == {Step.BUILD, Step.SAST}
    hear(run, (Step.BUILD, "", OK), *scans(Step.SAST))
    assert {step for step, _ in run.due()} == {Step.SCA}
    hear(run, *scans(Step.SCA))
    assert run.due() == [(Step.GATE, "dev")]
    hear(run, (Step.GATE, "dev", OK))
    assert run.due() == [(Step.DEPLOY, "dev")]
    hear(run, (Step.DEPLOY, "dev", OK))
    assert run.due() == [(Step.OPERATE, "dev")]


def test_silence_fails_the_due_step_after_its_own_patience() -> None:
    run = hear(push("dev"), *built(), *scans(Step.SAST), *scans(Step.SCA), at_ms=10_000)
    assert run.fail_silent(PATIENCE, quiet_ms=19_000) == []
    assert run.fail_silent(PATIENCE, quiet_ms=21_000) == [(Step.GATE, "dev")]
    outcome = run.outcome()
    assert outcome and (outcome.state, outcome.step, outcome.code) == (RunState.FAILED, Step.GATE, "run.step_silent")


def test_a_silent_scan_does_not_fail_the_run_by_itself() -> None:
    run = hear(push("dev"), *built(), *scans(Step.SAST)[:2], *scans(Step.SCA), at_ms=10_000)
    assert run.fail_silent(PATIENCE, quiet_ms=51_000) == [(Step.SAST, "iac")]
    assert run.outcome() is None, "the gate decides what a missing scan means"


def test_any_news_of_the_run_counts_as_a_sign_of_life() -> None:
    run = hear(push("dev"), *built(), at_ms=10_000)
    hear(run, (Step.SAST, "sast", RUNS), at_ms=50_000)
    assert run.fail_silent(PATIENCE, quiet_ms=49_000) == []


def test_whatever_is_heard_silence_ends_a_run_at_last() -> None:
    run = hear(push("dev"), (Step.SOURCE, "", OK), (Step.SAST, "sast", RUNS), at_ms=10_000)
    for turn in range(1, 20):
        run.fail_silent(PATIENCE, quiet_ms=turn * 200_000)
    outcome = run.outcome()
    assert outcome and outcome.state is RunState.FAILED


# -- any order, any repeat ---------------------------------------------------------------------------------------------
@settings(max_examples=200, deadline=None)
@given(st.permutations(whole("dev", "prod")), st.integers(0, 2**30))
def test_a_good_run_ends_well_in_whatever_order_its_facts_come(facts: list, seed: int) -> None:
    run = push("dev", "prod")
    for index, fact in enumerate(facts):
        hear(run, fact)
        if seed >> (index % 30) & 1:
            hear(run, fact)
    assert run.outcome() == Outcome(RunState.SUCCESS)


PARTS = [(step, part) for step, part in push("dev", "prod").parts]
FINAL = st.sampled_from(sorted(ENDED))


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(PARTS), st.sampled_from(sorted(StepState))), max_size=60), st.data())
def test_a_replay_changes_nothing(heard: list, data: st.DataObject) -> None:
    run = push("dev", "prod")
    for (step, part), state in heard:
        hear(run, (step, part, state))
    ended = {key: part.state for key, part in run.parts.items() if part.ended}
    before = run.outcome()
    for (step, part), state in data.draw(st.permutations(heard)):
        hear(run, (step, part, state))
    assert {key: run.parts[key].state for key in ended} == ended
    if before:
        assert run.outcome() == before


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(PARTS), FINAL), max_size=60))
def test_whatever_is_heard_a_run_always_ends_by_silence(heard: list) -> None:
    run = push("dev", "prod")
    for (step, part), state in heard:
        hear(run, (step, part, state))
    for turn in range(12):
        run.fail_silent(PATIENCE, quiet_ms=10_000_000 * (turn + 1))
    outcome = run.outcome()
    assert outcome and outcome.state in RUN_ENDED


# -- superseding -------------------------------------------------------------------------------------------------------
def sibling(number: int, **changes: object) -> Sibling:
    values: dict = {
        "id": f"run_{number}",
        "number": number,
        "trigger": Trigger.WEBHOOK,
        "before": f"c{number - 1}",
        "commit": f"c{number}",
        "open": True,
        "switching": False,
    }
    return Sibling(**(values | changes))


def test_a_newer_push_supersedes_what_is_open_and_not_switching() -> None:
    runs = [sibling(4), sibling(3, switching=True), sibling(2), sibling(1, open=False)]
    assert [run.number for run in supersede("c4", "c5", runs).older] == [4, 2]


def test_what_a_person_began_is_not_superseded() -> None:
    assert supersede("c1", "c2", [sibling(1, trigger=Trigger.MANUAL)]).older == ()


def test_a_delivery_that_comes_late_is_superseded_by_the_one_that_followed_it() -> None:
    latest = sibling(2, before="c5", commit="c6")
    found = supersede("c4", "c5", [latest])
    assert (found.newer, found.older) == (latest, ())


def test_a_branch_put_back_by_force_is_not_taken_for_a_late_delivery() -> None:
    latest = sibling(2, before="c5", commit="c6")
    found = supersede("c6", "c5", [latest])
    assert (found.newer, [run.number for run in found.older]) == (None, [2])


def test_every_step_shows_a_state_in_every_mixture_of_its_parts() -> None:
    for states in itertools.product(StepState, repeat=2):
        run = push("dev", "prod")
        run.parts[Step.GATE, "dev"].state, run.parts[Step.GATE, "prod"].state = states
        shown = run.step_state(Step.GATE)
        if all(state in ENDED for state in states):
            assert shown in states
        else:
            assert shown in (RUNS, WAITS)
