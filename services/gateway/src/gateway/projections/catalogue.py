"""Services, rules, endpoints, environments, runtimes, deliveries and the audit."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from shared.database import Tx
from shared.facts.deployer import EnvironmentChanged
from shared.facts.gateway import OperationPerformed, ServiceChanged, ServiceDeleted, ServiceRegistered
from shared.facts.operator_proxy import RuntimeChanged
from shared.facts.webhook import DeliveryIgnored, EndpointChanged, RuleChanged
from shared.subscribers import Envelope

from gateway.projections.folding import touch_service
from gateway.tables.read_model import audit, deliveries, endpoints, environments, rules, runtimes, services


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


async def service_registered(tx: Tx, message: ServiceRegistered, envelope: Envelope) -> None:
    await tx.upsert(
        services,
        {
            "id": message.service,
            "organisation_id": message.organisation,
            **_service(message),
            "state": "registered",
            "risk_state": "none",
            "registered_at_ms": envelope.stored_at_ms,
            "changed_at_ms": envelope.stored_at_ms,
            "deleted_at_ms": None,
        },
        ["id"],
    )


async def service_changed(tx: Tx, message: ServiceChanged, envelope: Envelope) -> None:
    await tx.execute(
        services.update().where(services.c.id == message.service).values(**_service(message), changed_at_ms=envelope.stored_at_ms)
    )


async def service_deleted(tx: Tx, message: ServiceDeleted, envelope: Envelope) -> None:
    """The service leaves the lists; its runs and releases stay as history."""
    await tx.execute(services.update().where(services.c.id == message.service).values(deleted_at_ms=envelope.stored_at_ms))
    await tx.execute(endpoints.delete().where(endpoints.c.service_id == message.service))
    await tx.execute(rules.delete().where(rules.c.service_id == message.service))


async def rule_changed(tx: Tx, message: RuleChanged, envelope: Envelope) -> None:
    await tx.upsert(
        rules,
        {
            "service_id": message.service,
            "organisation_id": message.organisation,
            "branches": list(message.branches),
            "tags": list(message.tags),
            "environments": list(message.environments),
            "supersede": message.supersede,
            "changed_at_ms": envelope.stored_at_ms,
        },
        ["service_id"],
    )


async def endpoint_changed(tx: Tx, message: EndpointChanged, envelope: Envelope) -> None:
    await tx.upsert(
        endpoints,
        {
            "id": message.endpoint,
            "organisation_id": message.organisation,
            "service_id": message.service,
            "label": message.label,
            "provider": message.provider,
            "path": message.path,
            "state": str(message.state),
            "changed_at_ms": envelope.stored_at_ms,
        },
        ["id"],
    )


async def delivery_ignored(tx: Tx, message: DeliveryIgnored, envelope: Envelope) -> None:
    await tx.insert_new(
        deliveries,
        {
            "id": message.delivery,
            "organisation_id": message.organisation,
            "service_id": message.service,
            "endpoint_id": message.endpoint,
            "verdict": "ignored",
            "code": message.code,
            "reason": message.reason,
            "at_ms": envelope.stored_at_ms,
        },
    )


async def runtime_changed(tx: Tx, message: RuntimeChanged, envelope: Envelope) -> None:
    await tx.upsert(
        runtimes,
        {
            "id": message.runtime,
            "organisation_id": message.organisation,
            "label": message.label,
            "kind": message.runtime_kind,
            "reachable": message.reachable,
            "version": message.version,
            "abilities": list(message.abilities),
            "reason": message.reason,
            "changed_at_ms": envelope.stored_at_ms,
        },
        ["id"],
    )
    touched = await tx.all(sa.select(environments.c.service_id).distinct().where(environments.c.runtime == message.runtime))
    for row in touched:
        touch_service(tx, row.service_id)


async def environment_changed(tx: Tx, message: EnvironmentChanged, envelope: Envelope) -> None:
    """Where it is and how it is reached; what serves there is told by the facts of deploys."""
    values = {
        "organisation_id": message.organisation,
        "kind": str(message.environment_kind),
        "runtime": message.runtime,
        "container_port": message.container_port,
        "health_path": message.health_path,
        "entry_port": message.entry_port,
        "url": message.url,
        "changed_at_ms": envelope.stored_at_ms,
    }
    await ensure_environment(tx, message, message.environment)
    await tx.execute(
        environments.update()
        .where(environments.c.service_id == message.service, environments.c.name == message.environment)
        .values(**values)
    )
    touch_service(tx, message.service)


async def ensure_environment(tx: Tx, message: Any, name: str) -> None:
    """A row for an environment of which a deploy tells before its own fact does."""
    await tx.insert_new(
        environments,
        {
            "service_id": message.service,
            "name": name,
            "organisation_id": message.organisation,
            "kind": str(getattr(message, "environment_kind", "not_production")),
            "state": "registered",
        },
    )


async def operation_performed(tx: Tx, message: OperationPerformed, envelope: Envelope) -> None:
    await tx.insert_new(
        audit,
        {
            "id": envelope.id,
            "organisation_id": message.organisation,
            "sequence": envelope.sequence,
            "service_id": message.service,
            "category": message.category,
            "action": message.action,
            "actor": message.actor,
            "object": message.object,
            "outcome": message.outcome,
            "detail": message.detail,
            "at_ms": envelope.stored_at_ms,
        },
    )
