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


@pytest.mark.slow
def test_one_corner_ends_with_the_summary_and_the_parts() -> None:
    argv = [sys.executable, "-m", "kiops", "test", "--no-install", "tests/architecture/test_locks.py", "-k", "agree"]
    done = subprocess.run(argv, cwd=ROOT, env=os.environ | {"CI": ""}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line for line in done.stdout.splitlines() if line.strip()]
    assert re.match(r"1 passed.* in [\d.]+s", lines[-2]), lines
    assert lines[-1] == "no real part was needed"


@pytest.mark.slow
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


def test_the_order_can_be_had_again() -> None:
    from kiops import testing

    assert testing.with_seed(["--random", "12", "tests"]) == ["--random=12", "tests"]
    assert testing.with_seed(["tests", "--random"])[1].removeprefix("--random=").isdigit()
    assert testing.with_seed(["--random", "tests"])[1:] == ["tests"]
    assert testing.with_seed(["tests"]) == ["tests"]


def test_a_corner_runs_in_one_process_and_everything_in_two() -> None:
    from kiops import testing

    two = ["-n", "2", "--dist", "loadgroup", "--no-loadscope-reorder"]
    assert testing.processes(["tests/pages"]) == testing.processes(["-x", "tests/pages", "-k", "axe"]) == []
    assert testing.processes(["-n", "0"]) == two[2:]
    if len(os.sched_getaffinity(0)) > 1:
        assert testing.processes([]) == testing.processes(["-k", "axe", "--fast", "--random=1"]) == two


ONE_OF_EACH = """
import pytest
def test_small(): pass
def test_engine(docker_engine): pass
@pytest.mark.slow
def test_long(): pass
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_stored(kind): pass
"""


def names(folder: Path, *arguments: str) -> list[str]:
    argv = [sys.executable, "-m", "pytest", "-q", "--collect-only", "-p", "no:cacheprovider", *arguments, str(folder)]
    done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False)
    return [line.split("::")[1] for line in done.stdout.splitlines() if "::" in line]


@pytest.mark.slow
def test_fast_leaves_out_what_needs_a_large_part(tmp_path: Path) -> None:
    (tmp_path / "test_parts.py").write_text(ONE_OF_EACH)
    assert names(tmp_path, "--fast") == ["test_small", "test_stored[sqlite]"]
    assert names(tmp_path)[0] == "test_engine", "the long row begins first"


@pytest.mark.slow
def test_a_seed_makes_an_order(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / f"test_{name}.py").write_text("".join(f"def test_{name}{n}(): pass\n" for n in range(9)))
    plain = names(tmp_path)
    assert names(tmp_path, "--random=7") == (seven := names(tmp_path, "--random=7"))
    assert sorted(seven) == sorted(plain) and seven != plain
    # A file's tests stay together: what they share is made once.
    assert len([name for name, before in zip(seven[1:], seven, strict=False) if name[5] != before[5]]) == 2
