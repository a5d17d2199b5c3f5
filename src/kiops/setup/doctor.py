"""`kiops doctor`: what is here, at which version and checksum, what is missing or wrong, and the command that mends it."""

from __future__ import annotations

import json
import os
import platform
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

from kiops.setup import apt, commands, engine, places, python, tools
from kiops.setup.screen import Screen


@dataclass(frozen=True)
class Row:
    """One thing KIOPS needs. state: ok, missing, wrong, or absent (only tests need it)."""

    name: str
    state: str
    version: str = ""
    sha256: str = ""
    where: str = ""
    advice: str = ""


def report(screen: Screen, root: Path, *, as_json: bool = False) -> int:
    """Prints every row; 0 when nothing KIOPS itself needs is missing or wrong, else 3. `root`: the platform's data folder."""
    found = rows() + stream_rows(root)
    bad = [row for row in found if row.state in ("missing", "wrong")]
    if as_json:
        print(json.dumps({"ok": not bad, "parts": [asdict(row) for row in found]}))
        return 3 if bad else 0
    marks = {"ok": screen.paint("✓", "32"), "absent": "·"}
    for row in found:
        mark = marks.get(row.state, screen.paint("✗", "31"))
        checksum = f"sha256 {row.sha256[:16]}…" if row.sha256 else ""
        told = row.advice if row.state != "ok" else f"{row.version:<10} {row.where}  {checksum}"
        screen.say(f"  {mark} {row.name:<18} {told}".rstrip())
    screen.say()
    by_hand = sum(row.name == "stream" for row in bad)
    mend = f"{len(bad) - by_hand} to mend; `./kiops up` does it by itself, and asks first." if len(bad) > by_hand else ""
    screen.say(mend or ("The stream waits for your decision." if bad else "Nothing is missing."))
    return 3 if bad else 0


def rows() -> list[Row]:
    """Everything, in the order in which it is needed."""
    found = [Row("python", "ok", platform.python_version(), where=os.path.realpath("/proc/self/exe"))]
    found.append(_program("git", ("--version",), "sudo apt-get install git"))
    run, test = (places.environment(kind) for kind in ("run", "test"))
    made = next((e for e in (run, test) if python.ready(e)), None)
    if made:
        found.append(Row("environment", "ok", where=places.short(made)))
    else:
        found.append(Row("environment", "missing", advice="./kiops up"))
    found.append(_nats_server(made))
    found += [_tool(tool) for tool in tools.TOOLS if tool.lock not in tools.ONLY_TESTS]
    found.append(_engine())
    found.append(_room())
    for name in ("chromium", "strace"):
        found.append(_program(name, ("--version",), "only tests need it; `./kiops test` installs it", tests_only=True))
    return found


def stream_rows(root: Path) -> list[Row]:
    """What is wrong with the stream of facts of a KIOPS that runs here, once for each reason; nothing when all is well."""
    from kiops.status import strange_streams

    reasons: dict[str, list[str]] = {}
    for service, why in strange_streams(root).items():
        reasons.setdefault(why, []).append(service)
    return [Row("stream", "wrong", where=", ".join(services), advice=why) for why, services in reasons.items()]


def _program(name: str, ask: tuple[str, ...], advice: str, *, tests_only: bool = False) -> Row:
    path = commands.find(name)
    if path is None:
        return Row(name, "absent" if tests_only else "missing", advice=advice)
    return Row(name, "ok", "" if tests_only else tools.version(Path(path), ask) or "", where=path)


def _nats_server(environment: Path | None) -> Row:
    own = os.environ.get("KIOPS_NATS_SERVER")
    path = Path(own) if own else environment / "bin" / "nats-server" if environment else None
    if path is None or not path.exists():
        return Row("nats-server", "missing", advice="./kiops up")
    seen = tools.sha256(path)
    version = tools.version(path, ("--version",)) or "?"
    if not own and platform.machine() == "x86_64" and seen != tools.NATS_SHA256:
        return Row("nats-server", "wrong", version, seen, str(path), "its checksum is not the known one: do not run it")
    return Row("nats-server", "ok", version, seen, places.short(path))


def _tool(tool: tools.Tool) -> Row:
    if not tool.link.exists():
        return Row(tool.name, "missing", advice="./kiops up")
    program = tool.link.resolve()
    seen = tools.sha256(program)
    version = tools.version(tool.link, tool.ask)
    where = places.short(tool.link)
    if version is None:
        folder = places.tools() / tool.lock
        return Row(tool.name, "wrong", "", seen, where, f"does not run; rm -r {folder} and ./kiops up")
    if tool.sha256 and seen != tool.sha256:
        return Row(tool.name, "wrong", version, seen, where, "its checksum is not the known one: do not run it")
    return Row(tool.name, "ok", version, seen, where)


def _engine() -> Row:
    if engine.forbidden():
        advice = "you may not use it: sudo usermod -aG docker $USER, then sign in again"
        return Row("docker engine", "wrong", advice=advice)
    answering = engine.find()
    if answering is None:
        there = not apt.missing({"docker.io": apt.ENGINE["docker.io"]})
        advice = "not running; `./kiops up` starts it" if there else "./kiops up installs it"
        return Row("docker engine", "missing", advice=advice)
    if not answering.buildkit:
        advice = "without BuildKit: it runs images, but does not build"
        return Row("docker engine", "wrong", answering.version, advice=advice)
    return Row("docker engine", "ok", answering.version, where=f"{answering.socket}, BuildKit")


def _room() -> Row:
    folder = next(path for path in (places.home(), *places.home().parents) if path.exists())
    free = shutil.disk_usage(folder).free // 1_000_000
    if free < 2_000:
        advice = f"only {free} MB free in {places.short(folder)}; builds need at least 2,000 MB"
        return Row("disk", "wrong", advice=advice)
    return Row("disk", "ok", where=f"{free:,} MB free in {places.short(folder)}")
