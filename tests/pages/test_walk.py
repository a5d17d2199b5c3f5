"""What a person does on the pages: by keyboard, by mouse, without scripts, while things happen."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

from shared.facts.builder import BuildSucceeded
from shared.facts.deployer import DeployProgressed
from shared.facts.webhook import RunFinished

from tests.pages.story import image_of
from tests.pages.world import PASSWORD, World

Window = Callable[..., Any]


def focused(page: Any) -> str:
    return page.evaluate("document.activeElement.textContent.trim()")


# ---- in and out ------------------------------------------------------------------------------------------------------
def test_sign_in_says_what_is_wrong_and_goes_where_one_wanted(window: Window) -> None:
    page = window("/services/shop-api/runs/27/gate", nobody=True, known=("401",))
    assert "/sign-in?go_to=" in page.url
    page.get_by_label("Name").fill("ana")
    page.get_by_label("Password").fill("not this one")
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_selector(".why")
    assert "do not fit together" in page.locator(".why").inner_text()
    assert page.get_by_label("Name").input_value() == "ana"
    assert page.get_by_label("Password").input_value() == ""
    page.get_by_label("Password").fill(PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url("**/services/shop-api/runs/27/gate")
    assert "may not go to production" in page.locator("h1").inner_text()
    page.get_by_label("account of").click()
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url("**/sign-in")


def test_a_one_time_link_works_once(world: World, window: Window) -> None:
    address = world.do(world.link()).removeprefix(world.url)
    page = window(address, nobody=True, known=("401",))
    assert page.url.endswith("/dashboard")
    page = window(address, nobody=True, known=("401",))
    assert "was used already" in page.locator("[role=alert]").inner_text()


def test_a_form_from_elsewhere_changes_nothing(window: Window) -> None:
    page = window("/services/catalogue-search/build", known=("403",))
    page.evaluate("document.querySelector('form.start input[name=csrf]').value = 'x'")
    page.get_by_role("button", name="Start the build").click()
    page.wait_for_selector("text=access.csrf")


# ---- by keyboard -----------------------------------------------------------------------------------------------------
def test_the_keyboard_walks_the_product(window: Window) -> None:
    page = window("/dashboard")
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "search"
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    first = focused(page)
    page.keyboard.press("j")
    assert focused(page) != first
    page.keyboard.press("k")
    assert focused(page) == first
    page.keyboard.press("g")
    page.keyboard.press("s")
    page.wait_for_url("**/services")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"/services/[a-z-]+/(runs|source)"))
    for key, tab in (("1", "source"), ("2", "build"), ("3", "deploy"), ("4", "runs")):
        page.keyboard.press(key)
        page.wait_for_url(f"**/{tab}")
    page.keyboard.press("g")
    page.keyboard.press("d")
    page.wait_for_url("**/dashboard")
    page.keyboard.press("?")
    page.wait_for_selector("dialog#keys[open]")
    page.keyboard.press("Escape")
    assert page.locator("dialog#keys[open]").count() == 0


def test_a_row_opens_and_has_an_address(window: Window) -> None:
    page = window("/services/shop-api/runs")
    page.locator("#run-27 a.go").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("#detail")
    assert page.url.endswith("/runs/27")
    assert page.locator("#run-27 a.go").get_attribute("aria-expanded") == "true"
    assert focused(page) == "#27", "the focus stays on the row"
    assert "Blocked by the gate" in page.locator("#detail h2").inner_text()
    page.go_back()
    page.wait_for_url("**/runs")
    page.wait_for_selector("#detail", state="detached")


def test_the_timeline_adds_up_and_speaks(window: Window) -> None:
    page = window("/services/shop-api/runs/28")
    bars = page.locator(".tl-track[role=img]").all()
    assert len(bars) >= 8
    for bar in bars:
        assert len(bar.get_attribute("aria-label") or "") > 6
    say = page.locator("#detail h2").inner_text()
    assert re.match(r"Deployed 1 min \d\d s after the push, [\d.]+ s slower than the median of 20\.", say), say
    assert "waited 15.0 s longer for a build slot" in page.locator("#detail p").first.inner_text()


# ---- the way back ----------------------------------------------------------------------------------------------------
def test_the_preview_opens_as_a_dialog_and_gives_the_focus_back(window: Window) -> None:
    page = window("/services/payments/deploy")
    opener = page.get_by_role("link", name="Back to").last
    opener.focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("dialog[open] #rollback")
    assert focused(page).startswith("Roll production of payments back to")
    said = page.locator("dialog .diff").inner_text()
    assert "READ_TIMEOUT=5s" in said and "2 come back, 1 stays" in said
    page.keyboard.press("Escape")
    assert page.locator("dialog[open]").count() == 0
    assert page.evaluate("document.activeElement.href").endswith(opener.get_attribute("href"))


def test_the_preview_is_a_page_without_scripts(window: Window) -> None:
    page = window("/services/payments/deploy", script=False)
    page.get_by_role("link", name="Back to").last.click()
    page.wait_for_url("**/rollback?**")
    assert page.get_by_role("button", name=re.compile("^Roll back to")).is_visible()


def test_pages_work_without_scripts(window: Window) -> None:
    page = window("/services/shop-api/runs", script=False)
    page.locator("#run-27 a.go").click()
    page.wait_for_url("**/runs/27")
    assert page.locator("#detail").is_visible()
    page.get_by_role("link", name="Build log").click()
    page.wait_for_url("**/builds/27")
    assert page.locator("#L1").count() == 1


# ---- add a service ---------------------------------------------------------------------------------------------------
def test_adding_keeps_what_was_typed_and_says_what_to_enter(window: Window) -> None:
    page = window("/services/new", known=("422", "409"))
    page.get_by_label("Repository").fill("https://gitlab.harbour.example/harbour/till.git")
    page.get_by_role("textbox", name="Name", exact=True).fill("Till Service")
    page.get_by_label("Port in the container").fill("9000")
    page.get_by_role("button", name="Add service").click()
    page.wait_for_selector(".field.wrong")
    wrong = page.locator(".field.wrong")
    assert wrong.count() == 1 and wrong.locator("input").get_attribute("name") == "name"
    assert wrong.locator("input").get_attribute("aria-invalid") == "true"
    assert page.get_by_label("Port in the container").input_value() == "9000"
    assert page.get_by_label("Repository").input_value().endswith("till.git")


def test_the_test_of_a_connection_fills_the_branches(window: Window) -> None:
    page = window("/services/new")
    page.get_by_label("Repository").fill("https://gitlab.harbour.example/harbour/till.git")
    page.get_by_role("button", name="Test connection").click()
    page.wait_for_selector("select[name=branch]")
    assert page.locator("select[name=branch] option").all_inner_texts() == ["main", "release/5", "cursor-paging"]
    assert "3 branches, 1 tag" in page.locator("#connection").inner_text()
    assert page.url.endswith("/services/new")
    page.get_by_label("Repository").fill("https://gitlab.harbour.example/harbour/gone.git")
    page.get_by_role("button", name="Test connection").click()
    page.wait_for_selector("text=source.not_found")
    assert page.get_by_label("Repository").input_value().endswith("gone.git")


def test_a_secret_is_shown_when_asked_for(window: Window) -> None:
    page = window("/services/shop-api/source")
    assert "kps_" not in page.content()
    page.get_by_role("button", name="Show the secret").click()
    page.wait_for_selector(".secret input[readonly]")
    assert page.get_by_label("Secret", exact=True).input_value().startswith("kps_")


def test_copying_says_so(window: Window) -> None:
    page = window("/services/shop-api/runs")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    button = page.locator("h1 ~ .sub .copy").first
    button.click()
    whole = button.get_attribute("data-copy") or ""
    assert len(whole) == 40
    page.wait_for_function(f"() => document.getElementById('spoken').textContent === 'Copied {whole}'")
    assert page.evaluate("navigator.clipboard.readText()") == whole


def test_the_theme_is_kept(window: Window) -> None:
    page = window("/account")
    page.get_by_role("button", name="Dark").last.click()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.reload()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert page.locator("main [data-theme-set=dark]").get_attribute("aria-pressed") == "true"


# ---- the log ---------------------------------------------------------------------------------------------------------
def test_the_log_is_searched_by_keyboard(window: Window) -> None:
    page = window("/services/refunds-worker/builds/2")
    assert page.locator("details[data-stage=build]").get_attribute("open") is not None
    assert page.locator("details[data-stage=clone]").get_attribute("open") is None
    page.keyboard.press("/")
    page.keyboard.type("dependency")
    page.wait_for_selector("mark.now:text-is('dependency')")
    assert page.locator("[data-log-hits]").inner_text() == "1 of 2"
    page.keyboard.press("Escape")
    page.keyboard.press("n")
    assert page.locator("[data-log-hits]").inner_text() == "2 of 2"
    page.keyboard.press("Shift+N")
    assert page.locator("[data-log-hits]").inner_text() == "1 of 2"
    page.keyboard.press("e")
    assert re.search(r"#L\d+$", page.url)
    assert page.locator("li.at.err").count() == 1
    assert page.locator("li.at").is_visible()


def test_a_line_has_an_address(window: Window) -> None:
    page = window("/services/refunds-worker/builds/2#L2")
    page.wait_for_selector("#L2.at")
    assert page.locator("#L2").is_visible(), "its stage was opened"


def test_a_log_downloads(world: World, window: Window) -> None:
    page = window("/services/refunds-worker/builds/2")
    with page.expect_download() as coming:
        page.get_by_role("link", name="Download").click()
    text = open(coming.value.path()).read()
    assert "compileall" in text and coming.value.suggested_filename == "refunds-worker-2.log"


# ---- while things happen ---------------------------------------------------------------------------------------------
def test_a_live_log_grows_and_follows(world: World, window: Window) -> None:
    page = window("/services/catalogue-search/builds/5")
    world.do(world.say([[0, "clone", 1, "$ git fetch"], [300, "build", 1, "#1 [build 1/3] FROM python"]], 0))
    page.wait_for_selector("#L2")
    lines = [[400 + i, "build", 1, f"line {i}"] for i in range(120)]
    world.do(world.say(lines, 2, percent=43))
    page.wait_for_selector("#L122")
    assert page.locator("li[id^=L]").count() == 122
    page.wait_for_function("() => scrollY + innerHeight >= document.documentElement.scrollHeight - 4")
    page.wait_for_function("() => document.querySelector('.stages [data-stage=build] .meta').textContent.includes('43 %')")
    page.keyboard.press("f")
    assert page.locator("[data-log-follow]").get_attribute("aria-pressed") == "false"
    # Opened again, it loses nothing and doubles nothing.
    again = window("/services/catalogue-search/builds/5")
    again.wait_for_selector("#L122")
    assert again.locator("li[id^=L]").count() == 122


def test_a_page_learns_what_happens(world: World, window: Window) -> None:
    """Facts on the real bus: the dashboard and an opened run change by themselves, the focus stays, the row is tinted."""
    board = window("/dashboard")
    board.wait_for_function("() => !document.getElementById('live-dot').classList.contains('off')")
    board.locator("#svc-catalogue-search a.go").focus()
    opened = window("/services/notifier/runs/2")
    before = opened.locator("#detail").inner_text()
    notifier = world.harbour.services["notifier"]
    run = world.story.run_moving
    fact = DeployProgressed(**run, step=3, steps=4, text="Switching to the new one")
    world.do(world.told(fact))
    opened.wait_for_function("() => document.querySelector('#detail').textContent.includes('Switching to the new one')")
    assert "Switching" not in before and notifier.name in opened.title()
    search = world.story.run_building
    world.do(
        world.told(
            BuildSucceeded(
                **search, image="catalogue-search:4", image_id=image_of("4"), version="4.0.0", version_by_hand=True, size_bytes=1,
                duration_ms=1000, stages_ms={"clone": 400, "build": 600},
            )
        )
    )  # fmt: skip
    board.wait_for_function("() => !document.querySelector('#svc-catalogue-search .a-state').textContent.includes('Building')")
    assert focused(board) == "catalogue-search"


def test_a_page_learns_what_came_before_its_stream(world: World, window: Window) -> None:
    """The page was made, then a fact came, then its stream opened: only the stream's first word tells the page of it."""
    held: list[Any] = []

    def hold(route: Any) -> None:
        held.append(route)

    board = window("/dashboard", prepare=lambda page: page.route("**/live", hold))
    while not held:
        board.wait_for_timeout(20)
    fields = {name: world.story.run_building[name] for name in ("organisation", "service", "run", "number")}
    world.do(world.told(RunFinished(**fields, outcome="failed", step="sca", code="scan.engine_failed", reason="Trivy stopped")))
    board.wait_for_timeout(500)
    assert "Trivy stopped" not in board.locator("#svc-catalogue-search .a-state").inner_text()
    held[0].continue_()
    board.wait_for_function("() => document.querySelector('#svc-catalogue-search .a-state').textContent.includes('Trivy stopped')")


