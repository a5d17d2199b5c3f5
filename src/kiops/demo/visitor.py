"""A visitor who never stops asking: no retries, half on kept-alive connections, every answer looked at."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from urllib.parse import urlsplit

ANSWER_SECONDS = 10


class Asking:
    """Plain HTTP/1.1 over one socket; the connection is kept when asked to."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.host, self.port = parts.hostname or "127.0.0.1", parts.port or 80
        self.path = parts.path or "/"
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def get(self, *, keep: bool, path: str = "") -> tuple[int, bytes]:
        """(status, body) of one request. Raises OSError, EOFError, TimeoutError, ValueError."""
        async with asyncio.timeout(ANSWER_SECONDS):
            if self._writer is None:
                self._reader, self._writer = await asyncio.open_connection(self.host, self.port)
            assert self._reader is not None
            try:
                lines = [f"GET {path or self.path} HTTP/1.1", f"Host: {self.host}:{self.port}"]
                lines.append(f"Connection: {'keep-alive' if keep else 'close'}")
                self._writer.write("\r\n".join([*lines, "", ""]).encode())
                await self._writer.drain()
                status, length, closes = await self._head(self._reader)
                body = await self._reader.readexactly(length) if length is not None else await self._reader.read()
                if closes or not keep or length is None:
                    await self.close()
                return status, body
            except BaseException:
                await self.close()
                raise

    async def _head(self, reader: asyncio.StreamReader) -> tuple[int, int | None, bool]:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
        length = int(headers["content-length"]) if "content-length" in headers else None
        return int(head[0].split()[1]), length, headers.get("connection", "").lower() == "close"

    async def close(self) -> None:
        writer, self._writer, self._reader = self._writer, None, None
        if writer is not None:
            writer.close()
            with contextlib.suppress(Exception):
                await writer.wait_closed()


class Visitor:
    """Asks `url` about `per_second` times a second from `start` to `stop`, and counts."""

    def __init__(self, url: str, *, per_second: float = 60, hands: int = 6) -> None:
        self.url, self._pause, self._hands = url, hands / per_second, hands
        self.asked = 0
        self.failures: list[str] = []
        self.bodies: Counter[bytes] = Counter()
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def failed(self) -> int:
        return len(self.failures)

    def start(self) -> None:
        self._tasks = [asyncio.create_task(self._visit(keep=number % 2 == 0)) for number in range(self._hands)]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _visit(self, *, keep: bool) -> None:
        asking = Asking(self.url)
        try:
            while True:
                began = time.monotonic()
                try:
                    status, body = await asking.get(keep=keep)
                    self.asked += 1
                    self.bodies[body] += 1
                    if status != 200:
                        self.failures.append(f"HTTP {status}")
                except (OSError, EOFError, TimeoutError, ValueError, IndexError) as error:
                    self.asked += 1
                    self.failures.append(f"{type(error).__name__}: {error}")
                await asyncio.sleep(max(0.0, self._pause - (time.monotonic() - began)))
        finally:
            await asking.close()
