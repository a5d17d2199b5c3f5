"""Door: the bus. Translates what is heard into words of our own, and calls a handler."""

from __future__ import annotations

from collections.abc import Awaitable
from datetime import UTC, datetime
from typing import Any

from shared.database import Tx
from shared.errors import Rejected
from shared.facts import builder, deployer, gate, gateway, scanner
from shared.facts._base import Order
from shared.orders.webhook import CancelRun, SetRule, StartRun
from shared.queries import webhook as queries
from shared.subscribers import Answers, Envelope, Subscribers
from shared.words import ScanState, Step, StepState, Verdict

from webhook.clients.git import Refs
from webhook.domain.rules import Rule
from webhook.domain.runs import STEP_OF_AREA
from webhook.handlers import Handlers
from webhook.handlers.catalogue import ServiceEntry
from webhook.handlers.runs import Asked, Born, Report

SCAN_STATES = {
    ScanState.COMPLETED: StepState.SUCCESS,
    ScanState.PARTIAL: StepState.WARNING,
    ScanState.NO_DATA: StepState.WARNING,
    ScanState.NOT_APPLICABLE: StepState.SKIPPED,
    ScanState.FAILED: StepState.FAILED,
}
# A verdict that this reader does not know blocks: it fails closed.
VERDICTS = {Verdict.PASS: StepState.SUCCESS, Verdict.WARN: StepState.WARNING}


def subscribers(handlers: Handlers) -> Subscribers:
    """What this service hears, as `shared.bus.HEARS` lists it."""
    on = Subscribers()
    _catalogue(on, handlers)
    _orders(on, handlers)
    _builds(on, handlers)
    _scans(on, handlers)
    _decisions_and_deploys(on, handlers)
    return on


def _catalogue(on: Subscribers, handlers: Handlers) -> None:
    @on(gateway.ServiceRegistered)
    async def registered(tx: Tx, fact: gateway.ServiceRegistered, envelope: Envelope) -> None:
        await handlers.catalogue.keep_service(tx, _entry(fact))

    @on(gateway.ServiceChanged)
    async def changed(tx: Tx, fact: gateway.ServiceChanged, envelope: Envelope) -> None:
        await handlers.catalogue.keep_service(tx, _entry(fact))

    @on(gateway.ServiceDeleted)
    async def deleted(tx: Tx, fact: gateway.ServiceDeleted, envelope: Envelope) -> None:
        await handlers.catalogue.delete_service(tx, fact.organisation, fact.service, fact.by)


def _entry(fact: gateway.ServiceRegistered | gateway.ServiceChanged) -> ServiceEntry:
    return ServiceEntry(
        id=fact.service,
        organisation=fact.organisation,
        name=fact.name_,
        repository_url=fact.repository_url,
        branch=fact.branch,
        credential=fact.credential,
        dockerfile=fact.dockerfile,
        context=fact.context,
        sample=fact.sample,
    )


def _orders(on: Subscribers, handlers: Handlers) -> None:
    @on(StartRun, key=lambda order: order.service)
    async def start(tx: Tx, order: StartRun, envelope: Envelope) -> None:
        asked = Asked(
            organisation=order.organisation,
            service=order.service,
            executor=order.executor,
            trigger=order.trigger,
            branch=order.branch,
            tag=order.tag,
            commit=order.commit,
            author=order.author,
            message=order.message,
            version=order.version,
            environments=tuple(order.environments) if order.environments is not None else None,
            release=order.release,
            release_number=order.release_number,
        )
        await _obey(tx, order, handlers.runs.start(tx, asked))

    @on(CancelRun)
    async def cancel(tx: Tx, order: CancelRun, envelope: Envelope) -> None:
        await _obey(tx, order, handlers.runs.cancel(tx, order.organisation, order.run, order.by))

    @on(SetRule, key=lambda order: order.service)
    async def set_rule(tx: Tx, order: SetRule, envelope: Envelope) -> None:
        rule = Rule(tuple(order.branches), tuple(order.tags), tuple(order.environments), order.supersede)
        await _obey(tx, order, handlers.catalogue.set_rule(tx, order.organisation, order.service, rule))


async def _obey(tx: Tx, order: Order, work: Awaitable[Born | None]) -> None:
    """Do what a person ordered and tell them; a refusal is an answer, and nothing was written."""
    try:
        born = await work
    except Rejected as error:
        await tx.answer(order, accepted=False, code=error.code, reason=error.message, advice=error.advice)
        return
    await tx.answer(order, data={"run": born.id, "number": str(born.number)} if born else {})


