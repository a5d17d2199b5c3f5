"""Programs of others that read what we write for programs."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from shared.testing.parts import Parts, cache

NODE = Path(__file__).parent / "node"
FILES = ("package.json", "package-lock.json", "read.mjs")


@pytest.fixture(scope="session")
def said_by_others(parts: Parts) -> Callable[[str, Path], tuple[int, str]]:
    """Let the parser or linter of a kind (`asyncapi`, `openapi`) read a file: (exit code, what it says).

    The packages come from the npm registry by version and hash (`node/package-lock.json`), once, into the test cache.
    """
    node, npm = parts.program("node", part="Node.js"), parts.program("npm", part="npm")
    digest = hashlib.sha256(b"".join((NODE / name).read_bytes() for name in FILES)).hexdigest()
    folder = cache() / f"document-readers-{digest[:12]}"
    if not folder.exists():
        _install(npm, folder, parts)
    for name in ("@asyncapi/parser", "@stoplight/spectral-core"):
        version = json.loads((folder / "node_modules" / name / "package.json").read_text())["version"]
        parts.took_part({"@asyncapi/parser": "AsyncAPI parser"}.get(name, "Spectral"), version)

    def read(kind: str, file: Path) -> tuple[int, str]:
        done = subprocess.run([node, folder / "read.mjs", kind, file], capture_output=True, text=True, timeout=120, check=False)
        return done.returncode, done.stdout + done.stderr

    return read


def _install(npm: Path, folder: Path, parts: Parts) -> None:
    """Beside the place, then moved there whole: an interrupted download leaves nothing that looks finished."""
    with tempfile.TemporaryDirectory(dir=cache()) as temporary:
        fresh = Path(temporary) / "fresh"
        fresh.mkdir()
        for name in FILES:
            shutil.copy(NODE / name, fresh)
        # No package may run anything while it is installed, and none is asked to report home.
        argv = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"]
        done = subprocess.run(argv, cwd=fresh, capture_output=True, text=True, timeout=600, check=False)
        if done.returncode:
            parts.absent("AsyncAPI parser", f"npm did not give it: {(done.stderr or done.stdout).strip()[-300:]}")
        try:
            os.rename(fresh, folder)
        except OSError:
            if not folder.exists():  # another run may have been first
                raise
