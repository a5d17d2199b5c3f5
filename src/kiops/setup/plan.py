"""What a command needs and what of it is not here: the list a person sees, and doing it, in parallel."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from kiops import __version__
from kiops.setup import apt, commands, engine, places, python, tools
from kiops.setup.screen import NeedsHelp, Screen

ENGINE_COMMANDS = {"up", "demo", "serve", "test"}
SIZES_MB = {"run": 250, "test": 520, "semgrep": 300, "binaries": 210, "edge": 190, "node": 200, "go": 250, "compose": 60}
"""What each takes on disk, uv included, as measured on Linux, x86-64."""


@dataclass
class Plan:
    """What is missing for one command. Empty: everything is here."""

    kind: str = "run"
    packages: list[str] = field(default_factory=list)
    environment: bool = False
    tools: list[str] = field(default_factory=list)
    engine: bool = False

    def __bool__(self) -> bool:
        return bool(self.packages or self.environment or self.tools or self.engine)


def look(command: str, *, heavy: bool = False, small: bool = False) -> Plan:
    """Looks what `command` needs (`heavy`: also for the heavy tests; `small`: neither engine nor tools); changes nothing."""
    plan = Plan(kind="test" if command == "test" else "run")
    large = command in ENGINE_COMMANDS and not small
    plan.environment = not python.ready(places.environment(plan.kind))
    plan.packages += apt.missing(apt.SOURCE)
    if large:
        plan.tools = tools.missing(tests=command == "test", heavy=heavy)
    if (plan.environment or plan.tools) and not python.ready(places.home() / "uv"):
        plan.packages += apt.missing(apt.PYTHON)
    if large:
        answering = engine.find()
        if answering is None or not answering.buildkit:
            if not engine.forbidden():
                plan.packages += apt.missing(apt.ENGINE)
            plan.engine = True
        plan.packages += apt.missing(apt.BASE_IMAGE)
    if command == "test" and large:
        plan.packages += apt.missing(apt.TESTS)
    return plan


def explain(plan: Plan, screen: Screen) -> None:
    """Says what is missing and what will be done about it."""
    screen.say(f"KIOPS {__version__} needs a few things that are not here. It will:")
    if plan.packages:
        screen.say(f"  install with apt      {', '.join(plan.packages)}        (sudo; --no-install to do it yourself)")
    made = []
    if plan.environment:
        made.append("a Python environment with nats-server")
    if {"semgrep", "binaries"} & set(plan.tools):
        made.append("scan engines")
    if "edge" in plan.tools:
        made.append("Traefik")
    made += [tools.LOCKS[lock] for lock in plan.tools if lock in tools.ONLY_TESTS]
    if made:
        size = sum(SIZES_MB[name] for name in plan.tools) + (SIZES_MB[plan.kind] if plan.environment else 0)
        screen.say(f"  make in {places.short(places.home())}   {', '.join(made)}   ({size} MB)")
    if plan.engine:
        screen.say("  start                 the Docker engine (it keeps running when KIOPS ends)")


def refuse(plan: Plan) -> None:
    """With --no-install: says what to install instead of doing it."""
    if plan.packages:
        names = " ".join(plan.packages)
        raise NeedsHelp(
            f"these packages are missing: {', '.join(plan.packages)}",
            advice=f"sudo apt-get install --no-install-recommends {names}\nthen the same command again",
            code="setup.packages_missing",
        )
    if plan.engine:
        engine.ensure(may_start=False)


def carry_out(plan: Plan, screen: Screen, *, may_install: bool) -> engine.Engine | None:
    """Does what the plan says; returns the engine when one was started. NeedsHelp names what went wrong."""
    if not may_install:
        refuse(plan)
    if plan.packages or plan.engine:
        if plan.packages and not apt.available():
            raise NeedsHelp(
                f"these programs are missing, and this system has no apt: {', '.join(plan.packages)}",
                advice="install them with the system's own package manager",
                code="setup.packages_missing",
            )
        commands.acquire_root()
    work = _Work(screen)
    before_python = apt.missing(apt.PYTHON) if "python3-venv" in plan.packages else []
    rest = [name for name in plan.packages if name not in before_python]
    packages_done, python_done = threading.Event(), threading.Event()
    started: list[engine.Engine] = []

    def packages() -> str:
        apt.update()
        apt.install(before_python)
        python_done.set()
        apt.install(rest)
        packages_done.set()
        return ""

    def environment() -> str:
        python.make(places.environment(plan.kind), _lock(plan.kind), members=python.members())
        python.forget_older(places.environment(plan.kind))
        return ""

    def from_wheels(locks: list[str]) -> Callable[[], str]:
        def install() -> str:
            return ", ".join(tools.install(lock) for lock in locks)

        return install

    def docker() -> str:
        started.append(engine.start())
        return str(started[0])

    if plan.packages:
        work.begin("apt packages", packages)
    else:
        python_done.set()
        packages_done.set()
    if plan.environment:
        work.begin("Python environment", environment, after=python_done)
    for name in dict.fromkeys(tools.LOCKS[lock] for lock in plan.tools):
        locks = [lock for lock in plan.tools if tools.LOCKS[lock] == name]
        work.begin(name, from_wheels(locks), after=python_done)
    if plan.engine:
        work.begin("Docker engine", docker, after=packages_done)
    work.finish()
    return started[0] if started else None


def _lock(kind: str):
    return places.CHECKOUT / "requirements" / ("test.txt" if kind == "test" else "all.txt")


class _Work:
    """Steps side by side, each with its line; the first failure ends the waiting of the others."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._threads: list[threading.Thread] = []
        self._failure: list[BaseException] = []

    def begin(self, name: str, do: Callable[[], str], *, after: threading.Event | None = None) -> None:
        """Does it in a thread of its own, once `after` is set; the seconds shown are the work's, not the waiting's."""

        def body() -> None:
            try:
                if after is not None:
                    self._wait(after)
                self._screen.begin(name)
                note = do()
            except _Stopped:
                return
            except BaseException as problem:
                self._screen.failed(name)
                self._failure.append(problem)
            else:
                self._screen.done(name, note)

        thread = threading.Thread(target=body, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _wait(self, event: threading.Event) -> None:
        while not event.wait(0.2):
            if self._failure:
                raise _Stopped

    def finish(self) -> None:
        while any(thread.is_alive() for thread in self._threads):
            for thread in self._threads:
                thread.join(0.1)
            self._screen.tick()
        if self._failure:
            raise self._failure[0]


class _Stopped(Exception):
    """Another step failed, so this one need not go on."""


def prepare(command: str, screen: Screen, *, may_install: bool, heavy: bool = False, small: bool = False) -> Plan:
    """Looks, says, asks, does. Returns the plan that was carried out (empty when nothing was missing)."""
    plan = look(command, heavy=heavy, small=small)
    if plan:
        if not may_install:
            refuse(plan)
        explain(plan, screen)
        if (plan.packages or plan.environment or plan.tools) and not screen.agree("Continue?"):
            raise NeedsHelp("nothing was done", advice="./kiops doctor says what is missing", code="setup.declined")
        carry_out(plan, screen, may_install=may_install)
    return plan


def may_install(arguments: list[str]) -> bool:
    """Whether the system may be changed: not with --no-install or KIOPS_NO_INSTALL."""
    return "--no-install" not in arguments and os.environ.get("KIOPS_NO_INSTALL", "").lower() in ("", "0", "false")


def screen_for(arguments: list[str]) -> Screen:
    """Standard error when the command's output is for a program."""
    return Screen(sys.stderr if "--json" in arguments else sys.stdout)
