"""Group commit: deliveries that arrive while one is being written share the next transaction, and its fsync."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, cast

from shared.database import Database, Tx
from shared.errors import Unavailable
from shared.faults import point

T = TypeVar("T")
Work = Callable[[Tx], Awaitable[Any]]


class GroupCommit:
    """`await group.do(work, key)` runs `work(tx)` and returns its result once it is on disk.

    One task writes. While it waits for the disk others gather; then it takes all that gathered. Within a group the works run in
    order of their key, so that two processes on one PostgreSQL take row locks in the same order. A work that raises fails alone:
    the group is rolled back and each is done again by itself.
    """

    def __init__(self, database: Database, most: int = 64) -> None:
        self._database, self._most = database, most
        self._waiting: list[tuple[str, Work, asyncio.Future[Any]]] = []
        self._writing: asyncio.Task[None] | None = None

    async def do(self, work: Callable[[Tx], Awaitable[T]], key: str = "") -> T:
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append((key, work, done))
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write(), name="group commit")
        return cast(T, await done)

    async def _write(self) -> None:
        """Commit what waits, group by group, until nothing does."""
        while self._waiting:
            batch, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
            await self._commit(sorted(batch, key=lambda entry: entry[0]))

    async def _commit(self, batch: list[tuple[str, Work, asyncio.Future[Any]]]) -> None:
        try:
            try:
                results = await self._together(batch)
            except Exception:
                if len(batch) == 1:
                    raise
                for entry in batch:
                    await self._alone(entry)
                return
            for (_, _, done), result in zip(batch, results, strict=True):
                if not done.done():
                    done.set_result(result)
        except BaseException as error:
            # Nobody may be left waiting, whatever ends the writer: those who gathered meanwhile neither.
            stopped = not isinstance(error, Exception)
            for _, _, done in [*batch, *(self._waiting if stopped else ())]:
                if not done.done():
                    done.set_exception(Unavailable("webhook.stopping", "the service stops") if stopped else error)
            if stopped:
                self._waiting.clear()
                raise

    async def _together(self, batch: list[tuple[str, Work, asyncio.Future[Any]]]) -> list[Any]:
        async with self._database.write() as tx:
            results = [await work(tx) for _, work, _ in batch]
            point("accept.storing")
        point("accept.stored")
        return results

    async def _alone(self, entry: tuple[str, Work, asyncio.Future[Any]]) -> None:
        _, work, done = entry
        try:
            async with self._database.write() as tx:
                result = await work(tx)
        except Exception as error:
            if not done.done():
                done.set_exception(error)
        else:
            if not done.done():
                done.set_result(result)
