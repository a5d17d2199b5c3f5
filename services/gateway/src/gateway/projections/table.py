"""Which projection makes rows of which fact."""

from __future__ import annotations

from typing import Any

from shared.facts import builder, deployer, gate, gateway, operator_proxy, scanner, webhook
from shared.facts._base import Fact
from shared.subscribers import Subscribers

from gateway.projections import builds, catalogue, deploys, runs, scans
from gateway.projections.batch import Projection, Projector

PROJECTIONS: dict[type[Fact], Projection] = {
    gateway.ServiceRegistered: catalogue.service_registered,
    gateway.ServiceChanged: catalogue.service_changed,
    gateway.ServiceDeleted: catalogue.service_deleted,
    gateway.OperationPerformed: catalogue.operation_performed,
    webhook.EndpointChanged: catalogue.endpoint_changed,
    webhook.RuleChanged: catalogue.rule_changed,
    webhook.DeliveryIgnored: catalogue.delivery_ignored,
    webhook.PushReceived: runs.push_received,
    webhook.RunStarted: runs.run_started,
    webhook.RunSuperseded: runs.run_superseded,
    webhook.RunCancelled: runs.run_cancelled,
    webhook.RunFinished: runs.run_finished,
    builder.BuildQueued: builds.build_queued,
    builder.BuildStarted: builds.build_started,
    builder.SourceFetched: builds.source_fetched,
    builder.BuildSucceeded: builds.build_succeeded,
    builder.BuildFailed: builds.build_failed,
    builder.BuildCancelled: builds.build_cancelled,
    scanner.ScanQueued: scans.scan_queued,
    scanner.ScanStarted: scans.scan_started,
    scanner.ScanFinished: scans.scan_finished,
    scanner.ScanFailed: scans.scan_failed,
    scanner.ScanCancelled: scans.scan_cancelled,
    gate.GateDecided: deploys.gate_decided,
    deployer.EnvironmentChanged: catalogue.environment_changed,
    deployer.DeployRequested: deploys.deploy_requested,
    deployer.DeployPlanned: deploys.deploy_planned,
    deployer.DeployStarted: deploys.deploy_started,
    deployer.DeployProgressed: deploys.deploy_progressed,
    deployer.DeployReady: deploys.deploy_ready,
    deployer.DeploySettled: deploys.deploy_settled,
    deployer.DeployFailed: deploys.deploy_failed,
    deployer.DeployCancelled: deploys.deploy_cancelled,
    deployer.DeployRolledBack: deploys.deploy_rolled_back,
    operator_proxy.RuntimeChanged: catalogue.runtime_changed,
    operator_proxy.ReleaseObserved: deploys.release_observed,
}
"""Which function makes rows of which fact. A rebuild replays the stream through this table."""


def _key(message: Any) -> str:
    """What waits behind a fact that could not be projected: the rest of its run, else of its service or runtime."""
    return getattr(message, "run", "") or getattr(message, message.tail, "") or ""


def subscribers() -> Subscribers:
    """Every fact is heard, batch by batch."""
    on = Subscribers(fold=Projector(PROJECTIONS).project)
    for fact in PROJECTIONS:
        on.hear(fact, key=_key)
    return on
