"""Doors to the bus: facts and orders in, questions answered. Each translates and calls a handler."""

from __future__ import annotations

from shared.database import Tx
from shared.errors import Rejected
from shared.facts.builder import BuildFailed, BuildSucceeded
from shared.facts.gate import GateDecided
from shared.facts.gateway import ServiceChanged, ServiceDeleted, ServiceRegistered
from shared.facts.operator_proxy import ReleaseObserved, RuntimeChanged
from shared.facts.webhook import PushReceived, RunCancelled, RunFinished, RunStarted, RunSuperseded
from shared.orders.deployer import SetEnvironment
from shared.queries.deployer import PreviewRollback, RollbackPreview
from shared.subscribers import Answers, Envelope, Subscribers

from deployer.handlers import Handlers
from deployer.handlers.environments import Wanted
from deployer.handlers.rollouts import Observed


def subscribers(handlers: Handlers) -> Subscribers:
    """What the deployer hears, and what it does about it."""
    on = Subscribers()
    _catalogue(on, handlers)
    _runs(on, handlers)

    @on(BuildSucceeded)
    async def built(tx: Tx, m: BuildSucceeded, envelope: Envelope) -> None:
        await handlers.requests.image_built(tx, m.run, m.image, m.image_id, m.digest, m.version, m.version_by_hand, m.commit)

    @on(BuildFailed)
    async def not_built(tx: Tx, m: BuildFailed, envelope: Envelope) -> None:
        await handlers.requests.run_over(tx, m.run, "there is no image to deploy", envelope.stored_at_ms)

    @on(GateDecided)
    async def decided(tx: Tx, m: GateDecided, envelope: Envelope) -> None:
        if m.request is not None:
            await handlers.requests.decided(tx, m.request, m.verdict.value, m.sentence, m.decision)

    @on(ReleaseObserved, key=lambda m: m.run)
    async def observed(tx: Tx, m: ReleaseObserved, envelope: Envelope) -> None:
        await handlers.rollouts.observed(
            tx,
            Observed(
                release=m.release,
                phase=m.phase.value,
                at_ms=envelope.stored_at_ms,
                step=m.step,
                steps=m.steps,
                text=m.text,
                container=m.container,
                url=m.url,
                stages_ms=m.stages_ms,
                seconds=m.seconds,
                code=m.code,
                reason=m.reason,
                advice=m.advice,
            ),
        )

    @on(SetEnvironment, key=lambda m: m.service)
    async def set_environment(tx: Tx, m: SetEnvironment, envelope: Envelope) -> None:
        wanted = Wanted(
            organisation=m.organisation,
            service=m.service,
            name=m.environment,
            kind=m.environment_kind.value,
            runtime=m.runtime,
            container_port=m.container_port,
            health_path=m.health_path,
            own_port=m.own_port,
            variables=m.variables,
            observe_seconds=m.observe_seconds,
        )
        try:
            await handlers.environments.set(tx, wanted)
        except Rejected as error:
            await tx.answer(m, accepted=False, code=error.code, reason=error.message, advice=error.advice)
            return
        await tx.answer(m, data={"environment": m.environment})

    return on


def _catalogue(on: Subscribers, handlers: Handlers) -> None:
    @on(ServiceRegistered)
    async def registered(tx: Tx, m: ServiceRegistered, envelope: Envelope) -> None:
        await handlers.catalogue.remember(tx, m.organisation, m.service, m.name_)

    @on(ServiceChanged)
    async def changed(tx: Tx, m: ServiceChanged, envelope: Envelope) -> None:
        await handlers.catalogue.remember(tx, m.organisation, m.service, m.name_)

    @on(ServiceDeleted)
    async def deleted(tx: Tx, m: ServiceDeleted, envelope: Envelope) -> None:
        await handlers.catalogue.forget(tx, m.organisation, m.service, m.name_, m.remove_running, m.by, envelope.stored_at_ms)

    @on(RuntimeChanged, key=lambda m: m.runtime)
    async def runtime(tx: Tx, m: RuntimeChanged, envelope: Envelope) -> None:
        await handlers.catalogue.remember_runtime(tx, m.organisation, m.runtime, m.reachable, m.reason)


def _runs(on: Subscribers, handlers: Handlers) -> None:
    async def born(tx: Tx, m: PushReceived | RunStarted) -> bool:
        return await handlers.catalogue.run_born(
            tx, m.organisation, m.service, m.run, m.number, m.service_name, m.trigger.value, m.commit, m.environments
        )

    @on(PushReceived)
    async def pushed(tx: Tx, m: PushReceived, envelope: Envelope) -> None:
        await born(tx, m)

    @on(RunStarted)
    async def started(tx: Tx, m: RunStarted, envelope: Envelope) -> None:
        if await born(tx, m):
            await handlers.requests.release_wanted(tx, m.run, m.release)

    @on(RunSuperseded)
    async def superseded(tx: Tx, m: RunSuperseded, envelope: Envelope) -> None:
        await handlers.requests.run_over(tx, m.run, f"superseded by run #{m.by_number}", envelope.stored_at_ms)

    @on(RunCancelled)
    async def cancelled(tx: Tx, m: RunCancelled, envelope: Envelope) -> None:
        await handlers.requests.run_over(tx, m.run, f"cancelled by {m.by}", envelope.stored_at_ms)

    @on(RunFinished)
    async def finished(tx: Tx, m: RunFinished, envelope: Envelope) -> None:
        await handlers.requests.run_over(tx, m.run, f"the run is over: {m.outcome.value}", envelope.stored_at_ms)


def answers(handlers: Handlers) -> Answers:
    """What the deployer is asked."""
    answer = Answers()

    @answer(PreviewRollback)
    async def preview(query: PreviewRollback) -> RollbackPreview:
        return await handlers.previews.rollback(query.organisation, query.service, query.environment, query.release)

    return answer
