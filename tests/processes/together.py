"""All seven services in one process, each with its own connection to the bus, as `kiops serve all` runs them.

`python -m tests.processes.together all FILE`, where the file is a `Membership`; the tools outside have stand-ins.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import httpx
from shared.bus import SERVICES
from shared.errors import Broken
from shared.runtime import running, serve_http
from shared.settings import PlatformSettings
from shared.testing.nats import free_port

from kiops.chaos import member
from kiops.chaos.city import City
from shared import logging


@dataclass
class Together(City):
    """A city whose services live in one process, at one address."""

    program: tuple[str, ...] = ("-m", "tests.processes.together")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.ports = dict.fromkeys((*SERVICES, "all"), free_port())

    async def ready(self, called: str, seconds: float) -> None:
        end, waiting = time.monotonic() + seconds, list(SERVICES)
        while waiting and time.monotonic() < end:
            self.tend(called)
            try:
                answer = await self.client.get(f"http://127.0.0.1:{self.ports['all']}/-/{waiting[0]}/readyz")
                if answer.status_code == 200:
                    waiting.pop(0)
                    continue
            except httpx.HTTPError:
                pass
            await asyncio.sleep(0.1)
        if waiting:
            raise Broken("chaos.not_ready", f"{waiting[0]} is not ready after {seconds:g} s: {self.words(called)}")


async def serve(ours: member.Membership) -> None:
    """Serve until SIGTERM."""
    root = Path(ours.root)
    logging.configure("info", root / "logs" / "all.log")
    settings = PlatformSettings(home=root.parent, data=root, port=ours.ports["all"], **ours.settings)
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    wires = {name: member.wire_of(name, Path(ours.stamps), **ours.seconds) for name in SERVICES}
    async with running(wires, settings, bus_url=ours.bus) as platform:
        server = asyncio.create_task(serve_http(platform.app, "127.0.0.1", ours.ports["all"]))
        waiting = asyncio.create_task(stopped.wait())
        await asyncio.wait({server, waiting}, return_when=asyncio.FIRST_COMPLETED)
        server.cancel()
        await asyncio.gather(server, return_exceptions=True)


if __name__ == "__main__":
    import uvloop

    uvloop.run(serve(member.Membership(**json.loads(Path(sys.argv[2]).read_text()))))
