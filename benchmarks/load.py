"""Signed deliveries, made before the clock starts, and a client that keeps its connections and parses next to nothing."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import time
import uuid
from dataclasses import dataclass, field

BODY_BYTES = 7600  # what a push with one commit has at a large Git host


@dataclass(frozen=True)
class Delivery:
    """One signed request as bytes, and the commit it tells of."""

    commit: str
    request: bytes


def deliveries(path: str, secret: str, count: int, *, branch: str = "main") -> list[Delivery]:
    """So many pushes, each with a commit and an id of its own, of about 7,600 bytes."""
    return [_delivery(path, secret, branch) for _ in range(count)]


def _delivery(path: str, secret: str, branch: str) -> Delivery:
    commit = hashlib.sha1(uuid.uuid4().bytes).hexdigest()
    files = [f"source/package_{number:03d}/module_{number:03d}.py" for number in range(100)]
    payload = {
        "ref": f"refs/heads/{branch}", "before": "1" * 40, "after": commit, "forced": False, "pusher": {"name": "Ada"},
        "commits": [{"id": commit, "message": "Change what is changed", "author": {"name": "Ada"}, "added": [],
                     "modified": files, "removed": []}],
        "repository": {"name": "bench", "description": ""},
    }  # fmt: skip
    short = BODY_BYTES - len(json.dumps(payload))
    payload["repository"]["description"] = "x" * max(0, short)  # type: ignore[index]
    body = json.dumps(payload).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        f"X-Kiops-Event: push\r\nX-Kiops-Delivery: {uuid.uuid4()}\r\n"
        f"X-Kiops-Signature: sha256={hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}\r\n\r\n"
    )
    return Delivery(commit, head.encode() + body)


class Connection(asyncio.Protocol):
    """One kept connection; one request at a time. An answer is told by its Content-Length."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self._buffer = b""
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None

    @classmethod
    async def open(cls, port: int) -> Connection:
        _, made = await asyncio.get_running_loop().create_connection(cls, "127.0.0.1", port)
        return made

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def connection_lost(self, error: Exception | None) -> None:
        if self._answer and not self._answer.done():
            self._answer.set_exception(error or ConnectionResetError("the server closed the connection"))

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, body = self._buffer.partition(b"\r\n\r\n")
        if not found or self._answer is None or self._answer.done():
            return
        lowered = head.lower()
        at = lowered.find(b"content-length:")
        length = int(lowered[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        if len(body) >= length:
            self._buffer = b""
            self._answer.set_result((int(head[9:12]), body))

    async def send(self, request: bytes) -> tuple[int, bytes]:
        """The status and the body of the answer."""
        assert self.transport
        self._answer = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return await self._answer

    def close(self) -> None:
        if self.transport:
            self.transport.close()


@dataclass
class Sent:
    """What became of a load: milliseconds of each, wall-clock time of each answer by commit, how many were not accepted."""

    took_ms: list[float] = field(default_factory=list)
    accepted: dict[str, float] = field(default_factory=dict)
    bodies: dict[str, bytes] = field(default_factory=dict)
    refused: list[tuple[int, bytes]] = field(default_factory=list)
    began: float = 0.0
    seconds: float = 0.0

    @property
    def per_second(self) -> float:
        return len(self.accepted) / self.seconds if self.seconds else 0.0


async def send_all(port: int, wanted: list[Delivery], connections: int = 1, pause: float = 0.0) -> Sent:
    """Send them over so many kept connections, each one after another; `pause` seconds after each answer."""
    sent, left = Sent(), iter(wanted)
    lines = [await Connection.open(port) for _ in range(connections)]

    async def work(line: Connection) -> None:
        for delivery in left:
            began = time.perf_counter()
            status, body = await line.send(delivery.request)
            sent.took_ms.append((time.perf_counter() - began) * 1000)
            if status == 202:
                sent.accepted[delivery.commit] = time.time()
                sent.bodies[delivery.commit] = body
            else:
                sent.refused.append((status, body))
            if pause:
                await asyncio.sleep(pause)

    sent.began = time.time()
    began = time.perf_counter()
    try:
        async with asyncio.TaskGroup() as group:
            for line in lines:
                group.create_task(work(line))
    finally:
        sent.seconds = time.perf_counter() - began
        for line in lines:
            line.close()
    return sent
