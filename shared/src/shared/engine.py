"""The container engine's HTTP API (Docker's, and Podman's like it): how it is reached, and what it means that it is not.

What is asked of it is each service's own matter; https://docs.docker.com/reference/api/engine/ lists what can be.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from shared.errors import Unavailable
from shared.exchange import Answer, Place, exchange

TAKEOVER_SECONDS = 30.0


class EngineAway(Unavailable):
    """The engine does not answer, or broke off. `setting` names what says where it is."""

    def __init__(self, place: str, why: str, setting: str = "") -> None:
        other = f", or name another with {setting}" if setting else ""
        super().__init__(
            "engine.away",
            f"The container engine at {place} does not answer: {why}",
            f"Start it (`systemctl start docker`, or `dockerd`){other}, then see `kiops doctor`. What waits for it is tried "
            "again by itself for a while.",
            place=place,
        )


def read_place(address: str) -> Place:
    """Where `unix:///path` or `tcp://host:port` leads. Raises ValueError."""
    parts = urlsplit(address)
    if parts.scheme == "unix" and parts.path:
        return Path(parts.path)
    if parts.scheme in ("tcp", "http") and parts.hostname:
        return parts.hostname, parts.port or 2375
    raise ValueError(f"an address begins with unix:// or tcp://, not {parts.scheme or 'this'}")


class EngineLine:
    """The line to one engine: a path of its socket, or an address (`unix:///path`, `tcp://host:port`).

    Every request has a connection of its own, so nothing is left open. Nothing is read or tried before the first one.
    """

    def __init__(self, address: Path | str, *, setting: str = "") -> None:
        self.address, self._setting = address, setting

    def away(self, why: str) -> EngineAway:
        """The error to raise when this engine does not answer."""
        return EngineAway(str(self.address), why, self._setting)

    def _place(self) -> Place:
        try:
            return self.address if isinstance(self.address, Path) else read_place(self.address)
        except ValueError as error:
            raise self.away(str(error)) from None

    async def ask(self, method: str, target: str, *, timeout_seconds: float = 30, **options: Any) -> Answer:
        """One exchange, with the options of `shared.exchange.exchange`. Raises EngineAway; any status is an answer."""
        place = self._place()
        try:
            return await exchange(place, method, target, timeout_seconds=timeout_seconds, **options)
        except TimeoutError:
            raise self.away(f"no answer within {timeout_seconds:g} s") from None
        except OSError as error:
            raise self.away(error.strerror or str(error) or type(error).__name__) from error

    async def takeover(self, path: str, headers: Sequence[tuple[str, str]] = ()) -> socket.socket | None:
        """A connection that speaks HTTP/2 from here on (`Upgrade: h2c`), None when the engine does not offer it.

        Raises EngineAway. Only over a unix socket.
        """
        loop = asyncio.get_running_loop()
        lines = [f"POST {path} HTTP/1.1", "Host: engine", "Connection: Upgrade", "Upgrade: h2c"]
        lines += [f"{name}: {value}" for name, value in headers]
        place = str(self._place())
        connection = socket.socket(socket.AF_UNIX)
        connection.setblocking(False)
        answer, taken = b"", False
        try:
            async with asyncio.timeout(TAKEOVER_SECONDS):
                await loop.sock_connect(connection, place)
                await loop.sock_sendall(connection, ("\r\n".join(lines) + "\r\n\r\n").encode())
                while not answer.endswith(b"\r\n\r\n"):
                    # One byte at a time: whatever follows the empty line belongs to HTTP/2 and must stay in the socket.
                    byte = await loop.sock_recv(connection, 1)
                    if not byte:
                        raise self.away("it closed the connection without an answer")
                    answer += byte
            taken = b" 101 " in answer.split(b"\r\n", 1)[0]
        except TimeoutError:
            raise self.away(f"no answer within {TAKEOVER_SECONDS:g} s") from None
        except OSError as error:
            raise self.away(error.strerror or str(error)) from error
        finally:
            if not taken:
                connection.close()
        return connection if taken else None


def refusal(answer: Answer) -> str:
    """What the engine says with a refusal, at most 300 characters when it is no message of its own."""
    try:
        return str(json.loads(answer.body)["message"])
    except (ValueError, KeyError, TypeError):
        return answer.body.decode("utf-8", "replace").strip()[:300]
