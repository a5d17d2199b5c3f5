"""./kiops: finds its environment at once, and says what is missing when there is none."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kiops.setup import places

ROOT = Path(__file__).resolve().parents[2]


def launch(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The launcher as a person starts it, with nothing but a PATH and what is given."""
    env = {"PATH": os.environ["PATH"], **environment}
    return subprocess.run([ROOT / "kiops", *arguments], env=env, capture_output=True, text=True, check=False)


def make_environment(home: Path, kind: str) -> None:
    """An environment whose interpreter only tells how it was called."""
    folder = home / "env" / f"{places.key()}-{kind}"
    (folder / "bin").mkdir(parents=True)
    python = folder / "bin" / "python"
    python.write_text(f'#!/bin/sh\necho {kind} "$@"\n')
    python.chmod(0o755)
    (folder / "kiops-ready").write_text(str(ROOT))


@pytest.mark.parametrize(("command", "kind"), [("status", "run"), ("test", "test")])
def test_shell_and_python_name_the_same_environment(tmp_path: Path, command: str, kind: str) -> None:
    make_environment(tmp_path, kind)
    done = launch(command, "-x", KIOPS_HOME=str(tmp_path))
    assert done.stdout == f"{kind} -m kiops {command} -x\n", done.stderr


def test_the_xdg_data_folder_is_used(tmp_path: Path) -> None:
    make_environment(tmp_path / "kiops", "run")
    assert launch("status", XDG_DATA_HOME=str(tmp_path)).stdout == "run -m kiops status\n"


def test_without_an_environment_help_and_doctor_change_nothing(tmp_path: Path) -> None:
    helped = launch("--help", KIOPS_HOME=str(tmp_path / "none"))
    assert helped.returncode == 0 and "./kiops up --demo" in helped.stdout
    looked = launch("doctor", "--json", KIOPS_HOME=str(tmp_path / "none"))
    parts = {row["name"]: row["state"] for row in json.loads(looked.stdout)["parts"]}
    assert looked.returncode == 3 and parts["environment"] == parts["trivy"] == "missing"
    assert not list(tmp_path.iterdir())


def test_no_install_says_what_to_install(tmp_path: Path) -> None:
    """On a machine where apt's programs are out of sight, nothing is done and the command to type is named."""
    bare = tmp_path / "bin"
    bare.mkdir()
    for program in ("sh", "cat", "sha256sum", "cut", "readlink", "dirname", "getent", "id", "env"):
        found = subprocess.run(["sh", "-c", f"command -v {program}"], capture_output=True, text=True, check=True)
        (bare / program).symlink_to(os.path.realpath(found.stdout.strip()))
    (bare / "python3").symlink_to(os.path.realpath(sys.executable))
    code = (
        "from kiops.setup import apt, commands, plan\n"
        "from kiops.setup.screen import NeedsHelp\n"
        "commands.SYSTEM_PATH = ''\n"
        "try:\n    plan.refuse(plan.Plan(packages=apt.missing(apt.SOURCE | apt.ENGINE)))\n"
        "except NeedsHelp as problem:\n    print(problem.code, problem.advice)\n"
    )
    done = subprocess.run(
        [bare / "python3", "-c", code], env={"PATH": str(bare), "PYTHONPATH": str(ROOT / "src"), "HOME": str(tmp_path)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    expected = "setup.packages_missing sudo apt-get install --no-install-recommends git openssh-client docker.io iptables"
    assert expected in done.stdout, done.stderr
