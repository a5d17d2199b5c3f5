"""The container engine's store of images: is an image there, and the image as an archive."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from shared.engine import EngineLine, refusal
from shared.exchange import Answer

from scanner.errors import ImageGone


@dataclass(frozen=True)
class Image:
    """An image in the store: its id (sha256 of its configuration), size in bytes and number of layers."""

    id: str
    size_bytes: int
    layers: int


class ContainerEngine:
    """Speaks to `unix:///path` or `tcp://host:port`."""

    def __init__(self, address: str, *, timeout_seconds: float = 30) -> None:
        self.timeout_seconds = timeout_seconds
        self._line = EngineLine(address, setting="SCANNER_DOCKER_HOST")

    async def inspect(self, image: str) -> Image:
        """The image with this id or name. Raises ImageGone, EngineAway."""
        answer = await self._get(f"/images/{quote(image, safe=':')}/json", image)
        try:
            found = json.loads(answer.body)
            return Image(found["Id"], int(found["Size"]), len((found.get("RootFS") or {}).get("Layers") or []))
        except (ValueError, KeyError, TypeError) as error:
            raise self._line.away(f"an answer that is no image ({type(error).__name__})") from error

    async def save(self, image: str, to: Path) -> int:
        """Write the image's archive (as `docker save` makes it) to a file. Returns its size in bytes."""
        with to.open("wb") as file:

            async def write(part: bytes) -> None:
                await asyncio.to_thread(file.write, part)

            await self._get(f"/images/{quote(image, safe=':')}/get", image, into=write)
            return file.tell()

    async def _get(self, path: str, image: str, **options: Any) -> Answer:
        answer = await self._line.ask("GET", path, timeout_seconds=self.timeout_seconds, **options)
        if answer.status == 404:
            raise ImageGone(image)
        if answer.status != 200:
            raise self._line.away(f"status {answer.status}: {refusal(answer)[:200]}")
        return answer
