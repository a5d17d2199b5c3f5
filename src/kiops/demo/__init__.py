"""The demo: a sample service goes the whole road, and what happens is told live.

It uses the HTTP API and Git alone, like anybody else. It runs as a process of its own beside the platform, so that what
it needs (an HTTP client, a visitor who asks without end) is gone from memory when the story is over.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path

SERVICE = "sample-shop"
ENVIRONMENT = "development"


async def journey(url: str, token: str, root: Path) -> None:
    """Tell the story on a running platform. Raises SystemExit (1: something was not as it must be)."""
    child = await asyncio.create_subprocess_exec(sys.executable, "-m", "kiops.demo", url, str(root), stdin=asyncio.subprocess.PIPE)
    try:
        # The token goes through the pipe: a command line could be read by everybody on the machine.
        await child.communicate(token.encode())
    except asyncio.CancelledError:
        if child.returncode is None:
            child.terminate()
            await child.wait()
        raise
    if child.returncode:
        raise SystemExit(child.returncode)


def remove(root: Path) -> Iterator[str]:
    """Remove the sample's containers, images and data, whether the platform runs or not. Yields what was done, in lines."""
    from kiops.demo.removal import remove_demo

    return remove_demo(root)
