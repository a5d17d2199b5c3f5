"""Reads a durable of the stream as fast as a socket gives it: the NATS protocol as far as a rebuild needs it, without a task per
message. Blocking: for a process that does nothing else.
"""

from __future__ import annotations

import base64
import json
import select
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from shared.errors import Unavailable
from shared.subscribers import Envelope

CHUNK = 1 << 20
SECONDS = 10.0


class At:
    """Where in the stream a fact stands: as much of an `Envelope` as projections ask for."""

    __slots__ = ("_head", "id", "sequence", "stored_at_ms", "subject")
    correlation = causation = ""

    def __init__(self, name: str, subject: str, sequence: int, stored_at_ms: int, head: bytes) -> None:
        self.id, self.subject, self.sequence, self.stored_at_ms = name, subject, sequence, stored_at_ms
        self._head = head

    @property
    def traceparent(self) -> str:
        return _header(self._head, b"traceparent")


def _header(head: bytes, name: bytes) -> str:
    """One header's value as it stands there; empty when there is none."""
    begin = head.find(b"\r\n" + name + b": ")
    if begin < 0:
        return ""
    begin += len(name) + 4
    return head[begin : head.find(b"\r\n", begin)].decode("utf-8", "replace")


class Stored:
    """A fact of the stream, its headers not looked at before somebody asks."""

    __slots__ = ("_head", "body", "envelope")

    def __init__(self, subject: str, reply: bytes, head: bytes, body: bytes) -> None:
        # $JS.ACK.<stream>.<durable>.<tries>.<stream sequence>.<delivery>.<nanoseconds>.<pending>
        _, sequence, _, stored_ns, _ = reply.rsplit(b".", 4)
        self._head, self.body = head, body.decode("utf-8", "replace")
        place, stored_ms = int(sequence), int(stored_ns) // 1_000_000
        name = _header(head, b"ce-id")
        if not name or "%" in name:
            name = Envelope.read(self.headers, subject, place, stored_ms).id
        self.envelope = At(name, subject, place, stored_ms, head)

    @property
    def headers(self) -> dict[str, str]:
        lines = self._head.decode("utf-8", "replace").split("\r\n")[1:]
        return dict(line.split(": ", 1) for line in lines if ": " in line)


class Stream:
    """One connection as a service, subscribed to the answers of its pulls. Raises Unavailable `bus.away` when it breaks."""

    def __init__(self, url: str, seed: Path, service: str, durable: str, *, stream: str = "EVENTS", api: str = "$JS.API") -> None:
        self._subject = f"{api}.CONSUMER.MSG.NEXT.{stream}.{durable}".encode()
        self._inbox = f"_INBOX_{service}.rebuild".encode()
        self._rest = b""
        self._ready: list[Stored] = []
        self._asked = 0
        self._empty = False
        parts = urlsplit(url if "//" in url else f"nats://{url}")
        try:
            self._socket = socket.create_connection((parts.hostname or "127.0.0.1", parts.port or 4222), timeout=SECONDS)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._sign_in(seed, service)
        except OSError as error:
            raise Unavailable("bus.away", f"no connection to nats-server at {url}: {error}") from error

    def _sign_in(self, seed: Path, service: str) -> None:
        import nkeys

        while b"\r\n" not in self._rest:
            self._rest += self._socket.recv(CHUNK)
        line, self._rest = self._rest.split(b"\r\n", 1)
        nonce = json.loads(line[5:]).get("nonce", "").encode()
        pair = nkeys.from_seed(bytearray(seed.read_bytes().strip()))
        hello = {
            "verbose": False,
            "pedantic": False,
            "protocol": 1,
            "headers": True,
            "no_responders": True,
            "lang": "python",
            "version": "1",
            "name": f"kiops-{service}-rebuild",
            "nkey": pair.public_key.decode(),
            "sig": base64.urlsafe_b64encode(pair.sign(nonce)).decode().rstrip("="),
        }
        pair.wipe()
        self._socket.sendall(b"CONNECT " + json.dumps(hello).encode() + b"\r\nSUB " + self._inbox + b" 1\r\nPING\r\n")
        while b"PONG\r\n" not in self._rest:
            self._rest += self._chunk()
            if b"-ERR" in self._rest:
                raise OSError(self._rest.decode("utf-8", "replace").strip())
        self._rest = self._rest.split(b"PONG\r\n", 1)[1]

    def _chunk(self) -> bytes:
        chunk = self._socket.recv(CHUNK)
        if not chunk:
            raise OSError("nats-server closed the connection")
        return chunk

    def read(self, most: int) -> Sequence[Stored]:
        """The next facts, at most so many; fewer when the stream ends before, none when there is none.

        The pull for the batch after this one is out when it returns, so that the server works while the caller does.
        """
        try:
            while len(self._ready) < most and not (self._empty and not self._asked):
                if not self._asked and not self._empty:
                    self._ask(most)
                self._take(self._chunk())
            self._empty = False
            found, self._ready = self._ready[:most], self._ready[most:]
            if len(found) == most and not self._asked:
                self._ask(most)
            return found
        except OSError as error:
            raise Unavailable("bus.away", f"nats-server does not answer: {error}") from error

    def _ask(self, batch: int) -> None:
        body = json.dumps({"batch": batch, "no_wait": True}).encode()
        self._socket.sendall(b"PUB %s %s %d\r\n%s\r\n" % (self._subject, self._inbox, len(body), body))
        self._asked = batch

    def _take(self, chunk: bytes) -> None:
        data = self._rest + chunk if self._rest else chunk
        find, place, ready = data.find, 0, self._ready
        while (end := find(b"\r\n", place)) >= 0:
            if data.startswith(b"HMSG", place):
                words = data[place + 5 : end].split(b" ")
                begin, size = end + 2, int(words[-1])
                stop = begin + size
                if stop + 2 > len(data):
                    break
                body = begin + int(words[-2])
                if len(words) == 5:
                    ready.append(Stored(words[0].decode(), words[2], data[begin:body], data[body:stop]))
                    self._asked -= 1
                else:
                    self._told(data[begin:body])
                place = stop + 2
            elif data.startswith(b"PING", place):
                self._socket.sendall(b"PONG\r\n")
                place = end + 2
            elif data.startswith(b"-ERR", place):
                raise OSError(data[place + 5 : end].decode("utf-8", "replace"))
            elif data.startswith(b"MSG", place):
                raise OSError("a message of the stream has no headers")
            else:
                place = end + 2
        self._rest = data[place:]

    def _told(self, head: bytes) -> None:
        """A pull's end: 404 no messages, 408 or 409 no more of them for this pull."""
        status = head[9:12]
        if status == b"503":
            raise OSError("nobody answers for the stream")
        if status != b"100":
            self._asked, self._empty = 0, True

    def wait(self, others: Sequence[Any], seconds: float) -> None:
        """Until one of these files can be read, or nats-server says something, which is heard; at most so many seconds."""
        found, _, _ = select.select([self._socket, *others], [], [], seconds)
        if self._socket in found:
            self._take(self._chunk())

    def close(self) -> None:
        self._socket.close()
