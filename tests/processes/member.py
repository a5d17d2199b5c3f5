"""One service in a process of its own, with stand-ins for the tools outside.

`python -m tests.processes.member NAME ROOT BUS PORT STAMPS`
"""

from __future__ import annotations

import asyncio
import signal
import sys
from contextlib import asynccontextmanager
from pathlib import Path

from shared.platform import platform_id
from shared.runtime import Host, Service, running, serve_http
from shared.settings import PlatformSettings

from shared import logging
from tests.processes import stand_ins

SECONDS = {"fetch": 0.02, "build": 0.15, "scan": 0.08, "deploy": 0.1}


def wire_of(name: str, stamps: Path, **seconds: float):
    """The service's own wire; where it reaches outside, with a stand-in that takes SECONDS, or as long as is said."""
    takes = SECONDS | seconds
    import importlib

    wire = importlib.import_module(f"{name.replace('-', '_')}.wiring").wire
    if name == "builder":
        from builder.settings import BuilderSettings

        return lambda host: wire(
            host,
            BuilderSettings(slots=4),
            git=stand_ins.Sources(stamps, takes["fetch"]),
            buildkit=stand_ins.Images(stamps, takes["build"]),
        )
    if name == "scanner":
        return lambda host: wire(host, git=stand_ins.ScannedSources(), engines=stand_ins.Engines(stamps, takes["scan"]))
    if name == "operator-proxy":
        return lambda host: operator_proxy(host, stamps, takes["deploy"])
    return wire


@asynccontextmanager
async def operator_proxy(host: Host, stamps: Path, seconds: float):
    """operator-proxy with its own database, handlers, subscribers and jobs; only the hands are a stand-in."""
    from operator_proxy import tables
    from operator_proxy.clients.docker import Engine
    from operator_proxy.handlers import TARGET_JOB, WATCH_JOB, Handlers
    from operator_proxy.settings import OperatorProxySettings
    from operator_proxy.subscribers import answers, subscribers
    from shared.jobs import Worker

    settings = OperatorProxySettings()
    platform_id(host.root)
    async with host.open_database(tables.metadata, package="operator_proxy") as database:
        handlers = Handlers(database, host.clock, settings, Engine(settings.engine_socket))
        placing = stand_ins.Placing(handlers, stamps, seconds)
        yield Service(
            name="operator-proxy",
            database=database,
            subscribers=subscribers(handlers),
            answers=answers(handlers),
            workers=[
                Worker(TARGET_JOB, placing.run, placing.failed, slots=4, serial_per_key=True),
                Worker(WATCH_JOB, placing.watch, placing.watch_failed, slots=8),
            ],
        )


async def main(name: str, root: Path, bus: str, port: int, stamps: Path) -> None:
    logging.configure("info", root / "logs" / f"{name}.log")
    settings = PlatformSettings(home=root.parent, data=root, port=port)
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    async with running({name: wire_of(name, stamps)}, settings, bus_url=bus) as platform:
        server = asyncio.create_task(serve_http(platform.app, "127.0.0.1", port))
        waiting = asyncio.create_task(stopped.wait())
        await asyncio.wait({server, waiting}, return_when=asyncio.FIRST_COMPLETED)
        server.cancel()
        await asyncio.gather(server, return_exceptions=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]), Path(sys.argv[5])))
