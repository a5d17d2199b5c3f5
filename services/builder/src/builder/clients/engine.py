"""The Docker engine's HTTP API, as far as building needs it: its version, its images, and connections taken over for gRPC."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from shared.engine import EngineAway, EngineLine, refusal

from builder.domain.build import LABEL
from builder.errors import BuildError, EngineCannotBuild

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
        self._line = EngineLine(path, setting="BUILDER_ENGINE_SOCKET")

    def away(self, why: str) -> EngineAway:
        """The error to raise when this engine goes away elsewhere than in a call."""
        return self._line.away(why)

    async def call(
        self, method: str, path: str, *, parameters: Mapping[str, Any] | None = None, seconds: float = CALL_SECONDS
    ) -> Any:
        """One call; returns the decoded body. Raises LookupError for 404 and BuildError `build.engine_refused` for the rest."""
        query = f"?{urlencode(parameters)}" if parameters else ""
        answer = await self._line.ask(method, f"{path}{query}", timeout_seconds=seconds)
        if answer.status == 404:
            raise LookupError(refusal(answer))
        if answer.status >= 300:
            said = refusal(answer) or answer.status
            raise BuildError("build.engine_refused", f"The engine refused {method} {path}: {said}", answered=answer.status)
        try:
            return json.loads(answer.body) if answer.body.strip() else None
        except ValueError:
            return answer.body.decode("utf-8", "replace").strip()

    async def takeover(self, path: str, headers: Sequence[tuple[str, str]] = ()) -> socket.socket:
        """A connection that speaks HTTP/2 from here on (`Upgrade: h2c`). Raises EngineCannotBuild when it is not offered."""
        connection = await self._line.takeover(path, headers)
        if connection is None:
            raise EngineCannotBuild(str(self.path))
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