def _builds(on: Subscribers, handlers: Handlers) -> None:
    @on(builder.BuildStarted)
    async def started(tx: Tx, fact: builder.BuildStarted, envelope: Envelope) -> None:
        await _hear(tx, handlers, fact, Report(Step.SOURCE, "", StepState.RUNNING))

    @on(builder.SourceFetched)
    async def fetched(tx: Tx, fact: builder.SourceFetched, envelope: Envelope) -> None:
        source = Report(Step.SOURCE, "", StepState.SUCCESS)
        await _hear(tx, handlers, fact, source, Report(Step.BUILD, "", StepState.RUNNING))

    @on(builder.BuildSucceeded)
    async def succeeded(tx: Tx, fact: builder.BuildSucceeded, envelope: Envelope) -> None:
        source = Report(Step.SOURCE, "", StepState.SUCCESS)
        await _hear(tx, handlers, fact, source, Report(Step.BUILD, "", StepState.SUCCESS))

    @on(builder.BuildFailed)
    async def failed(tx: Tx, fact: builder.BuildFailed, envelope: Envelope) -> None:
        if fact.stage == "clone":
            await _hear(tx, handlers, fact, Report(Step.SOURCE, "", StepState.FAILED, fact.code, fact.reason))
            return
        build = Report(Step.BUILD, "", StepState.FAILED, fact.code, fact.reason)
        await _hear(tx, handlers, fact, Report(Step.SOURCE, "", StepState.SUCCESS), build)

    @on(builder.BuildCancelled)
    async def cancelled(tx: Tx, fact: builder.BuildCancelled, envelope: Envelope) -> None:
        gone = [Report(step, "", StepState.CANCELLED, "build.cancelled", fact.reason) for step in (Step.SOURCE, Step.BUILD)]
        await _hear(tx, handlers, fact, *gone)


def _scans(on: Subscribers, handlers: Handlers) -> None:
    @on(scanner.ScanStarted)
    async def started(tx: Tx, fact: scanner.ScanStarted, envelope: Envelope) -> None:
        await _hear(tx, handlers, fact, *_areas(fact.areas, StepState.RUNNING))

    @on(scanner.ScanFinished)
    async def finished(tx: Tx, fact: scanner.ScanFinished, envelope: Envelope) -> None:
        state = SCAN_STATES.get(fact.state, StepState.WARNING)
        await _hear(tx, handlers, fact, *_areas([fact.area], state, f"scan.{fact.state.value}", fact.reason))

    @on(scanner.ScanFailed)
    async def failed(tx: Tx, fact: scanner.ScanFailed, envelope: Envelope) -> None:
        await _hear(tx, handlers, fact, *_areas([fact.area], StepState.FAILED, fact.code, fact.reason))

    @on(scanner.ScanCancelled)
    async def cancelled(tx: Tx, fact: scanner.ScanCancelled, envelope: Envelope) -> None:
        await _hear(tx, handlers, fact, *_areas(fact.areas, StepState.CANCELLED, "scan.cancelled", fact.reason))


def _areas(areas: list[str], state: StepState, code: str = "", reason: str = "") -> list[Report]:
    return [Report(STEP_OF_AREA[area], area, state, code, reason) for area in areas if area in STEP_OF_AREA]


