"""Door: the bus. What the scanner hears, in its own words."""

from __future__ import annotations

from shared.database import Tx
from shared.facts.builder import BuildFailed, BuildSucceeded
from shared.facts.gateway import ServiceChanged, ServiceDeleted, ServiceRegistered
from shared.facts.webhook import PushReceived, RunCancelled, RunFinished, RunSuperseded
from shared.subscribers import Envelope, Subscribers

from scanner.handlers import Handlers, Push


def subscribers(handlers: Handlers) -> Subscribers:
    """One function per fact."""
    on = Subscribers()

    @on(PushReceived, key=lambda m: m.run)
    async def queue_source(tx: Tx, message: PushReceived, envelope: Envelope) -> None:
        await handlers.queue_source(
            tx,
            Push(
                message.organisation,
                message.service,
                message.run,
                message.number,
                message.commit,
                message.branch,
                message.repository_url,
                message.credential,
                message.dockerfile,
                message.sample,
            ),
        )

    @on(BuildSucceeded, key=lambda m: m.run)
    async def queue_image(tx: Tx, message: BuildSucceeded, envelope: Envelope) -> None:
        await handlers.queue_image(
            tx, message.organisation, message.service, message.run, message.number, message.commit, message.image_id
        )

    @on(BuildFailed, key=lambda m: m.run)
    async def note_no_image(tx: Tx, message: BuildFailed, envelope: Envelope) -> None:
        await handlers.end_run(tx, message.run)

    @on(RunFinished, key=lambda m: m.run)
    async def end_run(tx: Tx, message: RunFinished, envelope: Envelope) -> None:
        await handlers.end_run(tx, message.run)

    @on(RunCancelled, key=lambda m: m.run)
    async def stop_cancelled(tx: Tx, message: RunCancelled, envelope: Envelope) -> None:
        await handlers.stop_run(tx, message.run, f"cancelled by {message.by}")

    @on(RunSuperseded, key=lambda m: m.run)
    async def stop_superseded(tx: Tx, message: RunSuperseded, envelope: Envelope) -> None:
        await handlers.stop_run(tx, message.run, f"superseded by run #{message.by_number}")

    async def know(tx: Tx, message: ServiceRegistered | ServiceChanged) -> None:
        await handlers.know_service(
            tx, message.service, message.organisation, name=message.name_, branch=message.branch, sample=message.sample
        )

    @on(ServiceRegistered)
    async def know_service(tx: Tx, message: ServiceRegistered, envelope: Envelope) -> None:
        await know(tx, message)

    @on(ServiceChanged)
    async def know_changed(tx: Tx, message: ServiceChanged, envelope: Envelope) -> None:
        await know(tx, message)

    @on(ServiceDeleted)
    async def forget_service(tx: Tx, message: ServiceDeleted, envelope: Envelope) -> None:
        await handlers.forget_service(tx, message.service)

    return on
