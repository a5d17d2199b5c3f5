"""BuildKit's Control service over a connection taken over from the Docker engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

from grpclib.client import Channel, UnaryStreamMethod, UnaryUnaryMethod
from grpclib.protocol import H2Protocol

from builder.clients.buildkit import messages as m
from builder.clients.engine import Engine

CONTROL = "/moby.buildkit.v1.Control"


class EngineChannel(Channel):
    """A gRPC channel whose connection is the engine's `/grpc`."""

    def __init__(self, engine: Engine) -> None:
        super().__init__("engine", 1)
        self._engine = engine

    async def _create_connection(self) -> H2Protocol:
        connection = await self._engine.takeover("/grpc")
        _, protocol = await asyncio.get_running_loop().create_connection(self._protocol_factory, sock=connection)
        return protocol


class Control:
    """The calls a build needs. Close it when the build is over; cancelling a call cancels the build."""

    def __init__(self, engine: Engine) -> None:
        self._channel = EngineChannel(engine)

    async def workers(self) -> int:
        """How many build workers there are."""
        call = UnaryUnaryMethod(self._channel, f"{CONTROL}/ListWorkers", m.ListWorkersRequest, m.ListWorkersResponse)
        return len((await call(m.ListWorkersRequest(), timeout=5)).record)

    async def solve(self, reference: str, session: str, attributes: Mapping[str, str]) -> dict[str, str]:
        """Build a Dockerfile into the engine's own store. Returns what the exporter says of the image."""
        request = m.SolveRequest(
            Ref=reference, Session=session, Frontend="dockerfile.v0", FrontendAttrs=dict(attributes), Exporter="moby"
        )
        call = UnaryUnaryMethod(self._channel, f"{CONTROL}/Solve", m.SolveRequest, m.SolveResponse)
        return dict((await call(request)).ExporterResponse)

    async def status(self, reference: str) -> AsyncIterator[Any]:
        """What happens in a build, until it is over."""
        call = UnaryStreamMethod(self._channel, f"{CONTROL}/Status", m.StatusRequest, m.StatusResponse)
        async with call.open() as stream:
            await stream.send_message(m.StatusRequest(Ref=reference), end=True)
            async for response in stream:
                yield response

    def close(self) -> None:
        self._channel.close()
