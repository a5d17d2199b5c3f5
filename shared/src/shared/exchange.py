"""One HTTP/1.1 exchange on a connection of its own, over TCP or a unix socket.

For the container engine and the edge, which are asked a few times a second at most. A connection per exchange needs no pool, so
nothing stays loaded or open while the platform is idle, and a probe never meets a connection that was opened before the switch it
asks about.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httptools

Place = Path | tuple[str, int]
"""A unix socket, or host and port."""

CHUNK = 256 * 1024


class Malformed(ConnectionError):
    """What came back is no whole HTTP response."""


@dataclass
class Answer:
    """Status, headers (lower-case names) and body."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


class _Reader:
    """What httptools calls while it reads a response."""

    def __init__(self, max_bytes: int, streamed: bool) -> None:
        self.answer = Answer()
        self.done = False
        self._left, self._streamed = max_bytes, streamed
        self._parts: list[bytes] = []
        self.parser = httptools.HttpResponseParser(self)

    def on_header(self, name: bytes, value: bytes) -> None:
        self.answer.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self.answer.status = self.parser.get_status_code()

    @property
    def streams(self) -> bool:
        """Whether the body is handed on as it comes: one that was wanted so, and is no refusal."""
        return self._streamed and 200 <= self.answer.status < 300

    def take(self) -> list[bytes]:
        """What has come since the last time."""
        taken, self._parts = self._parts, []
        return taken

    def on_body(self, part: bytes) -> None:
        if self.streams:
            self._parts.append(part)
            return
        # What is over the limit is read but not kept: the status still counts.
        self._parts.append(part[: self._left])
        self._left -= len(self._parts[-1])

    def on_message_complete(self) -> None:
        # An interim answer (100 Continue) is complete too, and not the one that is waited for.
        self.done = self.parser.get_status_code() >= 200

    def result(self) -> Answer:
        framed = "content-length" in self.answer.headers or "transfer-encoding" in self.answer.headers
        if self.answer.status < 200 or (framed and not self.done):
            raise Malformed("the connection ended before the answer did")
        self.answer.body = b"".join(self._parts)
        return self.answer


async def _connect(place: Place) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if isinstance(place, Path):
        return await asyncio.open_unix_connection(str(place))
    return await asyncio.open_connection(*place)


async def _send(writer: asyncio.StreamWriter, body: bytes | AsyncIterator[bytes]) -> None:
    if isinstance(body, bytes):
        writer.write(body)
    else:
        async for part in body:
            writer.write(b"%x\r\n%b\r\n" % (len(part), part))
            await writer.drain()
        writer.write(b"0\r\n\r\n")
    await writer.drain()


async def exchange(
    place: Place,
    method: str,
    target: str,
    *,
    headers: Mapping[str, str] | None = None,
    body: bytes | AsyncIterator[bytes] = b"",
    timeout_seconds: float = 30,
    max_bytes: int = 8 * 1024 * 1024,
    into: Callable[[bytes], Awaitable[object]] | None = None,
) -> Answer:
    """Send one request and read its answer; of the body at most `max_bytes` are kept.

    With `into` the body of a good answer (2xx) is handed to it part by part and not kept, however long it is; the time then
    counts up to the answer's first part only.

    Raises OSError when there is no connection, Malformed when the answer is cut short or no HTTP, TimeoutError after
    `timeout_seconds`.
    """
    fields = {"Host": "localhost", "Connection": "close", "Accept": "*/*", **(headers or {})}
    if not isinstance(body, bytes):
        fields["Transfer-Encoding"] = "chunked"
    elif body or method in ("POST", "PUT"):
        fields["Content-Length"] = str(len(body))
    head = f"{method} {target} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields.items()) + "\r\n"
    # Not wait_for: on Python 3.11 it can swallow a cancel.
    async with asyncio.timeout(timeout_seconds) as deadline:
        reader, writer = await _connect(place)
        try:
            writer.write(head.encode("latin-1"))
            try:
                await _send(writer, body)
            except (BrokenPipeError, ConnectionResetError):
                pass  # refused before all was sent: the answer, if there is one, says why
            receiver = _Reader(max_bytes, into is not None)
            try:
                while not receiver.done and (part := await reader.read(CHUNK)):
                    receiver.parser.feed_data(part)
                    if into is not None and receiver.streams:
                        deadline.reschedule(None)
                        for piece in receiver.take():
                            await into(piece)
            except httptools.HttpParserError as error:
                raise Malformed(f"no HTTP answer: {error}") from error
            return receiver.result()
        finally:
            writer.close()
