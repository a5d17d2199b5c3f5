"""The demo's Git repository: a bare one with a hook that tells KIOPS, and a working copy beside it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from kiops.sample import files as sample

BRANCH = "main"
AUTHOR = ("Sample Developer", "developer@shop.example")


class RepositoryError(Exception):
    """Git refused; says what it said."""


@dataclass(frozen=True)
class Pushed:
    """A push as the hook saw it: the commit, what KIOPS answered, and in how many milliseconds."""

    commit: str
    run: str
    number: int
    took_ms: float


class Repository:
    """`shop.git` with its hook, and the working copy `shop`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bare, self.work = folder / "shop.git", folder / "shop"

    def prepare(self) -> None:
        """Make both anew where they are missing; a working copy from before is emptied."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if not (self.bare / "HEAD").exists():
            self._git(self.folder, "init", "--quiet", "--bare", f"--initial-branch={BRANCH}", str(self.bare))
        shutil.rmtree(self.work, ignore_errors=True)
        self._git(self.folder, "init", "--quiet", f"--initial-branch={BRANCH}", str(self.work))
        self._git(self.work, "remote", "add", "origin", str(self.bare))

    def install_hook(self, url: str, secret: str) -> None:
        """Put the hook into the bare repository, and its secret beside it where only we can read it."""
        hooks = self.bare / "hooks"
        hooks.mkdir(exist_ok=True)
        hook = hooks / "post-receive"
        hook.write_text(files("kiops.demo").joinpath("hook.py").read_text(encoding="utf-8"), encoding="utf-8")
        hook.chmod(0o755)
        settings = hooks / "kiops-webhook.json"
        settings.unlink(missing_ok=True)
        with open(os.open(settings, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump({"url": url, "secret": secret}, file)

    def commit(self, version: sample.Version, *, base_image: str, wheel: Path | None, amend: bool = False) -> str:
        """Write a version and commit it (or amend the last commit with it). Returns the commit."""
        sample.write(version, self.work, base_image=base_image, wheel=wheel)
        self._git(self.work, "add", "--all")
        self._git(self.work, "commit", "--quiet", "-m", version.message, *(["--amend"] if amend else []))
        return self._git(self.work, "rev-parse", "HEAD").strip()

    def files(self) -> int:
        """How many files the last commit has."""
        return len(self._git(self.work, "ls-tree", "-r", "--name-only", "HEAD").splitlines())

    def line_of_key(self) -> str:
        """Where the planted key stands: path:line."""
        found = self._git(self.work, "grep", "-n", "-E", "AKIA[A-Z2-7]{16}", "--", "*.py")
        path, line, _ = found.splitlines()[0].split(":", 2)
        return f"{path}:{line}"

    def push(self, commit: str, *, force: bool = False) -> Pushed:
        """Push the working copy; the hook tells KIOPS. Raises RepositoryError when no run came of it."""
        last = self.bare / "hooks" / "kiops-webhook-last.json"
        last.unlink(missing_ok=True)
        words = ["push", "--quiet", *(["--force"] if force else []), "origin", f"HEAD:refs/heads/{BRANCH}"]
        self._git(self.work, *words)
        told: list[dict[str, Any]] = json.loads(last.read_text()) if last.exists() else []
        answer = told[0]["answer"] if told else {}
        run = answer.get("run")
        if not run:
            why = answer.get("reason", {}).get("text") or answer.get("detail") or "the hook did not run"
            raise RepositoryError(f"the push made no run: {why}")
        return Pushed(commit, run["id"], run["number"], told[0]["took_ms"])

    def _git(self, folder: Path, *words: str) -> str:
        environment = {
            "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
            "HOME": str(self.folder),
            "LC_ALL": "C.UTF-8",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_AUTHOR_NAME": AUTHOR[0],
            "GIT_AUTHOR_EMAIL": AUTHOR[1],
            "GIT_COMMITTER_NAME": AUTHOR[0],
            "GIT_COMMITTER_EMAIL": AUTHOR[1],
            "KIOPS_PUSHER": AUTHOR[0],
        }
        done = subprocess.run(
            ["git", *words], cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        if done.returncode:
            raise RepositoryError(f"git {words[0]}: {' '.join(done.stderr.split())[-400:]}")
        return done.stdout
