"""Services, rules, endpoints, environments, runtimes, deliveries and the audit."""

from __future__ import annotations

from typing import Any

from shared.facts.deployer import EnvironmentChanged
from shared.facts.gateway import OperationPerformed, ServiceChanged, ServiceDeleted, ServiceRegistered
from shared.facts.operator_proxy import RuntimeChanged
from shared.facts.webhook import DeliveryIgnored, EndpointChanged, RuleChanged

from gateway.projections import model as tables
from gateway.projections.model import Model, Row
from gateway.projections.told import Told


def _service(message: ServiceRegistered | ServiceChanged) -> dict[str, Any]:
    return {
        "name": message.name_,
        "description": message.description,
        "repository_url": message.repository_url,
        "branch": message.branch,
        "dockerfile": message.dockerfile,
        "context": message.context,
        "has_credential": message.credential is not None,
        "sample": message.sample,
    }


def service_registered(model: Model, message: ServiceRegistered, told: Told) -> None:
    row = model.services.setdefault(message.service, tables.services.new({"id": message.service}))
    model.change(
        tables.services,
        row,
        organisation_id=message.organisation,
        **_service(message),
        registered_at_ms=told.stored_at_ms,
        changed_at_ms=told.stored_at_ms,
        deleted_at_ms=None,
    )
    model.touched_services[message.service] = None


def service_changed(model: Model, message: ServiceChanged, told: Told) -> None:
    row = model.services.get(message.service)
    model.change(tables.services, row, **_service(message), changed_at_ms=told.stored_at_ms)


def service_deleted(model: Model, message: ServiceDeleted, told: Told) -> None:
    """The service leaves the lists; its runs and releases stay as history."""
    model.change(tables.services, model.services.get(message.service), deleted_at_ms=told.stored_at_ms)
    model.forget_doors(message.service)


def rule_changed(model: Model, message: RuleChanged, told: Told) -> None:
    model.put(
        tables.rules,
        {
            "service_id": message.service,
            "organisation_id": message.organisation,
            "branches": message.branches,
            "tags": message.tags,
            "environments": message.environments,
            "supersede": message.supersede,
            "changed_at_ms": told.stored_at_ms,
        },
    )


def endpoint_changed(model: Model, message: EndpointChanged, told: Told) -> None:
    model.put(
        tables.endpoints,
        {
            "id": message.endpoint,
            "organisation_id": message.organisation,
            "service_id": message.service,
            "label": message.label,
            "provider": message.provider,
            "path": message.path,
            "state": str(message.state),
            "changed_at_ms": told.stored_at_ms,
        },
    )


def delivery_ignored(model: Model, message: DeliveryIgnored, told: Told) -> None:
    model.append(
        tables.deliveries,
        {
            "id": message.delivery,
            "organisation_id": message.organisation,
            "service_id": message.service,
            "endpoint_id": message.endpoint,
            "verdict": "ignored",
            "code": message.code,
            "reason": message.reason,
            "at_ms": told.stored_at_ms,
        },
    )


def runtime_changed(model: Model, message: RuntimeChanged, told: Told) -> None:
    row = model.runtimes[message.runtime] = tables.runtimes.new(
        {
            "id": message.runtime,
            "organisation_id": message.organisation,
            "label": message.label,
            "kind": message.runtime_kind,
            "reachable": message.reachable,
            "version": message.version,
            "abilities": message.abilities,
            "reason": message.reason,
            "changed_at_ms": told.stored_at_ms,
        }
    )
    model.mark(tables.runtimes, row)
    for service, places in model.places.items():
        if any(place["runtime"] == message.runtime for place in places.values()):
            model.touched_services[service] = None


def environment_changed(model: Model, message: EnvironmentChanged, told: Told) -> None:
    """Where it is and how it is reached; what serves there is told by the facts of deploys."""
    model.change(
        tables.environments,
        place(model, message, message.environment),
        organisation_id=message.organisation,
        kind=str(message.environment_kind),
        runtime=message.runtime,
        container_port=message.container_port,
        health_path=message.health_path,
        entry_port=message.entry_port,
        url=message.url,
        changed_at_ms=told.stored_at_ms,
    )
    model.touched_services[message.service] = None


def place(model: Model, message: Any, name: str) -> Row:
    """The row of an environment; made when a deploy tells of it before its own fact does."""
    rows = model.places.setdefault(message.service, {})
    row = rows.get(name)
    if row is None:
        row = rows[name] = tables.environments.new(
            {
                "service_id": message.service,
                "name": name,
                "organisation_id": message.organisation,
                "kind": str(getattr(message, "environment_kind", "not_production")),
                "state": "registered",
            }
        )
        model.mark(tables.environments, row)
    return row


def operation_performed(model: Model, message: OperationPerformed, told: Told) -> None:
    model.append(
        tables.audit,
        {
            "id": told.id,
            "organisation_id": message.organisation,
            "sequence": told.sequence,
            "service_id": message.service,
            "category": message.category,
            "action": message.action,
            "actor": message.actor,
            "object": message.object,
            "outcome": message.outcome,
            "detail": message.detail,
            "at_ms": told.stored_at_ms,
        },
    )
