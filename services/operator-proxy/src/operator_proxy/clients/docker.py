"""The Docker engine's API over its unix socket (Podman's compatible one too): just the calls that a switch needs.

https://docs.docker.com/reference/api/engine/ . The paths are those of 1.41 (engine 20.10); a newer engine is spoken to in the
newest version both know, because engines from 29 on refuse 1.41.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from shared.engine import EngineLine, refusal
from shared.exchange import Answer

from operator_proxy.errors import EngineBusy, EngineRefused, ImageGone, NotStartable, PortTaken

NEWEST_API = (1, 47)
_PORT_TAKEN = re.compile(r"[\d\]]:(\d+)\b.*(?:already allocated|already in use)")
_NOT_STARTABLE = (
    "executable file not found",
    "no such file or directory",
    "permission denied",
    "exec format error",
    "not a directory",
)


@dataclass(frozen=True)
class About:
    """What an engine says of itself. `abilities` are codes: run, switch, build, limits, build_limits."""

    name: str
    version: str
    api: tuple[int, int]
    abilities: tuple[str, ...]

    @property
    def words(self) -> str:
        """`Docker 20.10.24 with BuildKit`."""
        return f"{self.name} {self.version}" + (" with BuildKit" if "build" in self.abilities else "")


def _numbers(version: str) -> tuple[int, int]:
    found = re.match(r"(\d+)\.(\d+)", version)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def about(version: Mapping[str, Any], info: Mapping[str, Any]) -> About:
    """From the answers of /version and /info."""
    podman = any("podman" in str(part.get("Name", "")).lower() for part in version.get("Components") or [])
    number = str(version.get("Version", "")).split("+")[0]
    api = _numbers(str(version.get("ApiVersion", "")))
    abilities = ["run", "switch"]
    if not podman and api >= (1, 39):
        abilities.append("build")
    if info.get("MemoryLimit") and (info.get("CpuCfsQuota") or info.get("CPUCfsQuota")):
        abilities.append("limits")
    if not podman and _numbers(number) >= (29, 0):
        abilities.append("build_limits")
    return About("Podman" if podman else "Docker", number, api, tuple(abilities))


def log_lines(raw: bytes) -> list[str]:
    """The lines of /logs without a terminal: frames of 8 bytes of head (stream, length) and their text."""
    text, at = bytearray(), 0
    while at + 8 <= len(raw) and raw[at] in (0, 1, 2) and raw[at + 1 : at + 4] == b"\0\0\0":
        size = int.from_bytes(raw[at + 4 : at + 8], "big")
        text += raw[at + 8 : at + 8 + size]
        at += 8 + size
    if at == 0:
        text = bytearray(raw)
    return [line[:500].rstrip() for line in text.decode(errors="replace").splitlines() if line.strip()]


class Engine:
    """One engine. Every call raises EngineAway when the socket does not answer, EngineBusy or EngineRefused when it says no."""

    def __init__(self, socket: Path) -> None:
        self.socket = socket
        self._line = EngineLine(socket, setting="OPERATOR_PROXY_ENGINE_SOCKET")
        self._prefix = ""

    # -- the exchange ------------------------------------------------------------------------------------------------
    async def _exchange(self, method: str, target: str, **kwargs: Any) -> Answer:
        return await self._line.ask(method, target, **kwargs)

    async def call(
        self,
        method: str,
        path: str,
        what: str,
        *,
        query: Mapping[str, Any] | None = None,
        content: Any = None,
        stream: AsyncIterator[bytes] | None = None,
        none_for: tuple[int, ...] = (),
        timeout_seconds: float = 60,
    ) -> Answer | None:
        """One call. `what` completes "the engine could not ...". None for the statuses in `none_for`."""
        if not self._prefix:
            await self.version()
        target = f"{self._prefix}{path}" + (f"?{urlencode(query)}" if query else "")
        headers, body = {}, stream if stream is not None else b""
        if content is not None:
            headers, body = {"Content-Type": "application/json"}, json.dumps(content).encode()
        elif stream is not None:
            headers = {"Content-Type": "application/x-tar"}
        answer = await self._exchange(method, target, headers=headers, body=body, timeout_seconds=timeout_seconds)
        if answer.status < 400:
            return answer
        if answer.status in none_for:
            return None
        raise _refusal(answer, what)

    async def _json(self, method: str, path: str, what: str, **kwargs: Any) -> Any:
        answer = await self.call(method, path, what, **kwargs)
        return None if answer is None else json.loads(answer.body)

    # -- the engine --------------------------------------------------------------------------------------------------
    async def version(self) -> dict[str, Any]:
        """The answer of /version; also chooses the API version."""
        answer = await self._exchange("GET", "/version", timeout_seconds=10)
        if answer.status != 200:
            raise self._line.away(f"status {answer.status} to /version")
        said = json.loads(answer.body)
        major, minor = min(NEWEST_API, _numbers(str(said.get("ApiVersion", "1.41"))))
        self._prefix = f"/v{major}.{minor}"
        return said

    async def about(self) -> About:
        version = await self.version()
        return about(version, await self._json("GET", "/info", "describe itself", timeout_seconds=10))

    # -- images ------------------------------------------------------------------------------------------------------
    async def image(self, reference: str) -> dict[str, Any] | None:
        """What the store knows of an image id or name, None when it is not there."""
        return await self._json("GET", f"/images/{quote(reference, safe='/:')}/json", "look at an image", none_for=(404,))

    async def import_image(self, tar: AsyncIterator[bytes], name: str, tag: str, changes: list[str]) -> str:
        """Make an image of a flat file system. `changes` are Dockerfile instructions. Returns its id."""
        query = [("fromSrc", "-"), ("repo", name), ("tag", tag), *(("changes", change) for change in changes)]
        answer = await self.call("POST", f"/images/create?{urlencode(query)}", "make an image", stream=tar, timeout_seconds=300)
        assert answer is not None
        said = [json.loads(line) for line in answer.body.splitlines() if line.strip()]
        for line in said:
            if "error" in line:
                raise EngineBusy("make an image", line["error"])
        image = await self.image(f"{name}:{tag}")
        if image is None:
            raise EngineBusy("make an image", "it is not there afterwards")
        return image["Id"]

    async def images(self, *labels: str) -> list[dict[str, Any]]:
        """Images that bear all these labels (`name` or `name=value`)."""
        return await self._json("GET", "/images/json", "list images", query={"filters": _labels(labels)})

    async def remove_image(self, image: str) -> bool:
        """Remove an image with its names. False when it is not there or a container needs it."""
        query = {"force": "1"}
        return (
            await self.call("DELETE", f"/images/{quote(image, safe='/:')}", "remove an image", query=query, none_for=(404, 409))
            is not None
        )

    # -- networks ----------------------------------------------------------------------------------------------------
    async def ensure_network(self, name: str, labels: Mapping[str, str]) -> None:
        """A bridge network of this name."""
        if await self.call("GET", f"/networks/{name}", "look at a network", none_for=(404,)):
            return
        content = {"Name": name, "CheckDuplicate": True, "Labels": dict(labels), "Driver": "bridge"}
        await self.call("POST", "/networks/create", "make a network", content=content, none_for=(409,))

    async def join_network(self, name: str, container: str) -> None:
        """Put a running container into a network too; it may be in it already."""
        await self.call("POST", f"/networks/{name}/connect", "join a network", content={"Container": container}, none_for=(403,))

    async def networks(self, *labels: str) -> list[dict[str, Any]]:
        return await self._json("GET", "/networks", "list networks", query={"filters": _labels(labels)})

    async def remove_network(self, name: str) -> None:
        await self.call("DELETE", f"/networks/{name}", "remove a network", none_for=(404,))

    # -- containers --------------------------------------------------------------------------------------------------
    async def create(self, name: str, configuration: Mapping[str, Any]) -> str | None:
        """Make a container and return its id; None when the name is taken. Raises ImageGone."""
        target, what = f"/containers/create?name={name}", f"make container {name}"
        try:
            answer = await self._json("POST", target, what, content=configuration, none_for=(409,))
        except EngineRefused as error:
            if error.detail["http_status"] == 404 and "image" in str(error).lower():
                raise ImageGone(str(configuration.get("Image"))) from error
            raise
        return None if answer is None else answer["Id"]

    async def start(self, container: str, name: str = "") -> None:
        """Start a container. Raises PortTaken, NotStartable."""
        try:
            await self.call("POST", f"/containers/{container}/start", "start a container")
        except (EngineBusy, EngineRefused) as error:
            text = error.message
            if taken := _PORT_TAKEN.search(text):
                raise PortTaken(int(taken[1])) from error
            if any(words in text for words in _NOT_STARTABLE):
                raise NotStartable(name or container, text.split(": ", 1)[-1]) from error
            raise

    async def inspect(self, container: str) -> dict[str, Any] | None:
        """What the engine knows of a container, None when it is not there."""
        return await self._json("GET", f"/containers/{container}/json", "look at a container", none_for=(404,))

    async def containers(self, *labels: str) -> list[dict[str, Any]]:
        """Containers, running or not, that bear all these labels."""
        query = {"all": "1", "filters": _labels(labels)}
        return await self._json("GET", "/containers/json", "list containers", query=query)

    async def keep_running(self, container: str) -> None:
        """From now on the engine starts the container again when it ends, until somebody stops it. Podman 4 cannot change that
        (404): there a container that ends stays so."""
        content = {"RestartPolicy": {"Name": "unless-stopped"}}
        await self.call("POST", f"/containers/{container}/update", "change a container", content=content, none_for=(404, 501))

    async def stop(self, container: str, seconds: int) -> None:
        """Ask a container to end, and kill it after so many seconds. Nothing when it has ended or is not there."""
        path = f"/containers/{container}/stop"
        await self.call("POST", path, "stop a container", query={"t": seconds}, none_for=(404,), timeout_seconds=seconds + 30)

    async def remove(self, container: str) -> None:
        """Kill and remove a container with its anonymous volumes. Nothing when it is not there."""
        query = {"force": "1", "v": "1"}
        # 409: it is being removed already.
        await self.call("DELETE", f"/containers/{container}", "remove a container", query=query, none_for=(404, 409))

    async def log_tail(self, container: str, lines: int = 10) -> list[str]:
        """The last lines a container wrote."""
        query = {"stdout": "1", "stderr": "1", "tail": lines}
        answer = await self.call("GET", f"/containers/{container}/logs", "read a container's log", query=query, none_for=(404, 409))
        return log_lines(answer.body)[-lines:] if answer else []

    async def memory_bytes(self, container: str) -> int:
        """What the container uses, without the page cache that can be taken back. 0 when it does not run."""
        query = {"stream": "0", "one-shot": "1"}
        said = await self._json("GET", f"/containers/{container}/stats", "measure a container", query=query, none_for=(404, 409))
        memory = (said or {}).get("memory_stats") or {}
        detail = memory.get("stats") or {}
        return max(0, memory.get("usage", 0) - detail.get("total_inactive_file", detail.get("inactive_file", 0)))


def _labels(labels: tuple[str, ...]) -> str:
    return json.dumps({"label": list(labels)})


def _refusal(answer: Answer, what: str) -> EngineBusy | EngineRefused:
    if answer.status >= 500:
        return EngineBusy(what, refusal(answer))
    return EngineRefused(what, refusal(answer), answer.status)
