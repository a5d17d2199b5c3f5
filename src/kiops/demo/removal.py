"""Takes the demo away again: through the API while the platform runs, by the engine's labels in any case."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from kiops import folder
from kiops.demo import SERVICE
from kiops.demo.engine import Engine, EngineError
from kiops.sample import base

WAIT_SECONDS = 60


def remove_demo(root: Path) -> Iterator[str]:
    """Yields what was removed, in lines a person reads."""
    engine = Engine()
    service = _service(root)
    found = _take_out(root)
    service = found or service
    if found:
        yield f"{SERVICE} left the catalogue"
        _wait_for_containers(engine, found)
    elif found is None and service:
        yield f"KIOPS does not run: {SERVICE} stays in its catalogue, without anything that runs"
    if service:
        try:
            yield from _clear_engine(engine, root, service)
        except EngineError as error:
            yield f"the engine's part stays: {error}"
    if (root / "demo").exists():
        yield from _clear_base(engine)
        shutil.rmtree(root / "demo")
        yield "the sample's repository and data are gone"
    elif not service:
        yield "There is no demo here."


def _service(root: Path) -> str:
    try:
        return str(json.loads((root / "demo" / "state.json").read_text())["service"])
    except (OSError, ValueError, KeyError):
        return ""


def _take_out(root: Path) -> str | None:
    """Delete the service through the API: its id, "" when there was none, None when nobody answers."""
    import httpx

    state, token = folder.served(root, ["gateway"]).get("gateway"), folder.token(root)
    if not state or not token:
        return None
    try:
        return asyncio.run(_delete(str(state["url"]), token))
    except httpx.TransportError:
        return None


async def _delete(url: str, token: str) -> str:
    """Delete the service with what runs of it. Its id, "" when there was none."""
    from kiops.demo.api import Api

    api = Api(url, token)
    try:
        known = await api.find(f"/services/{SERVICE}")
        if known is None:
            return ""
        await api.post(f"/services/{SERVICE}/delete", {"name": SERVICE, "remove_running": True})
        return str(known["id"])
    finally:
        await api.close()


def _wait_for_containers(engine: Engine, service: str) -> None:
    """The platform removes them itself; what it left after a while is removed by label."""
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline and engine.containers(f"kiops.service={service}"):
        time.sleep(0.3)


def _clear_engine(engine: Engine, root: Path, service: str) -> Iterator[str]:
    from operator_proxy.cleanup import remove_all
    from shared.platform import platform_id

    removed = asyncio.run(remove_all(platform_id(root), service=service, socket=engine.socket))
    names = removed.containers
    if names:
        yield f"removed {', '.join(names)}"
    images = [each["Id"] for each in engine.images(f"org.kiops.service={service}")]
    gone = sum(engine.remove_image(image) for image in images)
    if gone:
        yield f"removed {gone} of the sample's images"


def _clear_base(engine: Engine) -> Iterator[str]:
    """The base that was assembled here; not while another platform's sample is built on it."""
    with contextlib.suppress(EngineError):
        if engine.images(f"{base.LABEL}=true") and engine.remove_image(base.LOCAL):
            yield f"removed {base.LOCAL}"
