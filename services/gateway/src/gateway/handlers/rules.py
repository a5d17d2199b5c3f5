"""Which pushes count, and the environments they go to: orders to webhook and deployer."""

from __future__ import annotations

from dataclasses import dataclass, field

from shared.database import Database
from shared.orders.deployer import SetEnvironment
from shared.orders.webhook import SetRule
from shared.words import EnvironmentKind

from gateway.access.door import Actor
from gateway.domain import names
from gateway.errors import BadInput, NotFound
from gateway.handlers.orders import Orders, Outcome, intent_id
from gateway.store import catalogue


@dataclass(frozen=True, slots=True)
class RuleForm:
    """Globs; an empty list matches nothing."""

    branches: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    environments: list[str] = field(default_factory=list)
    supersede: bool = True


@dataclass(frozen=True, slots=True)
class EnvironmentForm:
    """A deploy target as a person describes it. `observe_seconds` is the watch after a switch."""

    name: str
    kind: str = "not_production"
    runtime: str = "local"
    container_port: int = 8080
    health_path: str = "/"
    own_port: bool = False
    variables: dict[str, str] = field(default_factory=dict)
    observe_seconds: int = 60


def rule_order(actor: Actor, service: str, rule: RuleForm) -> SetRule:
    """The order that sets a rule. Raises BadInput."""
    return SetRule(
        organisation=actor.organisation,
        service=service,
        intent=intent_id(),
        branches=names.patterns(rule.branches, field="branches"),
        tags=names.patterns(rule.tags, field="tags"),
        environments=[names.label(name, field="environments") for name in dict.fromkeys(rule.environments)],
        supersede=rule.supersede,
        by=actor.name,
    )


def environment_order(actor: Actor, service: str, form: EnvironmentForm) -> SetEnvironment:
    """The order that makes or changes an environment. Raises BadInput."""
    if form.kind not in (EnvironmentKind.PRODUCTION, EnvironmentKind.NOT_PRODUCTION):
        raise BadInput("kind", "production or not_production.", field="kind")
    if not 1 <= form.container_port <= 65535:
        raise BadInput("port", "A port from 1 to 65535.", field="container_port")
    if not 0 <= form.observe_seconds <= 3600:
        raise BadInput("seconds", "From 0 to 3600 seconds.", field="observe_seconds")
    return SetEnvironment(
        organisation=actor.organisation,
        service=service,
        intent=intent_id(),
        environment=names.label(form.name, field="environment"),
        environment_kind=EnvironmentKind(form.kind),
        runtime=names.label(form.runtime, field="runtime"),
        container_port=form.container_port,
        health_path=names.health_path(form.health_path),
        own_port=form.own_port,
        variables=names.variables(form.variables),
        observe_seconds=form.observe_seconds,
        by=actor.name,
    )


async def service_id(database: Database, actor: Actor, name: str) -> tuple[str, str]:
    """Id and name of a service, by either. Raises NotFound."""
    async with database.read() as tx:
        row = await catalogue.by_name(tx, actor.organisation, name)
    if row is None:
        raise NotFound("service", name[:80])
    return row.id, row.name


class Rules:
    """Which pushes are worth a run."""

    def __init__(self, database: Database, orders: Orders) -> None:
        self._database, self._orders = database, orders

    async def set(self, actor: Actor, service: str, rule: RuleForm) -> Outcome:
        """Raises NotFound, BadInput, OrderRefused."""
        found, name = await service_id(self._database, actor, service)
        order = rule_order(actor, found, rule)
        return await self._orders.send(actor, order, category="service", action="rule set", object=name)


class Environments:
    """Where releases run."""

    def __init__(self, database: Database, orders: Orders) -> None:
        self._database, self._orders = database, orders

    async def set(self, actor: Actor, service: str, form: EnvironmentForm) -> Outcome:
        """Make or change one. Raises NotFound, BadInput, OrderRefused."""
        found, name = await service_id(self._database, actor, service)
        order = environment_order(actor, found, form)
        return await self._orders.send(
            actor, order, category="service", action="environment set", object=f"{name}/{order.environment}"
        )