def test_a_page_is_live_whatever_order_its_scripts_come_in(window: Window) -> None:
    """A slow network: the extension that follows the stream arrives a second after the library that it extends."""

    def hold(route: Any) -> None:
        time.sleep(1)
        route.continue_()

    page = window("/dashboard", prepare=lambda page: page.route("**/hx-sse.min.js", hold))
    page.wait_for_function("() => htmx.find('#stream')._htmx?.sse?.reader")


def test_a_stream_that_could_not_begin_is_tried_again(window: Window) -> None:
    refused: list[Any] = []

    def refuse(route: Any) -> None:
        refused.append(route)
        if len(refused) == 1:
            route.abort()
        elif len(refused) == 2:
            route.fulfill(status=503, content_type="application/problem+json", body="{}")
        else:
            route.continue_()

    page = window("/dashboard", prepare=lambda page: page.route("**/live", refuse), known=("net::", "Failed to fetch", "503"))
    page.wait_for_selector("#stale:not([hidden])")
    assert page.locator("#live-dot").inner_text() == "Not live"
    page.wait_for_selector("#stale", state="hidden", timeout=30_000)
    assert len(refused) == 3


def test_a_page_says_when_it_is_not_live(window: Window) -> None:
    page = window("/dashboard", known=("ERR_INTERNET_DISCONNECTED", "net::", "NetworkError", "network error", "Failed to fetch"))
    page.wait_for_function("() => htmx.find('#stream')._htmx?.sse?.reader")
    page.context.set_offline(True)
    page.evaluate("htmx.find('#stream')._htmx.sse.reader.cancel()")
    page.wait_for_selector("#stale:not([hidden])", timeout=20_000)
    assert page.locator("#live-dot").inner_text() == "Not live"
    page.context.set_offline(False)
    page.wait_for_selector("#stale", state="hidden", timeout=30_000)


