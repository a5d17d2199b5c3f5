"""Endpoints kept in memory: what changes them is seen by the next delivery, and by one that was under way."""

from __future__ import annotations

import asyncio
from typing import Any

import sqlalchemy as sa
from shared.facts.gateway import ServiceDeleted
from shared.orders.webhook import SetRule
from shared.queries.webhook import AskEndpointSecret
from webhook import store, tables
from webhook.known import Known

from .conftest import Props
from .test_subscribers import MAIN


async def test_a_new_rule_is_followed_by_the_next_delivery(props: Props) -> None:
    assert (await props.push())["run"]["number"] == 1
    await props.hear(SetRule(**MAIN, by="Ada", branches=["release/*"], tags=[], environments=[], supersede=False))
    ignored = (await props.deliver(x_kiops_delivery="another")).json()
    assert (ignored["run"], ignored["reason"]["code"]) == (None, "delivery.no_rule")


async def test_a_service_deleted_while_deliveries_wait_gets_no_run(props: Props) -> None:
    """Deliveries have found the endpoint and wait for the writer; the deletion is before them."""
    await props.push()
    entered, go_on = asyncio.Event(), asyncio.Event()
    write = props.service.database.write

    async def delete() -> None:
        async with write() as tx:
            _, handler, _ = props.service.subscribers.table[ServiceDeleted.type()]
            await handler(tx, ServiceDeleted(**MAIN, name_="shop", by="Ada"), _envelope())
            entered.set()
            await go_on.wait()

    deleting = asyncio.ensure_future(delete())
    await entered.wait()
    waiting = [asyncio.ensure_future(props.deliver(x_kiops_delivery=f"late-{number}")) for number in range(3)]
    await asyncio.sleep(0.1)
    go_on.set()
    await deleting
    assert {answer.status_code for answer in await asyncio.gather(*waiting)} == {404}
    async with props.service.database.read() as tx:
        assert await tx.scalar(sa.select(sa.func.count()).select_from(tables.runs)) == 1


async def test_what_was_read_before_a_change_is_not_kept_after_it(props: Props) -> None:
    endpoint = props.endpoint.rpartition("/")[2]
    database = props.service.database
    known = Known(database)
    read, reading, go_on = store.endpoint, asyncio.Event(), asyncio.Event()

    async def slow(tx: Any, endpoint_id: str) -> Any:
        found = await read(tx, endpoint_id)
        reading.set()
        await go_on.wait()
        return found

    store.endpoint = slow  # type: ignore[assignment]
    try:
        first = asyncio.ensure_future(known.endpoint(endpoint))
        await reading.wait()
        async with database.write() as tx:
            known.forget(tx)
            await tx.execute(tables.rules.update().values(supersede=False))
        go_on.set()
        assert (await first).service.rule.supersede is True
    finally:
        store.endpoint = read  # type: ignore[assignment]
    assert (await known.endpoint(endpoint)).service.rule.supersede is False
    assert (await props.ask(AskEndpointSecret(organisation="main", endpoint=endpoint))).secret == props.secret


def _envelope() -> Any:
    from datetime import UTC, datetime

    from shared.subscribers import Envelope

    return Envelope("late", ServiceDeleted.type(), "", "", datetime.now(UTC), "", "", "", 10_000, 0)
