"""Who may know whom (STYLE: the tree is the architecture), and that importing does nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from kiops import catalogue

ROOT = Path(__file__).resolve().parents[2]


def test_import_contracts_hold() -> None:
    """The contracts in pyproject.toml; a broken one is named with the line that breaks it."""
    lint = Path(sys.executable).parent / "lint-imports"
    done = subprocess.run(
        [lint, "--no-cache", "--config", ROOT / "pyproject.toml"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


# What a module must not do while it is imported, seen by the interpreter's own audit events.
WATCHER = """
import importlib, json, os, pkgutil, sys, threading
package = sys.argv[1]
seen = []
forbidden = {"socket.connect", "socket.bind", "subprocess.Popen", "os.system", "os.mkdir", "os.remove", "os.rename",
             "sqlite3.connect"}
def watch(event, args):
    if not watching:
        return
    if event in forbidden:
        seen.append([current, event, repr(args)[:200]])
    if event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+") and "__pycache__" not in str(args[0]):
        seen.append([current, "open for writing", str(args[0])])
watching, current = False, package
sys.addaudithook(watch)
sys.dont_write_bytecode = True
threads = threading.active_count()
names = [package]
root = importlib.import_module(package)
names += [m.name for m in pkgutil.walk_packages(root.__path__, package + ".")
          if not m.name.endswith("__main__") and ".migrations" not in m.name and ".testing" not in m.name]
watching = True
for current in names:
    importlib.import_module(current)
watching = False
if threading.active_count() != threads:
    seen.append([package, "threads", str([t.name for t in threading.enumerate()])])
print(json.dumps({"modules": len(names), "seen": seen}))
"""


@pytest.mark.slow
@pytest.mark.parametrize("package", ["shared", "kiops", *map(catalogue.package, catalogue.NAMES)])
def test_importing_a_module_does_nothing(package: str, tmp_path: Path) -> None:
    """No file written, no connection, no process, no thread: things are made in wiring, on purpose."""
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", WATCHER, package], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout)
    assert told["seen"] == []
    assert told["modules"] > 3
    assert list(tmp_path.iterdir()) == []
