"""Props of this service: a real engine, a real edge, images made here."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
from operator_proxy import cleanup
from operator_proxy.clients.docker import Engine
from shared.platform import platform_id

spec = importlib.util.spec_from_file_location("operator_proxy_props", Path(__file__).with_name("props.py"))
assert spec and spec.loader
props = importlib.util.module_from_spec(spec)
sys.modules["operator_proxy_props"] = props
spec.loader.exec_module(props)

LABEL = "kiops-test-operator-proxy"


@pytest.fixture(scope="session")
def engine(docker_engine: Any, traefik: Path) -> Iterator[Engine]:
    """A real engine; the edge's image goes at the end when it was not there before."""
    engine = Engine(Path(docker_engine.socket))
    before = {image["Id"] for image in asyncio.run(engine.images("kiops.role=edge"))}
    yield engine

    async def clear() -> None:
        for image in await engine.images("kiops.role=edge"):
            if image["Id"] not in before:
                await cleanup.remove_unused_image(engine, image["Id"])

    asyncio.run(clear())


@pytest.fixture(scope="session")
def images(engine: Engine) -> Iterator[dict[str, str]]:
    """Version -> image id of a small server that says its version."""
    made = asyncio.run(props.make_images(engine, ["one", "two", "three"], LABEL))
    yield made

    async def clear() -> None:
        for image in await engine.images(LABEL):
            await engine.remove_image(image["Id"])

    asyncio.run(clear())


World = Callable[..., AbstractAsyncContextManager[Any]]


@pytest.fixture
def root(tmp_path: Path, engine: Engine) -> Iterator[Path]:
    """A platform's folder. At the end everything it has in the engine is removed."""
    yield tmp_path
    asyncio.run(cleanup.remove_all(platform_id(tmp_path), socket=engine.socket, keep_edge_image=True))


@pytest.fixture
def settings(engine: Engine, traefik: Path) -> Any:
    return props.settings_for(engine_socket=engine.socket, edge_binary=traefik)


@pytest.fixture
def world(root: Path, settings: Any) -> World:
    """Run the service: `async with world() as w`; settings may be changed by name."""

    def run(**changes: Any) -> AbstractAsyncContextManager[Any]:
        swapped = {name: changes.pop(name) for name in ("engine", "edge") if name in changes}
        return props.world(root, settings.model_copy(update=changes), **swapped)

    return run
