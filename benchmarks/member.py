"""One service, or all seven, in a process of its own, with stand-ins for the tools outside.

    python -m benchmarks.member NAMES ROOT BUS PORT STAMPS OPTIONS      (names by commas; options as JSON)

Options: `children` (which steps have a child process), `lines` and `pause` (what a build prints), `slots` (builds at once),
`profile` (a file that cProfile's figures go to, from a SIGUSR1 on).
"""

from __future__ import annotations

import asyncio
import importlib
import json
import signal
import sys
from pathlib import Path
from typing import Any

from shared.hosting import Wire
from shared.runtime import running, serve_http
from shared.serving import keep_what_started
from shared.settings import PlatformSettings

from benchmarks import faked
from kiops.chaos.member import wire_of
from shared import logging


def wire(name: str, stamps: Path, options: dict[str, Any]) -> Wire:
    """The service's own root, with a stand-in where it reaches outside."""
    children = options.get("children", [])
    if name == "operator-proxy":
        return wire_of(name, stamps, deploy=0)
    real = importlib.import_module(f"{name.replace('-', '_')}.wiring").wire
    if name == "builder":
        from builder.settings import BuilderSettings

        settings = BuilderSettings(**({"slots": options["slots"]} if options.get("slots") else {}))
        images = faked.Images(stamps, children, options.get("lines", 0), options.get("pause", 0.0))
        return lambda host: real(host, settings, git=faked.Sources(stamps, children), buildkit=images)
    if name == "scanner":
        from kiops.chaos import stand_ins

        return lambda host: real(host, git=stand_ins.ScannedSources(), engines=faked.Engines(stamps, children))
    return real


async def main(names: list[str], root: Path, bus: str, port: int, stamps: Path, options: dict[str, Any]) -> None:
    logging.configure("warning", root / "logs" / f"{'-'.join(names)}.log")
    settings = PlatformSettings(home=root.parent, data=root, port=port)
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    async with running({name: wire(name, stamps, options) for name in names}, settings, bus_url=bus) as platform:
        keep_what_started()
        server = asyncio.create_task(serve_http(platform.app, "127.0.0.1", port))
        waiting = asyncio.create_task(stopped.wait())
        await asyncio.wait({server, waiting}, return_when=asyncio.FIRST_COMPLETED)
        server.cancel()
        await asyncio.gather(server, return_exceptions=True)


def start(words: list[str]) -> None:
    """Run it, profiled when that is asked for."""
    import uvloop

    options = json.loads(words[5]) if len(words) > 5 else {}
    work = main(words[0].split(","), Path(words[1]), words[2], int(words[3]), Path(words[4]), options)
    if not options.get("profile"):
        uvloop.run(work)
        return
    import cProfile

    profile = cProfile.Profile()

    async def watched() -> None:
        # What a start costs is no part of it: it begins when it is told to.
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, profile.enable)
        await work

    try:
        uvloop.run(watched())
    finally:
        profile.disable()
        profile.dump_stats(options["profile"])


if __name__ == "__main__":
    start(sys.argv[1:])
