"""Door: bus. Every fact -> one projection each, batch by batch; and the questions the gateway answers."""

from __future__ import annotations

from shared.queries.gateway import (
    LeaseCredential,
    ListSealed,
    OrderAnswered,
    ReplaceSealed,
    SealedCredential,
    SealedReplaced,
    SealedRows,
)
from shared.subscribers import Answers

from gateway.handlers import Handlers
from gateway.projections.table import PROJECTIONS, subscribers

__all__ = ["PROJECTIONS", "answers", "subscribers"]


def answers(handlers: Handlers) -> Answers:
    to = Answers()

    @to(OrderAnswered)
    async def order_answered(query: OrderAnswered) -> None:
        await handlers.orders.heard(query)

    @to(LeaseCredential)
    async def lease_credential(query: LeaseCredential) -> SealedCredential:
        return await handlers.endpoints.lease(query)

    @to(ListSealed)
    async def list_sealed(query: ListSealed) -> SealedRows:
        return await handlers.endpoints.sealed_elsewhere(query)

    @to(ReplaceSealed)
    async def replace_sealed(query: ReplaceSealed) -> SealedReplaced:
        return await handlers.endpoints.replace_sealed(query)

    return to