def test_times_tell_the_absolute_one_in_the_readers_zone(window: Window) -> None:
    page = window("/services/shop-api/runs")
    time_element = page.locator("td time").first
    assert re.match(r"\d+ (s|min|h|d) ago", time_element.inner_text())
    assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d (CET|CEST|GMT\+\d)", time_element.get_attribute("title") or "")


# ---- a thousand rows -------------------------------------------------------------------------------------------------
def test_a_thousand_runs_page_well(world: World, window: Window) -> None:
    began = time.monotonic()
    page = window("/services/archive-worker/runs")
    assert time.monotonic() - began < 3
    assert page.locator("tbody tr[data-row]").count() == 30
    assert "Runs 1 to 30 of 1,001" in page.locator(".pager").inner_text()
    page.get_by_role("link", name="Older").click()
    page.wait_for_url("**before=972")
    assert "Runs 31 to 60 of 1,001" in page.locator(".pager").inner_text()
    page.get_by_role("link", name="Newer").click()
    page.wait_for_url("**/runs")
    page.get_by_label("Branch").select_option("b-2")
    page.wait_for_url("**branch=b-2")
    assert page.locator("tbody tr[data-row]").count() == 30
    page.goto(world.url + "/services/archive-worker/runs/3")
    assert page.locator("#run-3.open").count() == 1, "a link to an old run shows the page that it is on"


