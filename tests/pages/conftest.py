"""One gateway, one Chromium and one session for all browser tests."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from shared.testing.parts import Chromium, Parts, cache

from tests.pages import browser
from tests.pages.world import Threaded, World

ROOT = Path(__file__).resolve().parents[2]


def vendor() -> Any:
    """The vendoring script as a module."""
    spec = importlib.util.spec_from_file_location("kiops_vendor", ROOT / "tools" / "vendor.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The harbour, with a service of 1,000 runs."""
    with Threaded(tmp_path_factory.mktemp("harbour"), long=True) as here:
        yield here


@pytest.fixture(scope="session")
def chrome(chromium: Chromium) -> Iterator[Any]:
    with browser.chromium(chromium.path) as opened:
        yield opened


@pytest.fixture(scope="session")
def session(chrome: Any, world: World) -> dict[str, Any]:
    """The cookies of a signed-in person."""
    return browser.signed_in(chrome, world)


@pytest.fixture
def window(chrome: Any, session: dict[str, Any], world: World) -> Iterator[Callable[..., Any]]:
    """Open a page of the world: a function of address and options. What the console says against it fails the test."""
    opened: list[tuple[Any, list[str]]] = []

    def open_page(
        address: str,
        *,
        known: tuple[str, ...] = (),
        nobody: bool = False,
        script: bool = True,
        prepare: Callable[[Any], object] = lambda page: None,
        **options: Any,
    ) -> Any:
        context = browser.context(chrome, None if nobody else session, script=script, **options)
        page = context.new_page()
        prepare(page)
        said: list[str] = []
        page.on(
            "console",
            lambda m: said.append(m.text) if m.type in ("error", "warning") and not any(k in m.text for k in known) else None,
        )
        page.on("pageerror", lambda e: said.append(str(e)))
        page.goto(world.url + address)
        opened.append((context, said))
        return page

    yield open_page
    problems = [text for _, said in opened for text in said]
    for context, _ in opened:
        context.close()
    assert not problems, problems


@pytest.fixture(scope="session")
def axe(parts: Parts) -> str:
    """axe-core's program text, from the npm registry by version and hash, kept in the test cache."""
    tool = vendor()
    package = next(p for p in tool.manifest()["tests"] if p["name"] == "axe-core")
    try:
        file = tool.archive_file("axe-core", "axe.min.js", cache())
    except (OSError, tool.subprocess.CalledProcessError) as error:
        parts.absent("axe-core", f"npm did not give it: {error}")
    parts.took_part("axe-core", package["version"])
    return file.read_text()
