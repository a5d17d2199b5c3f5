"""Pictures of every page, in both themes, wide and narrow.

python -m tests.pages.screens OUT [NAME ...]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from tests.pages import browser
from tests.pages.world import Threaded

VIEWS = (("light", 1440), ("dark", 1440), ("light", 390))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("names", nargs="*", help="only pages whose name begins so")
    parser.add_argument("--long", action="store_true", help="also the service with 1,000 runs")
    parser.add_argument("--view", action="append", help="such as dark-1440; all when not given")
    chosen = parser.parse_intermixed_args()
    chosen.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, Threaded(Path(folder), long=chosen.long) as world, browser.chromium() as chromium:
        state = browser.signed_in(chromium, world)
        shown = browser.pages(world, long=chosen.long) | {"sign-in": "/sign-in"}
        for theme, width in VIEWS:
            if chosen.view and f"{theme}-{width}" not in chosen.view:
                continue
            for name, address in shown.items():
                if chosen.names and not any(name.startswith(n) for n in chosen.names):
                    continue
                window = browser.context(chromium, None if name == "sign-in" else state, theme=theme, width=width)
                page = window.new_page()
                problems: list[str] = []
                page.on("console", lambda m, p=problems: p.append(m.text) if m.type in ("error", "warning") else None)
                page.on("pageerror", lambda e, p=problems: p.append(str(e)))
                page.goto(world.url + address, wait_until="load")
                page.evaluate("document.fonts.ready")
                page.wait_for_timeout(150)
                page.screenshot(path=chosen.out / f"{name}-{width}-{theme}.png", full_page=True)
                wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
                if wide > 0:
                    problems.append(f"scrolls sideways by {wide} px")
                for problem in problems:
                    print(f"{name}-{width}-{theme}: {problem}")
                window.close()
            print(f"{theme} {width}: done")


if __name__ == "__main__":
    main()
