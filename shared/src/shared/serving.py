"""HTTP of a process, and one service alone: connect to the bus that is there, serve, end on a signal."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import signal
import socket
import sys
from pathlib import Path

from fastapi import FastAPI

from shared import logging, tasks
from shared.errors import Broken, KiopsError
from shared.hosting import Wire
from shared.runtime import running
from shared.settings import PlatformSettings


def bus_url(settings: PlatformSettings) -> str:
    """The bus of the settings, or the nats-server that a running platform on this data folder has told of.

    Raises Broken `start.no_bus` when there is neither.
    """
    if settings.bus_url:
        return settings.bus_url
    told = Path(settings.root) / "bus" / "server.json"
    try:
        return f"nats://127.0.0.1:{int(json.loads(told.read_text())['port'])}"
    except (OSError, ValueError, KeyError):
        raise Broken(
            "start.no_bus", "no nats-server is known", "Set KIOPS_BUS_URL, or start the platform on this data folder."
        ) from None


def serve(wire: Wire) -> None:
    """Run the service of this wire until SIGINT or SIGTERM. Exit code 3 when something it needs is away, 4 for a defect."""
    name = wire.__module__.split(".", maxsplit=1)[0].replace("_", "-")
    settings = PlatformSettings()
    logging.configure(settings.log_level, settings.log_file)
    # Only the gateway's address is one that people know; the others take a free port unless they are given one.
    port = settings.port if name == "gateway" or "port" in settings.model_fields_set else 0

    async def main() -> None:
        stopped = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stopped.set)
        async with running({name: wire}, settings, bus_url=bus_url(settings)) as platform:
            keep_what_started()
            serving = asyncio.create_task(serve_http(platform.app, settings.host, port))
            waiting = asyncio.create_task(stopped.wait())
            done, _ = await asyncio.wait({serving, waiting}, return_when=asyncio.FIRST_COMPLETED)
            await tasks.end(serving, waiting)
            if serving in done:
                serving.result()

    import uvloop

    try:
        uvloop.run(main())
    except KiopsError as error:
        print(f"✗ {error.message}\n  do        {error.advice}\n  code      {error.code}", file=sys.stderr)
        raise SystemExit(3 if error.kind == "unavailable" or error.code.startswith("start.") else 4) from None


def keep_what_started() -> None:
    """Leave what a start has made out of every later search for garbage: modules, routes and statements stay to the end.

    Such a search stops everything; through the objects of a start it takes a tenth of a second, without them a few milliseconds.
    """
    gc.freeze()


async def serve_http(
    app: FastAPI, host: str, port: int, *, ready: asyncio.Event | None = None, listener: socket.socket | None = None
) -> None:
    """Serve the application until cancelled, on `listener` when it is given (it is closed at the end).

    Raises Broken `start.port_taken`.
    """
    import uvicorn

    if listener is None:
        # With its protocol named asyncio sets TCP_NODELAY; without, every answer in two parts waits 40 ms for the peer's ACK.
        listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            listener.close()
            raise Broken("start.port_taken", f"port {port} on {host} is taken", "Use --port, or stop that program.") from error
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=2,
        server_header=False,
        date_header=True,
        h11_max_incomplete_event_size=64 * 1024,
    )
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]  # signals are the caller's
    task = asyncio.create_task(server._serve([listener]) if hasattr(server, "_serve") else server.serve([listener]))
    try:
        while not server.started and not task.done():  # noqa: ASYNC110  (uvicorn has no event for it)
            await asyncio.sleep(0.005)
        if ready:
            ready.set()
        await asyncio.shield(task)
    finally:
        server.should_exit = True
        with contextlib.suppress(asyncio.CancelledError, Exception):
            async with asyncio.timeout(5):
                await asyncio.shield(task)
        listener.close()
