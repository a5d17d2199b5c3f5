"""The builder's doors to the bus: what it hears, and what it answers. Translate, call a handler."""

from __future__ import annotations

from shared.database import Tx
from shared.facts.deployer import DeployReady
from shared.facts.gateway import ServiceChanged, ServiceDeleted, ServiceRegistered
from shared.facts.webhook import PushReceived, RunCancelled, RunFinished, RunSuperseded
from shared.queries.builder import AskImageExists, ImageExists
from shared.subscribers import Answers, Envelope, Subscribers
from shared.words import Step

from builder.domain.build import BuildRequest
from builder.handlers import Handlers


def subscribers(handlers: Handlers) -> Subscribers:
    """Which handler acts on which fact."""
    on = Subscribers()

    @on(PushReceived, key=lambda message: message.run)
    async def queue_build(tx: Tx, message: PushReceived, envelope: Envelope) -> None:
        if Step.BUILD not in message.plan:
            return
        await handlers.queue_build(
            tx,
            BuildRequest(
                organisation=message.organisation,
                service=message.service,
                service_name=message.service_name,
                run=message.run,
                number=message.number,
                commit=message.commit,
                repository_url=message.repository_url,
                ref=message.ref,
                credential=message.credential,
                dockerfile=message.dockerfile,
                context=message.context,
                version=message.version,
                trigger=message.trigger,
                executor=message.executor,
                cause=message.cause,
            ),
        )

    @on(RunCancelled, key=lambda message: message.run)
    async def run_cancelled(tx: Tx, message: RunCancelled, envelope: Envelope) -> None:
        await handlers.stop_run(tx, message.run, f"cancelled by {message.by}")

    @on(RunSuperseded, key=lambda message: message.run)
    async def run_superseded(tx: Tx, message: RunSuperseded, envelope: Envelope) -> None:
        await handlers.stop_run(tx, message.run, f"superseded by run #{message.by_number}")

    @on(RunFinished, key=lambda message: message.run)
    async def run_finished(tx: Tx, message: RunFinished, envelope: Envelope) -> None:
        await handlers.stop_run(tx, message.run, message.reason or "the run is over")

    @on(ServiceRegistered, key=lambda message: message.service)
    async def service_registered(tx: Tx, message: ServiceRegistered, envelope: Envelope) -> None:
        await handlers.know_service(tx, message.service, message.organisation, message.name_)

    @on(ServiceChanged, key=lambda message: message.service)
    async def service_changed(tx: Tx, message: ServiceChanged, envelope: Envelope) -> None:
        await handlers.know_service(tx, message.service, message.organisation, message.name_)

    @on(ServiceDeleted, key=lambda message: message.service)
    async def service_deleted(tx: Tx, message: ServiceDeleted, envelope: Envelope) -> None:
        await handlers.forget_service(tx, message.service)

    @on(DeployReady, key=lambda message: message.service)
    async def deploy_ready(tx: Tx, message: DeployReady, envelope: Envelope) -> None:
        await handlers.know_release(
            tx,
            release=message.release,
            organisation=message.organisation,
            service=message.service,
            environment=message.environment,
            image_id=message.image_id,
            ready_at_ms=envelope.stored_at_ms,
        )

    return on


def answers(handlers: Handlers) -> Answers:
    """What is asked of the builder."""
    answer = Answers()

    @answer(AskImageExists)
    async def image_exists(query: AskImageExists) -> ImageExists:
        return await handlers.image_exists(query.image_id)

    return answer
