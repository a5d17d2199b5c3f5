"""Our side of a build's session: what the engine may ask of us while it builds.

It asks whether we live, for the context's archive, for a secret that a step mounts, and for the name and password of a
registry. Everything else is not offered.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from grpclib.const import Cardinality, Handler, Status
from grpclib.exceptions import GRPCError
from grpclib.server import Server

from builder.clients.buildkit import messages as m
from builder.clients.engine import Engine

CHUNK_BYTES = 256 * 1024
SERVING = 1


class Session:
    """What we offer for one build. `upload` is the id under which the archive can be had."""

    def __init__(
        self,
        archive: Path,
        *,
        secrets: Mapping[str, bytes],
        registries: Mapping[str, tuple[str, str]],
    ) -> None:
        self.id, self.upload = uuid.uuid4().hex, uuid.uuid4().hex
        self._archive, self._secrets, self._registries = archive, secrets, registries

    @property
    def context(self) -> str:
        """The address under which the engine fetches the context through this session."""
        return f"http://buildkit-session/{self.upload}"

    async def health(self, stream: Any) -> None:
        await stream.recv_message()
        await stream.send_message(m.HealthCheckResponse(status=SERVING))

    async def credentials(self, stream: Any) -> None:
        request = await stream.recv_message()
        name, password = self._registries.get(request.Host, ("", ""))
        await stream.send_message(m.CredentialsResponse(Username=name, Secret=password))

    async def secret(self, stream: Any) -> None:
        request = await stream.recv_message()
        if request.ID not in self._secrets:
            raise GRPCError(Status.NOT_FOUND, f"secret {request.ID} not found")
        await stream.send_message(m.GetSecretResponse(data=self._secrets[request.ID]))

    async def pull(self, stream: Any) -> None:
        if stream.metadata.get("urlpath", "").rsplit("/", 1)[-1] != self.upload:
            raise GRPCError(Status.NOT_FOUND, "no such upload")
        for data in _chunks(self._archive):
            await stream.send_message(m.BytesMessage(data=data))

    def __mapping__(self) -> dict[str, Handler]:
        one = Cardinality.UNARY_UNARY
        return {
            "/grpc.health.v1.Health/Check": Handler(self.health, one, m.HealthCheckRequest, m.HealthCheckResponse),
            "/moby.filesync.v1.Auth/Credentials": Handler(self.credentials, one, m.CredentialsRequest, m.CredentialsResponse),
            "/moby.buildkit.secrets.v1.Secrets/GetSecret": Handler(self.secret, one, m.GetSecretRequest, m.GetSecretResponse),
            "/moby.upload.v1.Upload/Pull": Handler(self.pull, Cardinality.STREAM_STREAM, m.BytesMessage, m.BytesMessage),
        }


def _chunks(path: Path) -> Iterator[bytes]:
    with open(path, "rb") as file:
        while data := file.read(CHUNK_BYTES):
            yield data


@asynccontextmanager
async def offered(engine: Engine, session: Session) -> AsyncIterator[None]:
    """Offer a session to the engine for as long as the block lasts."""
    headers = [
        ("X-Docker-Expose-Session-Uuid", session.id),
        ("X-Docker-Expose-Session-Name", "kiops"),
        ("X-Docker-Expose-Session-Sharedkey", session.id),
        *(("X-Docker-Expose-Session-Grpc-Method", method) for method in session.__mapping__()),
    ]
    connection = await engine.takeover("/session", headers)
    loop = asyncio.get_running_loop()
    # On this connection we are the server although we opened it: grpclib's protocol takes any connected socket.
    protocol = Server([session])._protocol_factory
    transport, _ = await loop.connect_accepted_socket(protocol, connection)
    try:
        yield
    finally:
        transport.close()
