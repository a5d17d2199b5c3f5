"""The container engine's store of images, over its HTTP API: is an image there, and the image as an archive."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

from scanner.errors import ContainerEngineAway, ImageGone

CHUNK = 1 << 18


@dataclass(frozen=True)
class Image:
    """An image in the store: its id (sha256 of its configuration), size in bytes and number of layers."""

    id: str
    size_bytes: int
    layers: int


class ContainerEngine:
    """Speaks to `unix:///path` or `tcp://host:port`. Every request has a connection of its own, so nothing is left open."""

    def __init__(self, address: str, *, timeout_seconds: float = 30) -> None:
        self.address, self.timeout_seconds = address, timeout_seconds

    async def inspect(self, image: str) -> Image:
        """The image with this id or name. Raises ImageGone, ContainerEngineAway."""
        body = b""
        async with self._get(f"/images/{quote(image, safe=':')}/json", image) as chunks:
            async for chunk in chunks:
                body += chunk
        try:
            found = json.loads(body)
            return Image(found["Id"], int(found["Size"]), len((found.get("RootFS") or {}).get("Layers") or []))
        except (ValueError, KeyError, TypeError) as error:
            raise ContainerEngineAway(self.address, f"an answer that is no image ({type(error).__name__})") from error

    async def save(self, image: str, to: Path) -> int:
        """Write the image's archive (as `docker save` makes it) to a file. Returns its size in bytes."""
        size = 0
        async with self._get(f"/images/{quote(image, safe=':')}/get", image) as chunks:
            with to.open("wb") as file:
                async for chunk in chunks:
                    size += len(chunk)
                    await asyncio.to_thread(file.write, chunk)
        return size

    @asynccontextmanager
    async def _get(self, path: str, image: str) -> AsyncIterator[AsyncIterator[bytes]]:
        try:
            # Not wait_for: on Python 3.11 it can swallow a cancel.
            async with asyncio.timeout(self.timeout_seconds):
                reader, writer = await self._connect()
        except (OSError, TimeoutError, ValueError) as error:
            raise ContainerEngineAway(self.address, getattr(error, "strerror", None) or type(error).__name__) from error
        try:
            writer.write(f"GET {path} HTTP/1.1\r\nHost: engine\r\nAccept: */*\r\nConnection: close\r\n\r\n".encode())
            await writer.drain()
            status, headers = await self._head(reader)
            if status == 404:
                raise ImageGone(image)
            if status != 200:
                words = (await reader.read(2000)).decode("utf-8", "replace")
                raise ContainerEngineAway(self.address, f"status {status}: {words[:200]}")
            yield self._body(reader, headers)
        except (OSError, asyncio.IncompleteReadError, TimeoutError) as error:
            raise ContainerEngineAway(self.address, f"the connection broke ({type(error).__name__})") from error
        finally:
            writer.close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        parts = urlsplit(self.address)
        if parts.scheme == "unix":
            return await asyncio.open_unix_connection(parts.path, limit=CHUNK)
        if parts.scheme in ("tcp", "http") and parts.hostname:
            return await asyncio.open_connection(parts.hostname, parts.port or 2375, limit=CHUNK)
        raise ValueError(f"an address begins with unix:// or tcp://, not {parts.scheme}")

    async def _head(self, reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
        async with asyncio.timeout(self.timeout_seconds):
            first = await reader.readline()
        words = first.decode("latin-1").split()
        if len(words) < 2 or not words[1].isdigit():
            raise ContainerEngineAway(self.address, "an answer that is not HTTP")
        headers = {}
        while (line := (await reader.readline()).decode("latin-1").strip()) != "":
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip().lower()
        return int(words[1]), headers

    async def _body(self, reader: asyncio.StreamReader, headers: dict[str, str]) -> AsyncIterator[bytes]:
        if headers.get("transfer-encoding") == "chunked":
            while size := int((await reader.readline()).split(b";")[0] or b"0", 16):
                left = size
                while left:
                    part = await reader.read(min(left, CHUNK))
                    if not part:
                        raise asyncio.IncompleteReadError(b"", left)
                    left -= len(part)
                    yield part
                await reader.readexactly(2)
        else:
            left = int(headers.get("content-length", -1))
            while left and (part := await reader.read(CHUNK)):
                left -= len(part)
                yield part
            if left > 0:
                raise asyncio.IncompleteReadError(b"", left)
