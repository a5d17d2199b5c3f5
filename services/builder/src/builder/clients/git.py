"""Fetch one commit of a repository.

Only the commit itself is fetched; a server that refuses to hand out a bare commit gives its branches and tags instead.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.git import Credential, Options, Workplace, check_commit, run_git
from shared.git.failures import gives_no_single_commits

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Fetched:
    """The commit lies in `folder`. Files are counted without Git's own; the message is its first line."""

    folder: Path
    files: int
    author: str
    message: str
    duration_ms: int
    submodules: bool = False


class Git:
    """Fetches commits with the git program."""

    def __init__(self, options: Options) -> None:
        self.options = options

    async def fetch(
        self,
        repository_url: str,
        commit: str,
        folder: Path,
        *,
        credential: Awaitable[Credential | None] | None = None,
        say: Say = lambda text: None,
        job: Any = None,
    ) -> Fetched:
        """Put the files of a commit into `folder / "source"`. Git's own data stays beside it, in `folder / "git"`.

        The credential is awaited while the first process runs already. Raises SourceRefused and SourceAway.
        """
        began = time.monotonic()
        check_commit(commit)
        address = self.options.address(repository_url)
        work = folder / "source"
        work.mkdir(parents=True)
        places = {"GIT_DIR": str(folder / "git"), "GIT_WORK_TREE": str(work)}
        place = Workplace(self.options, folder, address, environment=places, job=job)
        await run_git(place, "init", "--quiet", "--template=", *(["--object-format=sha256"] if len(commit) == 64 else []))
        place.trust(await credential if credential is not None else None)
        if address.protocol == "http" and place.secret:
            say("The credential travels unencrypted: the repository's address begins with http, not https")
        say(f"Fetching commit {commit[:12]} from {address.shown}")
        await _get(place, commit, say)
        await run_git(place, "checkout", "--quiet", "--force", "--detach", commit)
        told = await run_git(place, "log", "-1", "--format=%an%n%s", commit)
        author, _, message = told.out.decode("utf-8", "replace").partition("\n")
        files = await asyncio.to_thread(count_files, work)
        took = int((time.monotonic() - began) * 1000)
        return Fetched(work, files, author.strip(), message.strip(), took, (work / ".gitmodules").is_file())


async def _get(place: Workplace, commit: str, say: Say) -> None:
    """Ask for the commit alone; where a server gives only branches and tags, ask for those and look in them."""
    url = place.address.url
    one = await run_git(place, "fetch", "--quiet", "--depth=1", "--no-tags", "--", url, commit, check=False)
    if one.code == 0:
        return
    if gives_no_single_commits(place.said(one)):
        say("The server does not hand out single commits; fetching branches and tags instead")
        await run_git(place, "fetch", "--quiet", "--", url, "+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")
        found = await run_git(place, "cat-file", "-e", f"{commit}^{{commit}}", check=False)
        if found.code == 0:
            return
    raise place.meaning(one, commit)


def count_files(folder: Path) -> int:
    """Files and links below a folder."""
    return sum(len(files) for _, _, files in os.walk(folder))