def _decisions_and_deploys(on: Subscribers, handlers: Handlers) -> None:
    @on(gate.GateDecided)
    async def decided(tx: Tx, fact: gate.GateDecided, envelope: Envelope) -> None:
        state = VERDICTS.get(fact.verdict, StepState.BLOCKED)
        code = "gate.blocked" if state is StepState.BLOCKED else ""
        await _hear(tx, handlers, fact, Report(Step.GATE, fact.environment, state, code, fact.sentence))

    @on(deployer.DeployRequested)
    async def requested(tx: Tx, fact: deployer.DeployRequested, envelope: Envelope) -> None:
        await _hear(tx, handlers, fact, Report(Step.GATE, fact.environment, StepState.WAITING))

    # From the plan on the order to the runtime is on its way: such a run is not superseded any more.
    @on(deployer.DeployPlanned)
    async def planned(tx: Tx, fact: deployer.DeployPlanned, envelope: Envelope) -> None:
        await _hear(tx, handlers, fact, Report(Step.DEPLOY, fact.environment, StepState.RUNNING), switching=True)

    @on(deployer.DeployStarted)
    async def started(tx: Tx, fact: deployer.DeployStarted, envelope: Envelope) -> None:
        await _hear(tx, handlers, fact, Report(Step.DEPLOY, fact.environment, StepState.RUNNING), switching=True)

    @on(deployer.DeployReady)
    async def ready(tx: Tx, fact: deployer.DeployReady, envelope: Envelope) -> None:
        deploy = Report(Step.DEPLOY, fact.environment, StepState.SUCCESS)
        watch = Report(Step.OPERATE, fact.environment, StepState.RUNNING)
        await _hear(tx, handlers, fact, deploy, watch, switching=True)

    @on(deployer.DeploySettled)
    async def settled(tx: Tx, fact: deployer.DeploySettled, envelope: Envelope) -> None:
        deploy = Report(Step.DEPLOY, fact.environment, StepState.SUCCESS)
        state = StepState.SUCCESS if fact.healthy else StepState.FAILED
        watch = Report(Step.OPERATE, fact.environment, state, fact.code, fact.reason)
        await _hear(tx, handlers, fact, deploy, watch, switching=True)

    @on(deployer.DeployFailed)
    async def failed(tx: Tx, fact: deployer.DeployFailed, envelope: Envelope) -> None:
        await _hear(tx, handlers, fact, Report(Step.DEPLOY, fact.environment, StepState.FAILED, fact.code, fact.reason))

    @on(deployer.DeployCancelled)
    async def cancelled(tx: Tx, fact: deployer.DeployCancelled, envelope: Envelope) -> None:
        gone = Report(Step.DEPLOY, fact.environment, StepState.CANCELLED, "deploy.cancelled", fact.reason)
        await _hear(tx, handlers, fact, gone)

    # Says in words what came back; that the release serves is said by deploy.ready.
    @on(deployer.DeployRolledBack)
    async def rolled_back(tx: Tx, fact: deployer.DeployRolledBack, envelope: Envelope) -> None:
        await _hear(tx, handlers, fact, Report(Step.DEPLOY, fact.environment, StepState.WAITING), switching=True)


async def _hear(tx: Tx, handlers: Handlers, fact: object, *reports: Report, switching: bool = False) -> None:
    organisation, run = str(getattr(fact, "organisation", "")), str(getattr(fact, "run", ""))
    await handlers.runs.hear(tx, organisation, run, reports, switching=switching)


def answers(handlers: Handlers) -> Answers:
    """What this service answers at once."""
    on = Answers()

    @on(queries.AskEndpointSecret)
    async def endpoint_secret(query: queries.AskEndpointSecret) -> queries.EndpointSecret:
        endpoint, secret = await handlers.sources.endpoint_secret(query.organisation, query.endpoint)
        return queries.EndpointSecret(endpoint=endpoint.id, label=endpoint.label, path=endpoint.path, secret=secret)

    @on(queries.TestSource)
    async def test_source(query: queries.TestSource) -> queries.SourceTested:
        refs = await handlers.sources.test(
            query.organisation, query.service, query.repository_url, credential=query.credential, sealed=query.sealed
        )
        return _tested(refs)

    @on(queries.ResolveSource)
    async def resolve_source(query: queries.ResolveSource) -> queries.Resolved:
        found = await handlers.sources.resolve(query.organisation, query.service, query.name_)
        return queries.Resolved(commit=found.commit, branch=found.branch, tag=found.tag)

    @on(queries.ListDeliveries)
    async def list_deliveries(query: queries.ListDeliveries) -> queries.Deliveries:
        rows = await handlers.deliveries.ledger(query.organisation, query.service, query.limit)
        return queries.Deliveries(rows=[_row(row) for row in rows])

    return on


def _row(row: Any) -> queries.DeliveryRow:
    return queries.DeliveryRow(
        delivery=row.id,
        endpoint=row.endpoint_id,
        received_at=datetime.fromtimestamp(row.received_at_ms / 1000, UTC).isoformat(timespec="milliseconds"),
        verdict=row.verdict,
        code=row.code,
        reason=row.reason,
        run_number=row.number,
        ref=row.ref,
        commit=row.commit_id,
    )


MOST_SHOWN = 1000


def _tested(refs: Refs) -> queries.SourceTested:
    """The default branch first; at most 1,000 of each, since an answer is one message."""
    names = sorted(refs.branches, key=lambda name: (name != refs.default_branch, name))[:MOST_SHOWN]
    tags = sorted(refs.tags)[:MOST_SHOWN]
    return queries.SourceTested(
        branches=[queries.Branch(name=name, commit=refs.branches[name]) for name in names],
        tags=[queries.Branch(name=name, commit=refs.tags[name]) for name in tags],
        default_branch=refs.default_branch,
    )