def test_a_thousand_findings_page_well(window: Window) -> None:
    page = window("/services/archive-worker/runs/1001/findings")
    assert page.locator("tbody tr[data-row]").count() == 100
    page.get_by_role("link", name="Older").click()
    page.wait_for_url("**page=2")
    page.get_by_role("link", name=re.compile("^Critical")).click()
    page.wait_for_url("**severity=critical")
    assert "Critical" in page.locator("tbody tr").first.inner_text()


def test_nothing_is_fetched_from_elsewhere(world: World, window: Window) -> None:
    page = window("/dashboard")
    asked: list[str] = []
    page.on("request", lambda r: asked.append(r.url))
    for address in ("/services", "/services/shop-api/runs/28", "/services/refunds-worker/builds/2"):
        page.goto(world.url + address)
    assert asked and all(url.startswith((world.url, "data:")) for url in asked), asked


def test_a_message_that_could_not_be_handled_is_shown_tried_again_and_let_be(window: Window, world: World) -> None:
    page = window("/dashboard")
    page.get_by_role("button", name="account of").click()
    page.get_by_role("link", name="Messages not handled").click()
    page.get_by_role("link", name="push.received").click()
    page.wait_for_url("**/dead-letters/gateway/poison-*")
    assert '"run": "run_1"' in page.locator("pre").inner_text()
    page.get_by_role("button", name="Try again: push.received of gateway").click()
    page.wait_for_url("**/dead-letters")
    assert "tried again" in page.locator(".said").inner_text()
    letter = page.get_by_role("button", name="Let it be: push.received of gateway")
    deadline = time.monotonic() + 30
    while not letter.count() and time.monotonic() < deadline:  # it fails again, and comes back
        page.wait_for_timeout(200)
        page.reload()
    letter.click()
    page.get_by_role("heading", name="Nothing is set aside").wait_for()
    world.do(world.poison())
