"""Every page: axe finds nothing in both themes and narrow, nothing scrolls sideways at 360 px, the console stays empty."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.pages import browser
from tests.pages.world import World

NAMES = (
    "dashboard", "services", "services-filter-none", "add-service", "source", "source-new", "build", "build-running", "log",
    "log-failed", "deploy", "deploy-three", "deploy-moving", "deploy-empty", "rollback", "runs", "run", "run-blocked",
    "run-superseded", "run-failed", "run-unhealthy", "run-rollback", "run-moving", "runs-empty", "gate-blocked", "gate-passed",
    "gate-warned", "gate-none", "findings", "findings-failed-area", "finding", "finding-secret", "account", "search",
    "search-none", "not-found", "runs-1000", "runs-1000-middle", "run-1001", "build-1000", "findings-1000", "dead-letters",
    "dead-letter", "sign-in",
)  # fmt: skip


def violations(page: Any) -> list[str]:
    """What axe says, one line per rule, with the first element that breaks it."""
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [f"{v['id']}: {v['help']}: {v['nodes'][0]['html'][:160]}" for v in found["violations"]]


def sideways(page: Any) -> int:
    """By how many pixels the page scrolls sideways."""
    return page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")


@pytest.mark.slow
def test_the_list_names_every_page(world: World) -> None:
    assert set(NAMES) == set(browser.pages(world, long=True)) | {"sign-in"}


@pytest.mark.parametrize("name", NAMES)
def test_a_page(name: str, world: World, window: Callable[..., Any], axe: str) -> None:
    address = (browser.pages(world, long=True) | {"sign-in": "/sign-in"})[name]
    page = window(address, nobody=name == "sign-in", known=("404 (Not Found)",) if name == "not-found" else ())
    page.evaluate("document.fonts.ready")
    assert page.title().endswith("· KIOPS")
    assert page.locator("h1").count() >= 1
    page.evaluate(axe)
    assert violations(page) == [], "light, 1440"
    page.emulate_media(color_scheme="dark")
    page.wait_for_function("() => document.documentElement.dataset.theme === 'dark'")
    assert violations(page) == [], "dark, 1440"
    page.set_viewport_size({"width": 390, "height": 844})
    assert violations(page) == [], "dark, 390"
    page.emulate_media(color_scheme="light")
    page.set_viewport_size({"width": 360, "height": 780})
    assert sideways(page) == 0, "scrolls sideways at 360"
    page.set_viewport_size({"width": 1024, "height": 800})
    assert sideways(page) == 0, "scrolls sideways at 1024"


def test_an_error_of_ours_is_a_page(world: World, window: Callable[..., Any], axe: str) -> None:
    """The read model is away: the page says what goes on anyway, with a code, and a way to try again."""

    database = world.platform.services["gateway"].service.loop_database.now
    reader = database._reader

    class Away:
        """An engine whose disk does not answer."""

        def connect(self) -> Any:
            raise OSError("the disk does not answer")

    async def swap(engine: Any) -> None:
        database._reader = engine

    world.do(swap(Away()))
    try:
        page = window("/services/shop-api/runs", known=("503",))
        assert "cannot be shown just now" in page.locator("h1").inner_text()
        assert "database.away" in page.locator("main").inner_text()
        page.evaluate(axe)
        assert violations(page) == []
    finally:
        world.do(swap(reader))
    page.get_by_role("link", name="Try again").click()
    page.wait_for_selector("table.fold-runs")


def test_dialogs_are_clean_too(window: Callable[..., Any], axe: str) -> None:
    page = window("/services/payments/deploy")
    page.evaluate(axe)
    page.get_by_role("link", name="Back to").last.click()
    page.wait_for_selector("dialog[open] #rollback")
    assert violations(page) == []
    page.emulate_media(color_scheme="dark")
    page.wait_for_function("() => document.documentElement.dataset.theme === 'dark'")
    assert violations(page) == []
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    page.wait_for_selector("dialog#keys[open]")
    assert violations(page) == []
