"""Doors to the bus: orders and facts in, questions answered. Each translates and calls a handler."""

from __future__ import annotations

from shared.database import Tx
from shared.facts.gateway import ServiceDeleted
from shared.orders.operator_proxy import ApplyRelease, RemoveTarget
from shared.queries.operator_proxy import AskPreflight, Preflight
from shared.subscribers import Answers, Envelope, Subscribers

from operator_proxy.domain.naming import Target
from operator_proxy.domain.placing import Wanted
from operator_proxy.handlers import Handlers


def subscribers(handlers: Handlers) -> Subscribers:
    on = Subscribers()

    @on(ApplyRelease, key=lambda order: Target(order.organisation, order.service, order.environment).key)
    async def apply_release(tx: Tx, order: ApplyRelease, envelope: Envelope) -> None:
        if order.runtime != handlers.settings.runtime:
            return  # another instance's runtime
        await handlers.apply_release(
            tx,
            Wanted(
                organisation=order.organisation,
                service=order.service,
                service_name=order.service_name,
                environment=order.environment,
                runtime=order.runtime,
                run=order.run,
                release=order.release,
                number=order.release_number,
                fence=order.fence,
                image=order.image,
                image_id=order.image_id,
                container_port=order.container_port,
                health_path=order.health_path,
                own_port=order.own_port,
                variables=order.variables,
                deadline_seconds=order.deadline_seconds,
                drain_seconds=order.drain_seconds,
                observe_seconds=order.observe_seconds,
            ),
        )

    @on(RemoveTarget, key=lambda order: Target(order.organisation, order.service, order.environment).key)
    async def remove_target(tx: Tx, order: RemoveTarget, envelope: Envelope) -> None:
        if order.runtime == handlers.settings.runtime:
            await handlers.remove_target(tx, Target(order.organisation, order.service, order.environment), order.runtime)
        await tx.answer(order)

    @on(ServiceDeleted, key=lambda fact: fact.service)
    async def service_deleted(tx: Tx, fact: ServiceDeleted, envelope: Envelope) -> None:
        if fact.remove_running:
            await handlers.remove_service(tx, fact.organisation, fact.service)

    return on


def answers(handlers: Handlers) -> Answers:
    answer = Answers()

    @answer(AskPreflight)
    async def preflight(query: AskPreflight) -> Preflight:
        image_exists, away = await handlers.preflight(query.image_id)
        if away is not None:
            # No `error`: that it cannot be reached is an answer to the question.
            return Preflight(reachable=False, detail=away.message, advice=away.advice)
        return Preflight(reachable=True, image_exists=image_exists)

    return answer
