"""`./kiops test`: everything the tests need is there, pytest runs, what was started is stopped, parts are named.

The platform's own data is never touched: tests get a data folder of their own, and none of the person's settings.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from kiops.setup import engine, places, plan
from kiops.setup.screen import NeedsHelp, Screen, give_up

USAGE = """Usage: ./kiops test [--fast | --all] [--random [SEED]] [--no-install] [PATH ...] [-k WORD] [pytest's other options]

Runs the tests: all of them but those marked heavy, or one corner. Sets up what they need, and says so first.
  --fast           the ones that take a minute together: no engine, no browser, no database server; what was left out is told
  --all            the heavy tests too (they build Go programs once, kept in the test cache)
  --random [SEED]  in another order; the same seed gives the same order again
  --no-install     leave the system as it is; parts that are missing are named at the end
Without a PATH two processes share the work (-n N: as many as you say, -n 0: one, which shows what a test prints).
"""
SYSTEM_CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
STARTED = "KIOPS_ENGINE_STARTED"
"""Set by the setup that ran before us when it was the one that started the Docker engine."""


def main(arguments: list[str]) -> int:
    """Runs the tests; pytest's exit code in our words: 0 passed, 1 not, 2 asked wrongly, 4 pytest itself broke."""
    if "--help" in arguments or "-h" in arguments:
        print(USAGE, end="")
        return 0
    screen = Screen()
    ours = {"--all", "--no-install"}
    heavy, fast, may_install = "--all" in arguments, "--fast" in arguments, plan.may_install(arguments)
    if heavy and fast:
        give_up(screen, NeedsHelp("--fast and --all cannot go together", advice="choose one of them", code="test.options"))
    rest = with_seed([argument for argument in arguments if argument not in ours])
    try:
        done = plan.prepare("test", screen, may_install=may_install, heavy=heavy, small=fast)
    except NeedsHelp as problem:
        if may_install or ("packages" not in problem.code and "engine" not in problem.code):
            give_up(screen, problem)
        screen.error(problem)  # the tests that need it say so
        done = plan.Plan()
    started = done.engine or os.environ.pop(STARTED, "") == "1"
    try:
        return _run(screen, rest, heavy=heavy)
    finally:
        if started:
            engine.stop()


def _run(screen: Screen, rest: list[str], *, heavy: bool) -> int:
    work = Path(tempfile.mkdtemp(prefix="kiops-test-"))
    report = work / "parts.json"
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--basetemp", str(work / "tmp")]
    if not heavy:
        argv += ["-m", "not heavy"]
    argv += [*processes(rest), *(_as_given(argument) for argument in rest)]
    environment = _environment(work, report)
    makers = _make_heavy_parts(environment, work) if heavy else []
    child = subprocess.Popen(argv, cwd=places.CHECKOUT, env=environment)
    try:
        code = _wait(child)
        _name_parts(screen, report)
        for argument in rest:
            if argument.startswith("--random="):
                screen.say(f"the order was made from {argument[9:]}: --random {argument[9:]} gives it again")
    finally:
        for maker in makers:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(maker.pid, signal.SIGTERM)
            maker.wait()
        shutil.rmtree(work, ignore_errors=True)
    return {0: 0, 1: 1, 2: 130, 4: 2, 5: 2}.get(code, 4)


def with_seed(arguments: list[str]) -> list[str]:
    """`--random SEED` and a bare `--random` as pytest's `--random=SEED`; a bare one gets a seed of today's."""
    found = list(arguments)
    if "--random" in found:
        at = found.index("--random")
        given = found[at + 1] if at + 1 < len(found) and found[at + 1].isdigit() else ""
        found[at : at + (2 if given else 1)] = [f"--random={given or random.SystemRandom().randrange(10_000)}"]
    return found


def processes(arguments: list[str]) -> list[str]:
    """pytest's options for how many processes share the work: two where all tests run, one where a person looks at a corner."""
    # The order of the files is ours: the long row of tests with the engine begins first.
    spread = ["--dist", "loadgroup", "--no-loadscope-reorder"]
    if any(argument.startswith(("-n", "--numprocesses")) for argument in arguments):
        return spread
    values = {arguments[at + 1] for at, argument in enumerate(arguments[:-1]) if argument in ("-k", "-m", "-p", "-o")}
    corner = any(not argument.startswith("-") and argument not in values for argument in arguments)
    alone = corner or "--pdb" in arguments or len(os.sched_getaffinity(0)) < 2
    return [] if alone else ["-n", "2", *spread]


def _make_heavy_parts(environment: dict[str, str], work: Path) -> list[subprocess.Popen[bytes]]:
    """Builds what heavy tests need while the others run, at the lowest priority: every script `*_part.py` beside tests.

    The fixture that needs the part waits for it, and tells what went wrong.
    """
    scripts = [*places.CHECKOUT.glob("services/*/tests/*_part.py"), *places.CHECKOUT.glob("tests/*/*_part.py")]
    with (work / "makers.log").open("wb") as log:
        return [
            subprocess.Popen(
                ["nice", "-n", "19", sys.executable, str(script)], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env=environment, start_new_session=True,
            )
            for script in scripts
        ]  # fmt: skip


def _as_given(argument: str) -> str:
    """A path means the caller's folder, also when that is not the checkout's root."""
    path, *test = argument.split("::", 1)
    if not argument.startswith("-") and os.path.exists(path):
        return "::".join([os.path.abspath(path), *test])
    return argument


def _wait(child: subprocess.Popen[bytes]) -> int:
    """Ctrl-C goes to pytest too (same terminal); a SIGTERM to us is passed on. Either way its fixtures clean up."""
    signal.signal(signal.SIGTERM, lambda *_: child.send_signal(signal.SIGINT))
    while True:
        try:
            return child.wait()
        except KeyboardInterrupt:
            continue


def _environment(work: Path, report: Path) -> dict[str, str]:
    prefixes = ("KIOPS_", *(f"{name}_" for name in (
        "GATEWAY", "WEBHOOK", "BUILDER", "SCANNER", "GATE", "DEPLOYER", "OPERATOR_PROXY",
    )))  # fmt: skip
    env = {name: value for name, value in os.environ.items() if not name.startswith(prefixes)}
    env["KIOPS_HOME"] = str(places.home())
    env["KIOPS_DATA"] = str(work / "data")
    env["KIOPS_TEST_CACHE"] = str(places.cache())
    env["KIOPS_TEST_PARTS"] = str(report)
    if os.path.exists(SYSTEM_CERTIFICATES):
        env.setdefault("NODE_EXTRA_CA_CERTS", SYSTEM_CERTIFICATES)  # npm trusts what the system trusts
    env["PATH"] = ":".join([
        str(Path(sys.executable).parent), str(places.tools() / "bin"), env.get("PATH", ""),
        "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    ])  # fmt: skip
    return env


def _name_parts(screen: Screen, report: Path) -> None:
    try:
        parts = json.loads(report.read_text())
    except (OSError, ValueError):
        return
    screen.say()
    screen.say("real parts that took part" if parts["present"] else "no real part was needed")
    if parts["present"]:
        for name, version in sorted(parts["present"].items()):
            screen.say(f"  {screen.paint('✓', '32')} {name:<18} {version}")
    if parts["missing"]:
        screen.say("real parts that did not")
        for name, why in sorted(parts["missing"].items()):
            screen.say(f"  {screen.paint('✗', '31')} {name:<18} {why}")
    if left_out := parts["left_out"]:
        why = ", ".join(f"{part} {count}" for part, count in left_out.items() if part != "tests")
        screen.say(f"--fast left out {left_out['tests']} tests ({why}); ./kiops test runs them")
