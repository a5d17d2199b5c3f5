"""`./kiops test`: pytest's last line is plain, then come the real parts; a missing part fails in CI and is named elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
USES_A_PART = "def test_it(parts):\n    parts.absent('Thing', 'nobody made one')\n"


def test_one_corner_ends_with_the_summary_and_the_parts() -> None:
    argv = [sys.executable, "-m", "kiops", "test", "--no-install", "tests/architecture/test_locks.py", "-k", "agree"]
    done = subprocess.run(argv, cwd=ROOT, env=os.environ | {"CI": ""}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line for line in done.stdout.splitlines() if line.strip()]
    assert re.match(r"1 passed.* in [\d.]+s", lines[-2]), lines
    assert lines[-1] == "no real part was needed"


@pytest.mark.parametrize(("ci", "outcome", "code"), [("true", "1 failed", 1), ("", "1 skipped", 0)])
def test_a_missing_part(tmp_path: Path, ci: str, outcome: str, code: int) -> None:
    (tmp_path / "test_part.py").write_text(USES_A_PART)
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    env = {name: value for name, value in os.environ.items() if name != "KIOPS_TEST_PARTS"} | {"CI": ci}
    done = subprocess.run(argv, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == code and outcome in done.stdout
    assert "Thing: nobody made one" in done.stdout


def test_the_persons_settings_and_data_do_not_reach_the_tests() -> None:
    from kiops import testing

    os.environ["GATEWAY_ADMIN_NAME"] = "somebody"
    try:
        env = testing._environment(Path("/tmp/work"), Path("/tmp/report"))
    finally:
        del os.environ["GATEWAY_ADMIN_NAME"]
    assert "GATEWAY_ADMIN_NAME" not in env
    assert env["KIOPS_DATA"] == "/tmp/work/data"
