"""Which tests run, in which order, and which of them share a process.

    --fast           without the tests that need a large part (an engine, a browser, a database server) or are marked slow
    --random=SEED    files in another order, and the tests of a file too; the same seed gives the same order again

With pytest-xdist's `--dist loadgroup` a file stays in one process, so that what it shares is made once; all tests with the
container engine stay in one, and so do those with the browser. pytest 9.2 and xdist 3.8 do not know each other, though
(pytest-xdist#1386): with them each test goes to the process that is free. That is quicker here, for tests with the engine mostly
wait; so no test may rely on being the only one that uses the engine or the browser.
"""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from shared.testing.parts import PARTS, REPORT

LARGE = {
    "docker_engine": "Docker engine", "chromium": "Chromium", "postgres": "PostgreSQL", "semgrep": "Semgrep", "trivy": "Trivy",
    "traefik": "Traefik", "said_by_others": "Node.js",
}  # fmt: skip
"""Fixtures of parts that take long to start or to use, and what a person calls them."""
LEFT_OUT = pytest.StashKey[dict[str, int]]()
"""How many `tests` --fast left out, and how many of them for which part."""


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("kiops")
    group.addoption("--fast", action="store_true", help="without tests that need a large part or are marked slow")
    group.addoption("--random", type=int, metavar="SEED", help="run files and their tests in an order made from this number")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow(why): takes longer than a few seconds; left out by ./kiops test --fast")


def needs(item: pytest.Item) -> list[str]:
    """The large parts of a test, in words; `slow` for one that is marked so."""
    fixtures = getattr(item, "fixturenames", ())
    found = [part for fixture, part in LARGE.items() if fixture in fixtures]
    parameters = getattr(getattr(item, "callspec", None), "params", {})
    if "postgresql" in [value for value in parameters.values() if isinstance(value, str)] and "PostgreSQL" not in found:
        found.append("PostgreSQL")  # its fixture is asked for while the test runs
    if item.get_closest_marker("slow") or item.get_closest_marker("heavy"):
        found.append("slow")
    return found


def place(item: pytest.Item) -> int:
    """Browser tests come last: Playwright's session keeps an event loop running in the thread, in which no other test could run
    one of its own. Heavy ones come late: their parts are built while the others run. Those with the engine are begun first, because
    they are one long row where there are several processes."""
    fixtures = getattr(item, "fixturenames", ())
    if "chromium" in fixtures:
        return 3
    if item.get_closest_marker("heavy"):
        return 2
    return 0 if "docker_engine" in fixtures else 1


def together(item: pytest.Item) -> str:
    """The tests that share a process."""
    fixtures = getattr(item, "fixturenames", ())
    return next((name for name in ("chromium", "docker_engine") if name in fixtures), item.nodeid.split("::", 1)[0])


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--fast"):
        left_out = [item for item in items if needs(item)]
        config.hook.pytest_deselected(items=left_out)
        counts = Counter(part for item in left_out for part in needs(item))
        config.stash[LEFT_OUT] = {"tests": len(left_out), **dict(counts.most_common())}
        items[:] = [item for item in items if not needs(item)]
    seed = config.getoption("--random")
    if seed is not None:
        shuffled(items, seed)
    items.sort(key=place)
    for item in items:
        item.add_marker(pytest.mark.xdist_group(together(item)))


def shuffled(items: list[pytest.Item], seed: int) -> None:
    """Another order, in place. The tests of a file stay together: what they share is made once."""
    dice = random.Random(seed)
    files: dict[str, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.nodeid.split("::", 1)[0], []).append(item)
    names = sorted(files)
    dice.shuffle(names)
    for name in names:
        dice.shuffle(files[name])
    items[:] = [item for name in names for item in files[name]]


# -- what is told at the end -------------------------------------------------------------------------------------------


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Leaves for `./kiops test` what it prints after pytest's own last line; a process of several gives it to the first one."""
    told = {"present": PARTS.present, "missing": PARTS.missing, "left_out": session.config.stash.get(LEFT_OUT, {})}
    if (output := getattr(session.config, "workeroutput", None)) is not None:
        output["kiops"] = json.dumps(told)
    elif path := os.environ.get(REPORT):
        Path(path).write_text(json.dumps(told))


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """One of several processes has ended: its parts are ours."""
    told = json.loads(getattr(node, "workeroutput", {}).get("kiops", "{}"))
    for name, version in told.get("present", {}).items():
        PARTS.took_part(name, version)
    for name, why in told.get("missing", {}).items():
        if name not in PARTS.present:
            PARTS.missing[name] = why
    if told.get("left_out"):
        node.config.stash[LEFT_OUT] = told["left_out"]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Prints it here where pytest was started by hand."""
    if os.environ.get(REPORT):
        return
    if PARTS.present or PARTS.missing:
        for line in PARTS.lines():
            terminalreporter.write_line(line)
    if config.getoption("--fast"):
        terminalreporter.write_line(f"left out by --fast: {config.stash.get(LEFT_OUT, {})}")
