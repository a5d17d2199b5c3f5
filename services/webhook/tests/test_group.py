"""Group commit: together on disk, alone in failure, nobody left waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from shared.database import Tx
from shared.errors import Unavailable
from webhook import tables
from webhook.group import GroupCommit


def put(name: str, fail: bool = False) -> Callable[[Tx], Any]:
    async def work(tx: Tx) -> str:
        await tx.execute(
            tables.services.insert(),
            {"id": name, "organisation_id": "main", "name": name, "repository_url": "", "branch": "", "dockerfile": "",
             "context": "", "sample": False},
        )  # fmt: skip
        if fail:
            raise ValueError(name)
        return name

    return work


async def names(database: Any) -> set[str]:
    async with database.read() as tx:
        return {row.id for row in await tx.all(sa.select(tables.services.c.id))}


async def test_those_who_wait_share_a_transaction(database: Any) -> None:
    async with database(tables.metadata, "webhook") as opened:
        group, commits = GroupCommit(opened), 0
        write = opened.write

        def counted() -> Any:
            nonlocal commits
            commits += 1
            return write()

        opened.write = counted
        assert await asyncio.gather(*(group.do(put(f"s{n}")) for n in range(50))) == [f"s{n}" for n in range(50)]
        assert len(await names(opened)) == 50
        assert commits <= 3


async def test_one_that_fails_fails_alone(database: Any) -> None:
    async with database(tables.metadata, "webhook") as opened:
        group = GroupCommit(opened)
        told = await asyncio.gather(*(group.do(put(f"s{n}", fail=n == 7)) for n in range(20)), return_exceptions=True)
        assert [n for n, result in enumerate(told) if isinstance(result, Exception)] == [7]
        assert await names(opened) == {f"s{n}" for n in range(20) if n != 7}


async def test_more_than_a_group_holds_are_served_all(database: Any) -> None:
    async with database(tables.metadata, "webhook") as opened:
        group = GroupCommit(opened, most=8)
        await asyncio.gather(*(group.do(put(f"s{n}")) for n in range(50)))
        assert len(await names(opened)) == 50


async def test_a_caller_who_leaves_takes_nobody_with_him(database: Any) -> None:
    async with database(tables.metadata, "webhook") as opened:
        group = GroupCommit(opened)
        begun, go_on = asyncio.Event(), asyncio.Event()

        async def slow(tx: Tx) -> str:
            begun.set()
            await go_on.wait()
            return await put("left")(tx)

        leaver = asyncio.ensure_future(group.do(slow))
        await begun.wait()
        others = [asyncio.ensure_future(group.do(put(f"s{n}"))) for n in range(3)]
        leaver.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaver
        go_on.set()
        assert await asyncio.wait_for(asyncio.gather(*others), 20) == ["s0", "s1", "s2"]
        assert await names(opened) == {"left", "s0", "s1", "s2"}


async def test_nobody_waits_for_ever_when_the_writer_is_cancelled(database: Any) -> None:
    async with database(tables.metadata, "webhook") as opened:
        group = GroupCommit(opened)
        begun = asyncio.Event()

        async def slow(tx: Tx) -> None:
            begun.set()
            await asyncio.Event().wait()

        waiting = [asyncio.ensure_future(group.do(slow))]
        await begun.wait()
        waiting.append(asyncio.ensure_future(group.do(put("behind"))))
        await asyncio.sleep(0)
        writer = next(task for task in asyncio.all_tasks() if task.get_name() == "group commit")
        writer.cancel()
        told = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 20)
        assert [getattr(result, "code", "") for result in told] == ["webhook.stopping"] * 2
        assert await asyncio.wait_for(group.do(put("after")), 20) == "after"
        assert await names(opened) == {"after"}


async def test_what_cannot_be_stored_is_told_to_all_who_waited(database: Any) -> None:
    async with database(tables.metadata, "webhook") as opened:
        group = GroupCommit(opened)

        def away() -> Any:
            raise Unavailable("database.away", "the disk is full")

        opened.write = away
        told = await asyncio.gather(*(group.do(put(f"s{n}")) for n in range(5)), return_exceptions=True)
        assert [getattr(result, "code", "") for result in told] == ["database.away"] * 5
