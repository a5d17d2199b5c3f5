"""Running services in this process: nats-server beside them, streams declared, HTTP served, all undone in reverse."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from kiops import catalogue


@dataclass
class Serving:
    """What runs: the platform, its nats-server (None when another one is used) and the task of its HTTP."""

    platform: Any
    bus: Any | None
    http: asyncio.Task[None]
    timings: dict[str, float] = field(default_factory=dict)


@asynccontextmanager
async def serving(names: Sequence[str], settings: Any, listener: socket.socket) -> AsyncIterator[Serving]:
    """Runs the named services until the block ends.

    settings: shared.settings.PlatformSettings. The listener is already bound, so that a taken port is told before
    anything is started. The bus is settings.bus_url, or a child of ours.
    """
    clock = asyncio.get_running_loop().time
    began = clock()
    timings: dict[str, float] = {}
    async with AsyncExitStack() as stack:
        bus = None
        if not settings.bus_url:
            from kiops import nats

            starting = asyncio.create_task(_enter(stack, nats.server(settings.root)))
        # nats-server starts while the services are imported.
        await asyncio.sleep(0)
        wires = await asyncio.to_thread(catalogue.wires, names)
        timings["imports"] = clock() - began
        if not settings.bus_url:
            bus = await starting
            timings["bus"] = clock() - began
            from shared.bootstrap import bootstrap

            await bootstrap(bus.url, bus.keys, api=settings.bus_api_prefix)
            timings["streams"] = clock() - began
        from shared.runtime import running

        url = bus.url if bus else settings.bus_url
        platform = await stack.enter_async_context(running(wires, settings, bus_url=url))
        timings["services"] = clock() - began
        from shared.serving import keep_what_started, serve_http

        from shared import tasks

        keep_what_started()

        host, port = listener.getsockname()[:2]
        http = asyncio.create_task(serve_http(platform.app, host, port, listener=listener), name="http")
        stack.push_async_callback(tasks.end, http)
        timings["http"] = clock() - began
        yield Serving(platform, bus, http, timings)


async def _enter(stack: AsyncExitStack, manager: Any) -> Any:
    return await stack.enter_async_context(manager)


def run(main: Any) -> None:
    """Runs a coroutine on uvloop; the first SIGINT or SIGTERM cancels it, a second one ends the process at once."""
    import uvloop

    async def guarded() -> None:
        loop = asyncio.get_running_loop()
        task = asyncio.ensure_future(main)
        asked = 0

        def stop() -> None:
            nonlocal asked
            asked += 1
            if asked > 1:
                os._exit(130)
            task.cancel()

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, stop)
        try:
            await task
        except asyncio.CancelledError:
            if not asked:
                raise

    uvloop.run(guarded())
