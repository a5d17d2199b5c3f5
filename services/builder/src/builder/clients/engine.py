"""The Docker engine's HTTP API, as far as building needs it: its version, its images, and connections taken over for gRPC.

Every call is one HTTP/1.0 exchange on a new unix connection: the engine answers without chunks and closes, which leaves
nothing to pool, and asking costs no import at start, when readiness is asked for.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from builder.domain.build import LABEL
from builder.errors import BuildError, EngineAway, EngineCannotBuild

CALL_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Image:
    """An image of the engine's store. `labels` are those on the image, `tags` its names with versions; size in bytes."""

    id: str
    tags: tuple[str, ...]
    labels: Mapping[str, str]
    size_bytes: int
    created_at_s: int
    digest: str | None = None


class Engine:
    """One engine behind a unix socket. Every method raises EngineAway when it does not answer."""

    def __init__(self, path: Path) -> None:
        self.path = path

    async def call(
        self, method: str, path: str, *, parameters: Mapping[str, Any] | None = None, seconds: float = CALL_SECONDS
    ) -> Any:
        """One call; returns the decoded body. Raises LookupError for 404 and BuildError `build.engine_refused` for the rest."""
        query = f"?{urlencode(parameters)}" if parameters else ""
        request = f"{method} {path}{query} HTTP/1.0\r\nHost: engine\r\nContent-Length: 0\r\n\r\n"
        try:
            async with asyncio.timeout(seconds):
                reader, writer = await asyncio.open_unix_connection(str(self.path))
                try:
                    writer.write(request.encode())
                    raw = await reader.read()
                finally:
                    writer.close()
        except TimeoutError:
            raise EngineAway(str(self.path), f"no answer within {seconds:g} s") from None
        except OSError as error:
            raise EngineAway(str(self.path), error.strerror or str(error)) from error
        head, _, body = raw.partition(b"\r\n\r\n")
        status = head.split(b" ", 2)[1:2]
        if not status or not status[0].isdigit():
            raise EngineAway(str(self.path), "it closed the connection without an answer")
        return _decode(int(status[0]), body, f"{method} {path}")

    async def takeover(self, path: str, headers: Sequence[tuple[str, str]] = ()) -> socket.socket:
        """A connection that speaks HTTP/2 from here on (`Upgrade: h2c`). Raises EngineCannotBuild when it is not offered."""
        loop = asyncio.get_running_loop()
        connection = socket.socket(socket.AF_UNIX)
        connection.setblocking(False)
        lines = [f"POST {path} HTTP/1.1", "Host: engine", "Connection: Upgrade", "Upgrade: h2c"]
        lines += [f"{name}: {value}" for name, value in headers]
        answer = b""
        try:
            async with asyncio.timeout(CALL_SECONDS):
                await loop.sock_connect(connection, str(self.path))
                await loop.sock_sendall(connection, ("\r\n".join(lines) + "\r\n\r\n").encode())
                while not answer.endswith(b"\r\n\r\n"):
                    # One byte at a time: whatever follows the empty line belongs to HTTP/2 and must stay in the socket.
                    byte = await loop.sock_recv(connection, 1)
                    if not byte:
                        raise EngineAway(str(self.path), "it closed the connection without an answer")
                    answer += byte
            if b" 101 " not in answer.split(b"\r\n", 1)[0]:
                raise EngineCannotBuild(str(self.path))
        except TimeoutError:
            connection.close()
            raise EngineAway(str(self.path), f"no answer within {CALL_SECONDS:g} s") from None
        except OSError as error:
            connection.close()
            raise EngineAway(str(self.path), error.strerror or str(error)) from error
        except BaseException:
            connection.close()
            raise
        return connection

    async def version(self) -> str:
        """The engine's version, such as `20.10.24`. Answers quickly or raises EngineAway."""
        told = await self.call("GET", "/version", seconds=5)
        return str(told.get("Version", "unknown")).split("+", 1)[0]

    async def image(self, name: str) -> Image | None:
        """The image of this id or name, None when it is not there."""
        try:
            told = await self.call("GET", f"/images/{quote(name, safe='')}/json")
        except LookupError:
            return None
        config = told.get("Config") or {}
        digests = told.get("RepoDigests") or []
        return Image(
            id=told["Id"],
            tags=tuple(told.get("RepoTags") or ()),
            labels=config.get("Labels") or {},
            size_bytes=int(told.get("Size") or 0),
            created_at_s=0,
            digest=digests[0].partition("@")[2] if digests else None,
        )

    async def images(self, **labels: str) -> list[Image]:
        """Images that carry all these labels (`job="job_1"` is `org.kiops.job=job_1`), named or not; newest first."""
        wanted = [f"{LABEL}.{name}={value}" for name, value in labels.items()]
        told = await self.call("GET", "/images/json", parameters={"filters": json.dumps({"label": wanted})})
        found = [
            Image(
                id=one["Id"],
                tags=tuple(tag for tag in one.get("RepoTags") or () if tag != "<none>:<none>"),
                labels=one.get("Labels") or {},
                size_bytes=int(one.get("Size") or 0),
                created_at_s=int(one.get("Created") or 0),
            )
            for one in told or ()
        ]
        return sorted(found, key=lambda image: -image.created_at_s)

    async def tag(self, image_id: str, name: str, version: str) -> None:
        """Give an image its name and version; a former bearer of that name loses it."""
        parameters = {"repo": name, "tag": version}
        await self.call("POST", f"/images/{quote(image_id, safe='')}/tag", parameters=parameters)

    async def remove(self, image_id: str) -> bool:
        """Remove an image with all its names. False when it was gone, or a container still needs it."""
        try:
            await self.call("DELETE", f"/images/{quote(image_id, safe='')}", parameters={"force": "1"})
        except LookupError:
            return False
        except BuildError as error:
            if error.detail.get("answered") == 409:
                return False
            raise
        return True


def _decode(status: int, body: bytes, what: str) -> Any:
    try:
        told = json.loads(body) if body.strip() else None
    except ValueError:
        told = body.decode("utf-8", "replace").strip()
    if status < 300:
        return told
    message = told.get("message", "") if isinstance(told, dict) else str(told or "")
    if status == 404:
        raise LookupError(message)
    raise BuildError("build.engine_refused", f"The engine refused {what}: {message or status}", answered=status)
