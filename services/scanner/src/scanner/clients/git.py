"""A full copy of a repository's history up to one commit, and that commit's files.

The history lies in a bare repository without branches, so that neither attributes nor ignore files of the tree change what a search
through it sees. The files lie beside it, symbolic links as plain files, so that no engine follows one out of the tree.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from shared.git import Credential, Options, SourceRefused, Workplace, check_commit, run_git
from shared.git.failures import gives_no_single_commits

# The repository's own, so that every program that reads it later does the same: files as they are in the commit, a link as a file
# with its target in it, names as they are.
CONFIGURATION = "[core]\n\tsymlinks = false\n\tautocrlf = false\n\tquotePath = false\n"


@dataclass(frozen=True, slots=True)
class Source:
    """`repository` is the bare history, `tree` the files of `commit`. `commits` are reachable from it; `shallow` when the server
    itself has not all of them."""

    repository: Path
    tree: Path
    commit: str
    commits: int
    files: int
    shallow: bool


class FetchesSource(Protocol):
    """What fetches a repository; `Git` in earnest."""

    async def fetch(
        self, repository_url: str, commit: str, folder: Path, *, credential: Credential | None = None, job: Any = None
    ) -> Source: ...


class Git:
    """Fetches with the git program."""

    def __init__(self, options: Options) -> None:
        self.options = options

    async def fetch(
        self, repository_url: str, commit: str, folder: Path, *, credential: Credential | None = None, job: Any = None
    ) -> Source:
        """Fetch `commit` with all its history into `folder`. Raises SourceRefused, SourceAway."""
        check_commit(commit)
        address = self.options.address(repository_url)
        repository, tree = folder / "history", folder / "tree"
        tree.mkdir(parents=True)
        place = Workplace(self.options, folder, address, environment={"GIT_DIR": str(repository)}, job=job)
        place.trust(credential)
        kind = ["--object-format=sha256"] if len(commit) == 64 else []
        await run_git(place, "init", "--quiet", "--bare", "--template=", *kind)
        (repository / "info").mkdir(parents=True, exist_ok=True)
        with (repository / "config").open("a", encoding="utf-8") as file:
            file.write(CONFIGURATION)
        # Every file is compared as text, whatever the repository's own attributes say.
        (repository / "info" / "attributes").write_text("* diff -filter -textconv\n")
        await _get(place, commit)
        counted = await run_git(place, "rev-list", "--count", commit)
        shallow = await run_git(place, "rev-parse", "--is-shallow-repository")
        await run_git(place, f"--work-tree={tree}", "checkout", "--force", "--quiet", commit, "--", ".", check=False)
        files = await asyncio.to_thread(lambda: sum(len(names) for _, _, names in os.walk(tree)))
        return Source(repository, tree, commit, int(counted.out), files, shallow.out.strip() == b"true")


async def _get(place: Workplace, commit: str) -> None:
    """Ask for the commit and all before it; where a server gives only branches and tags, ask for all there is."""
    quietly = ("fetch", "--quiet", "--no-recurse-submodules")
    one = await run_git(place, *quietly, "--no-tags", "--update-shallow", "--", place.address.url, commit, check=False)
    if one.code != 0:
        if not gives_no_single_commits(place.said(one)):
            raise place.meaning(one, commit)
        await run_git(place, *quietly, "--", place.address.url, "+refs/*:refs/fetched/*")
    there = await run_git(place, "cat-file", "-e", f"{commit}^{{commit}}", check=False)
    if there.code != 0:
        raise SourceRefused(
            "source.commit_gone",
            f"The commit is not in the repository any more ({place.address.shown}, commit {commit[:12]}).",
            "It was probably replaced by a push with force; the newer commit has a run of its own.",
        )
