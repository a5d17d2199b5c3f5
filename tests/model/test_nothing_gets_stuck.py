"""Stuck is impossible: whatever order facts arrive in, doubled or late, whoever is killed, every open run is waited for by name.

Hypothesis plays the world of `world.py`: it pushes, cancels, rolls back, publishes, delivers, works, kills, lets handlers and tools
fail, sets the clock, and lets time pass. After each step every run that is not over must have what moves it on: a message under
way, a job, a question or a release with a deadline. In the end everything is delivered and worked off, and every run must be over.

`KIOPS_MODEL_EXAMPLES=500` plays longer.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from shared.facts.gateway import ServiceDeleted, ServiceRegistered
from shared.orders.deployer import SetEnvironment
from shared.orders.webhook import CancelRun, SetRule, StartRun
from shared.words import RUN_ENDED, Trigger

from tests.model.world import ORG, World

EXAMPLES = int(os.environ.get("KIOPS_MODEL_EXAMPLES", "12"))
SERVICES = ("svc_0", "svc_1")
NAMES = ("gateway", "webhook", "builder", "scanner", "gate", "deployer", "operator-proxy")
SPEAKERS = NAMES[1:]
WORKERS = ("builder", "scanner", "gate", "deployer", "operator-proxy")
# What ends a run that nobody would end otherwise. Short of long waiting, nothing may need it.
RESCUES = {"run.step_silent", "run.deadline", "deploy.no_answer", "deploy.no_decision"}


class Table(RuleBasedStateMachine):
    """One game. `run` plays a coroutine on the loop of the world, `world` outlives the games."""

    world: World
    run: Callable[[Coroutine[Any, Any, Any]], Any]

    def __init__(self) -> None:
        super().__init__()
        self.number, self.waited, self.poisoned = 0, 0.0, False

    @initialize(environments=st.sampled_from([["development"], ["development", "production"], []]), supersede=st.booleans())
    def begin(self, environments: list[str], supersede: bool) -> None:
        async def play() -> None:
            await self.world.forget()
            for service in SERVICES:
                self.world.say(ServiceRegistered(organisation=ORG, service=service, name_=service.replace("_", "-")))
                self.world.say(SetRule(organisation=ORG, service=service, environments=environments, supersede=supersede))
                for name in environments:
                    self.world.say(SetEnvironment(organisation=ORG, service=service, environment=name, observe_seconds=1))
            await self.world.settle()

        self.run(play())

    # -- people ------------------------------------------------------------------------------------------------------
    @rule(service=st.sampled_from(SERVICES), branch=st.sampled_from(("main", "next")))
    def push(self, service: str, branch: str) -> None:
        self.number += 1
        about = {"executor": "Ada", "branch": branch, "commit": f"{self.number:040x}"}
        self.world.say(StartRun(organisation=ORG, service=service, trigger=Trigger.WEBHOOK, **about))

    @rule(which=st.integers(0, 20))
    def cancel(self, which: int) -> None:
        runs = self.run(self.world.runs())
        if runs:
            run = runs[which % len(runs)]
            self.world.say(CancelRun(organisation=ORG, service=run.service_id, run=run.id, by="Ada"))

    @rule(which=st.integers(0, 20), trigger=st.sampled_from((Trigger.ROLLBACK, Trigger.PROMOTION)))
    def release_again(self, which: int, trigger: Trigger) -> None:
        from deployer.tables import releases

        made = self.run(self.world.rows("deployer", sa.select(releases).order_by(releases.c.service_id, releases.c.number)))
        if made:
            release = made[which % len(made)]
            about = {"executor": "Ada", "release": release.id, "release_number": release.number}
            places = {"environments": [release.environment]}
            self.world.say(StartRun(organisation=ORG, service=release.service_id, trigger=trigger, **about, **places))

    @rule()
    def delete_a_service(self) -> None:
        if self.number > 2:
            self.world.say(ServiceDeleted(organisation=ORG, service=SERVICES[1], name_="svc-1", by="Ada"))

    # -- the bus -----------------------------------------------------------------------------------------------------
    @rule(name=st.sampled_from(SPEAKERS), most=st.integers(1, 4))
    def publish(self, name: str, most: int) -> None:
        self.run(self.world.publish(name, most))

    @rule(name=st.sampled_from(NAMES), most=st.integers(1, 8))
    def deliver(self, name: str, most: int) -> None:
        self.run(self.world.deliver(name, most))

    @rule(name=st.sampled_from(NAMES), trouble=st.sampled_from(("crash", "breaks")), at=st.integers(0, 3))
    def deliver_in_trouble(self, name: str, trouble: str, at: int) -> None:
        self.run(self.world.deliver(name, trouble=trouble, at=at))

    @rule(place=st.integers(0, 200))
    def say_again(self, place: int) -> None:
        if self.world.stream:
            self.world.say_again(place)

    @rule()
    def some_of_everything(self) -> None:
        async def play() -> None:
            for name in SPEAKERS:
                await self.world.publish(name)
            for name in NAMES:
                await self.world.deliver(name)

        self.run(play())

    # -- work --------------------------------------------------------------------------------------------------------
    @rule(name=st.sampled_from(WORKERS))
    def claim(self, name: str) -> None:
        self.run(self.world.claim(name))

    @rule(
        name=st.sampled_from(WORKERS),
        which=st.integers(0, 3),
        fate=st.sampled_from(("well", "well", "crash", "away", "breaks")),
        after=st.integers(0, 3),
    )
    def work(self, name: str, which: int, fate: str, after: int) -> None:
        self.run(self.world.claim(name))
        self.run(self.world.work(name, which, fate, after))

    @rule(name=st.sampled_from(NAMES))
    def kill(self, name: str) -> None:
        self.run(self.world.restart(name))

    @rule(seconds=st.sampled_from((1, 5, 40, 700)))
    def pass_time(self, seconds: int) -> None:
        self.waited += seconds
        self.run(self.world.pass_time(seconds))

    @rule(seconds=st.sampled_from((-3600, 86_400)))
    def set_the_clock(self, seconds: int) -> None:
        self.world.clock.set(seconds)

    # -- what must hold ----------------------------------------------------------------------------------------------
    @invariant()
    def every_open_run_is_waited_for_by_name(self) -> None:
        async def look() -> list[str]:
            open_runs = await self.world.open_runs()
            waits = await self.world.waits() if open_runs else {}
            return [f"{run.service_id} #{run.number} ({run.state})" for run in open_runs if not waits.get(run.id)]

        assert self.run(look()) == []

    def teardown(self) -> None:
        self.run(self._end())

    async def _end(self) -> None:
        world = self.world
        await world.until_over()
        runs = await world.runs()
        still = [f"{run.service_id} #{run.number} {run.state} waits for {(await world.waits()).get(run.id)}" for run in runs
                 if run.state not in RUN_ENDED]  # fmt: skip
        assert still == []
        assert await world.left() == []
        if self.waited < 600:
            assert [run.outcome_code for run in runs if run.outcome_code in RESCUES] == []
        for line in await world.timelines():
            assert line.worked_ms + line.waited_ms == line.wall_ms >= 0
            assert all(each.ended_ms >= each.started_ms and each.counts_ms >= 0 for each in line.segments), line
        shown = await world.shown()
        told = {run.id: run.state for run in runs}
        assert {run: state for run, state in shown.items() if run in told} == {run: told[run] for run in shown if run in told}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[tuple[World, asyncio.Runner]]:
    memory = Path("/dev/shm")
    with (
        tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else tmp_path) as root,
        asyncio.Runner() as runner,
    ):
        world = World()
        opened = world.opened(Path(root))
        runner.run(opened.__aenter__())
        try:
            yield world, runner
        finally:
            runner.run(opened.__aexit__(None, None, None))


@pytest.mark.slow
def test_no_run_gets_stuck(world: tuple[World, asyncio.Runner]) -> None:
    here, runner = world

    class Game(Table):
        world = here
        run = staticmethod(runner.run)  # type: ignore[assignment]

    run_state_machine_as_test(
        Game,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
            database=None,
        ),
    )
