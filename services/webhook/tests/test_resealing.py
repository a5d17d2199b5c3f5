"""Endpoints' secrets after this service got another key: sealed again, open at every moment."""

from __future__ import annotations

import sqlalchemy as sa
from shared.sealing import KeyPair, seal
from webhook import tables
from webhook.handlers import resealing
from webhook.handlers.resealing import Resealing
from webhook.known import Known

from .conftest import Props


def renewing(props: Props) -> Resealing:
    return Resealing(props.service.database, props.host.keys, Known(props.service.database))


async def set_secret(props: Props, sealed: str, key: str) -> None:
    async with props.service.database.write() as tx:
        await tx.execute(tables.endpoints.update().values(sealed_secret=sealed, sealed_to=key))


async def test_secrets_are_sealed_to_the_newest_key_and_deliveries_go_on(props: Props, monkeypatch) -> None:
    monkeypatch.setattr(resealing, "AT_ONCE", 2)
    for number in range(4):
        await props.register(f"svc_{number:032x}", name_=f"shop-{number}")
    before = await props.rows(tables.endpoints)
    assert {row["sealed_to"] for row in before} == {props.host.keys.id}
    KeyPair.load(props.host.root / "keys" / "webhook.key").replace()
    await props.push()
    done = await renewing(props).renew()
    assert (done.renewed, done.left, done.unreadable) == (5, 0, 0)
    after = await props.rows(tables.endpoints)
    assert {row["sealed_to"] for row in after} == {props.host.keys.id} != {row["sealed_to"] for row in before}
    props.host.keys.retire()
    for old, new in zip(sorted(before, key=lambda row: row["id"]), sorted(after, key=lambda row: row["id"]), strict=True):
        assert old["sealed_secret"] != new["sealed_secret"]
        assert len(props.host.keys.open(new["sealed_secret"])) == 64
    await props.push(after="2" * 40)
    assert (await renewing(props).renew()).renewed == 0


async def test_rows_from_before_there_were_ids_are_taken_for_old_ones(props: Props) -> None:
    (row,) = await props.rows(tables.endpoints)
    await set_secret(props, row["sealed_secret"], "")
    assert (await renewing(props).renew()).renewed == 1
    await props.push()


async def test_what_no_key_opens_is_counted_and_left(props: Props, tmp_path) -> None:
    lost = seal("gone", KeyPair.load(tmp_path / "lost.key").public)
    await set_secret(props, lost, "")
    done = await renewing(props).renew()
    assert (done.renewed, done.left, done.unreadable) == (0, 0, 1)
    async with props.service.database.read() as tx:
        assert await tx.scalar(sa.select(tables.endpoints.c.sealed_secret)) == lost
