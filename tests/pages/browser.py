"""Chromium, signed in, in a theme and a width."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--font-render-hinting=none",
)


@contextmanager
def chromium(path: str = "/usr/bin/chromium") -> Iterator[Any]:
    """The distribution's Chromium, headless, with a profile of its own."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        try:
            yield browser
        finally:
            browser.close()


def signed_in(browser: Any, world: Any) -> dict[str, Any]:
    """The cookies of a session that a one-time link began."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(world.do(world.link()))
    page.wait_for_url("**/dashboard")
    state = context.storage_state()
    context.close()
    return state


def context(
    browser: Any, state: dict[str, Any] | None, *, theme: str = "light", width: int = 1440, height: int = 900, script: bool = True
) -> Any:
    """A window in a theme. Nothing moves, so that two looks at a page are the same."""
    made = browser.new_context(
        storage_state=state,
        color_scheme=theme,
        reduced_motion="reduce",
        viewport={"width": width, "height": height},
        has_touch=width < 820,
        java_script_enabled=script,
        locale="en-GB",
        timezone_id="Europe/Berlin",
    )
    made.set_default_timeout(15_000)
    return made


def pages(world: Any, *, long: bool = False) -> dict[str, str]:
    """Every page worth a look: name -> address."""
    h = world.harbour
    shown = {
        "dashboard": "/dashboard",
        "services": "/services",
        "services-filter-none": "/services?q=nothing-like-it",
        "add-service": "/services/new",
        "source": "/services/shop-api/source",
        "source-new": "/services/ledger/source",
        "build": "/services/shop-api/build",
        "build-running": "/services/catalogue-search/build",
        "log": "/services/shop-api/builds/28",
        "log-failed": "/services/refunds-worker/builds/2",
        "deploy": "/services/shop-api/deploy",
        "deploy-three": "/services/payments/deploy",
        "deploy-moving": "/services/notifier/deploy",
        "deploy-empty": "/services/ledger/deploy",
        "rollback": f"/services/payments/rollback?environment=production&release={world.story.rollback}",
        "runs": "/services/shop-api/runs",
        "run": "/services/shop-api/runs/28",
        "run-blocked": "/services/shop-api/runs/27",
        "run-superseded": "/services/shop-api/runs/26",
        "run-failed": "/services/refunds-worker/runs/2",
        "run-unhealthy": "/services/payments/runs/6",
        "run-rollback": "/services/shop-web/runs/3",
        "run-moving": "/services/notifier/runs/2",
        "runs-empty": "/services/ledger/runs",
        "gate-blocked": "/services/shop-api/runs/27/gate",
        "gate-passed": "/services/shop-api/runs/28/gate",
        "gate-warned": "/services/sample-shop/runs/1/gate",
        "gate-none": "/services/refunds-worker/runs/2/gate",
        "findings": "/services/shop-api/runs/27/findings",
        "findings-failed-area": "/services/shop-api/runs/27/findings?area=iac",
        "finding": f"/services/shop-api/runs/27/findings/{h.finding}",
        "finding-secret": f"/services/shop-api/runs/27/findings/{h.secret}",
        "account": "/account",
        "search": "/search?q=order",
        "search-none": "/search?q=zzzz",
        "not-found": "/services/nothing",
    }
    if long:
        shown |= {
            "dead-letters": "/dead-letters",
            "dead-letter": f"/dead-letters/gateway/{world.letter}",
            "runs-1000": "/services/archive-worker/runs",
            "runs-1000-middle": "/services/archive-worker/runs?before=600",
            "run-1001": "/services/archive-worker/runs/1001",
            "build-1000": "/services/archive-worker/build",
            "findings-1000": "/services/archive-worker/runs/1001/findings",
        }
    return shown
