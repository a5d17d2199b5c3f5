"""One service in a process of its own, with stand-ins for the tools outside.

`python -m kiops.chaos.member NAME FILE`, where the file is a `Membership` as JSON.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import signal
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shared.hosting import Host, Service, Wire
from shared.platform import platform_id
from shared.runtime import running, serve_http
from shared.settings import PlatformSettings

from kiops import folder
from kiops.chaos import stand_ins
from shared import logging

SECONDS = {"fetch": 0.02, "build": 0.15, "scan": 0.08, "deploy": 0.1}


@dataclass
class Membership:
    """What is the same for all processes of one platform. `settings` are PlatformSettings by name, of one service's process too."""

    root: str
    bus: str
    stamps: str
    ports: dict[str, int]
    seconds: dict[str, float] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)


def wire_of(name: str, stamps: Path, **seconds: float) -> Wire:
    """The service's own wire; where it reaches outside, with a stand-in that takes SECONDS, or as long as is said."""
    takes = SECONDS | seconds
    wire = importlib.import_module(f"{name.replace('-', '_')}.wiring").wire
    if name == "builder":
        from builder.settings import BuilderSettings

        return lambda host: wire(
            host,
            BuilderSettings(slots=8),
            git=stand_ins.Sources(stamps, takes["fetch"]),
            buildkit=stand_ins.Images(stamps, takes["build"]),
        )
    if name == "scanner":
        from scanner.settings import ScannerSettings

        return lambda host: wire(
            host,
            ScannerSettings(scans_at_once=8),
            git=stand_ins.ScannedSources(),
            engines=stand_ins.Engines(stamps, takes["scan"]),
        )
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
                Worker(TARGET_JOB, placing.run, placing.failed, slots=8, serial_per_key=True),
                Worker(WATCH_JOB, placing.watch, placing.watch_failed, slots=8),
            ],
        )


async def serve(name: str, member: Membership, wire: Wire | None = None) -> None:
    """Serve until SIGTERM. `wire`: the service's own, when nothing of it is to be a stand-in."""
    root = Path(member.root)
    logging.configure("info", root / "logs" / f"{name}.log")
    port = member.ports[name]
    settings = PlatformSettings(home=root.parent, data=root, port=port, **member.settings)
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    wire = wire or wire_of(name, Path(member.stamps), **member.seconds)
    async with running({name: wire}, settings, bus_url=member.bus) as platform:
        server = asyncio.create_task(serve_http(platform.app, "127.0.0.1", port))
        folder.write_served(root / "services" / name, pid=os.getpid(), url=f"http://127.0.0.1:{port}")
        waiting = asyncio.create_task(stopped.wait())
        await asyncio.wait({server, waiting}, return_when=asyncio.FIRST_COMPLETED)
        server.cancel()
        await asyncio.gather(server, return_exceptions=True)


def main(name: str, file: Path) -> None:
    import json

    import uvloop

    uvloop.run(serve(name, Membership(**json.loads(file.read_text()))))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
