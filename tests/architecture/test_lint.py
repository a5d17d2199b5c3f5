"""The linter and the formatter have nothing to say: one way of writing, which nobody has to discuss."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("asked", [("check",), ("format", "--check")], ids=" ".join)
def test_ruff_has_nothing_to_say(asked: tuple[str, ...]) -> None:
    ruff = Path(sys.executable).parent / "ruff"
    done = subprocess.run([ruff, *asked, "--no-cache", "."], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout[-4000:]}{done.stderr[-1000:]}\nmend: ruff check --fix . && ruff format ."
