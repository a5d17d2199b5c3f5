"""A program for tests: this service as a real process, on a real nats-server. Arguments: data folder, bus, keys, port."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from shared.bootstrap import bootstrap
from shared.runtime import running, serve_http
from shared.settings import PlatformSettings
from webhook.wiring import wire


async def main(root: Path, bus_url: str, keys: Path, port: int) -> None:
    await bootstrap(bus_url, keys)
    settings = PlatformSettings(home=root, data=root)
    async with running({"webhook": wire}, settings, bus_url=bus_url, keys=keys) as platform:
        await serve_http(platform.app, "127.0.0.1", port)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), int(sys.argv[4])))
