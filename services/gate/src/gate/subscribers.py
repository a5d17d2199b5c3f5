"""Door: the bus. Translates each message and calls a handler; nothing else."""

from __future__ import annotations

from shared.database import Tx
from shared.facts.builder import BuildFailed, BuildSucceeded
from shared.facts.deployer import DeployCancelled, DeployReady, DeployRequested
from shared.facts.gateway import ServiceChanged, ServiceDeleted, ServiceRegistered
from shared.facts.scanner import ScanCancelled, ScanFailed, ScanFinished, ScanQueued, ScanStarted
from shared.facts.webhook import PushReceived, RunCancelled, RunFinished, RunStarted, RunSuperseded
from shared.subscribers import Envelope, Subscribers

from gate import store
from gate.domain.document import Evidence
from gate.handlers import Handlers
from gate.handlers.questions import Asked

# A state that a newer scanner knows and we do not is no proof of anything.
SCAN_STATES = {"completed", "partial", "no_data", "not_applicable", "failed"}


def subscribers(handlers: Handlers) -> Subscribers:
    """What the gate hears, and what it does about it."""
    on = Subscribers()

    @on(ServiceRegistered)
    async def registered(tx: Tx, m: ServiceRegistered, envelope: Envelope) -> None:
        await store.remember_service(tx, m.organisation, m.service, m.name_)

    @on(ServiceChanged)
    async def changed(tx: Tx, m: ServiceChanged, envelope: Envelope) -> None:
        await store.remember_service(tx, m.organisation, m.service, m.name_)

    @on(ServiceDeleted)
    async def deleted(tx: Tx, m: ServiceDeleted, envelope: Envelope) -> None:
        await store.forget_service(tx, m.service, envelope.stored_at_ms)

    async def born(tx: Tx, m: PushReceived | RunStarted, envelope: Envelope) -> None:
        await handlers.questions.run_began(
            tx, m.organisation, m.service, m.run, m.number, m.service_name, m.commit, m.plan, m.environments,
            envelope.stored_at_ms,
        )  # fmt: skip

    on(PushReceived)(born)
    on(RunStarted)(born)

    @on(RunSuperseded)
    async def superseded(tx: Tx, m: RunSuperseded, envelope: Envelope) -> None:
        await handlers.questions.withdraw(tx, m.run, envelope.stored_at_ms, f"superseded by run #{m.by_number}")

    @on(RunCancelled)
    async def cancelled(tx: Tx, m: RunCancelled, envelope: Envelope) -> None:
        await handlers.questions.withdraw(tx, m.run, envelope.stored_at_ms, f"cancelled by {m.by}")

    @on(RunFinished)
    async def finished(tx: Tx, m: RunFinished, envelope: Envelope) -> None:
        await handlers.questions.withdraw(tx, m.run, envelope.stored_at_ms, f"the run is over: {m.outcome}")

    @on(BuildSucceeded)
    async def built(tx: Tx, m: BuildSucceeded, envelope: Envelope) -> None:
        await handlers.questions.image_built(tx, m.run, m.image_id, envelope.stored_at_ms)

    @on(BuildFailed)
    async def not_built(tx: Tx, m: BuildFailed, envelope: Envelope) -> None:
        await handlers.questions.withdraw(tx, m.run, envelope.stored_at_ms, "there is no image to judge")

    @on(ScanQueued)
    async def queued(tx: Tx, m: ScanQueued, envelope: Envelope) -> None:
        await handlers.evidence.note_running(tx, m.organisation, m.service, m.run, m.scan, m.areas, envelope.stored_at_ms)

    @on(ScanStarted)
    async def started(tx: Tx, m: ScanStarted, envelope: Envelope) -> None:
        await handlers.evidence.note_running(tx, m.organisation, m.service, m.run, m.scan, m.areas, envelope.stored_at_ms)

    @on(ScanFinished)
    async def scanned(tx: Tx, m: ScanFinished, envelope: Envelope) -> None:
        told = Evidence(
            area=m.area.value,
            state=m.state.value if m.state.value in SCAN_STATES else "failed",
            scan=m.scan,
            reason=m.reason,
            finished_at_ms=envelope.stored_at_ms,
            data_date=m.data_date,
            sample_data=m.sample_data,
            counts=m.counts,
            coverage=m.coverage,
            engines=[engine.model_dump(mode="json") for engine in m.engines],
            findings=[finding.model_dump(mode="json") for finding in m.findings],
            findings_total=max(m.findings_total, len(m.findings)),
            report=m.report,
        )
        await handlers.evidence.note(tx, m.organisation, m.service, m.run, m.commit, m.image_id, told, envelope.stored_at_ms)

    @on(ScanFailed)
    async def scan_failed(tx: Tx, m: ScanFailed, envelope: Envelope) -> None:
        told = Evidence(
            area=m.area.value,
            state="failed",
            scan=m.scan,
            reason=m.reason,
            code=m.code,
            advice=m.advice,
            finished_at_ms=envelope.stored_at_ms,
            engines=[engine.model_dump(mode="json") for engine in m.engines],
        )
        await handlers.evidence.note(tx, m.organisation, m.service, m.run, m.commit, m.image_id, told, envelope.stored_at_ms)

    @on(ScanCancelled)
    async def scan_cancelled(tx: Tx, m: ScanCancelled, envelope: Envelope) -> None:
        await handlers.evidence.stopped(tx, m.run, m.areas, m.reason)

    @on(DeployRequested)
    async def requested(tx: Tx, m: DeployRequested, envelope: Envelope) -> None:
        asked = Asked(
            request=m.request,
            organisation=m.organisation,
            service=m.service,
            run=m.run,
            number=m.number,
            environment=m.environment,
            environment_kind=m.environment_kind.value,
            cause=m.cause,
            image_id=m.image_id,
            digest=m.digest,
            commit=m.commit,
        )
        await handlers.questions.ask(tx, asked, envelope.stored_at_ms)

    @on(DeployReady)
    async def ready(tx: Tx, m: DeployReady, envelope: Envelope) -> None:
        if m.environment_kind.value == "not_production":
            await store.note_tested(tx, m.organisation, m.service, envelope.stored_at_ms)

    @on(DeployCancelled)
    async def taken_back(tx: Tx, m: DeployCancelled, envelope: Envelope) -> None:
        await handlers.questions.withdraw_one(tx, m.request)

    return on
