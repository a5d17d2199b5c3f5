"""The audit chain: what was edited or taken away is found."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from gateway import audit
from gateway.store import audits
from gateway.tables import owned
from shared.database import Database


@pytest.fixture
async def chain(database: Any) -> Any:
    async with database(owned.metadata, "gateway") as opened:
        for number in range(1, 6):
            async with opened.write() as tx:
                await audit.note(
                    tx, "main", 1000 + number, category="build", action="started", actor="Ada", object=f"shop #{number}"
                )
        yield opened


async def check(database: Database) -> audit.Chain:
    async with database.read() as tx:
        head = await audits.head(tx, "main")
        return audit.verify(await audits.chain(tx, "main"), head.number, head.hash)


async def test_an_untouched_chain_is_right_and_announced(chain: Database) -> None:
    assert await check(chain) == audit.Chain(5)
    async with chain.read() as tx:
        assert await tx.scalar(sa.select(sa.func.count()).select_from(chain.outbox)) == 5


@pytest.mark.parametrize("column", ["at_ms", "category", "action", "actor", "object", "outcome", "detail"])
async def test_an_edited_row_is_found(chain: Database, column: str) -> None:
    async with chain.write() as tx:
        await tx.execute(
            owned.audit_rows.update().where(owned.audit_rows.c.number == 3).values({column: 7 if column == "at_ms" else "x"})
        )
    assert (await check(chain)).broken_at == 3


async def test_a_removed_row_is_found_wherever_it_was(chain: Database) -> None:
    async with chain.write() as tx:
        await tx.execute(owned.audit_rows.delete().where(owned.audit_rows.c.number == 5))
    assert await check(chain) == audit.Chain(4, 5, "rows at the end are missing")
    async with chain.write() as tx:
        await tx.execute(owned.audit_rows.delete().where(owned.audit_rows.c.number == 2))
    assert await check(chain) == audit.Chain(1, 2, "row 2 is missing")


async def test_a_row_with_a_hash_of_its_own_does_not_fit_the_next(chain: Database) -> None:
    """Whoever edits a row and its hash must edit every row after it, and the head."""
    async with chain.write() as tx:
        row = dict((await tx.one(sa.select(owned.audit_rows).where(owned.audit_rows.c.number == 3)))._mapping)
        row["actor"] = "Mallory"
        await tx.execute(
            owned.audit_rows.update()
            .where(owned.audit_rows.c.number == 3)
            .values(actor="Mallory", hash=audit.row_hash(row["before"], row))
        )
    assert (await check(chain)).broken_at == 4


async def test_chains_of_organisations_are_apart(chain: Database) -> None:
    async with chain.write() as tx:
        await audit.note(tx, "other", 1, category="build", action="started", actor="Bob")
    assert await check(chain) == audit.Chain(5)
