"""`git ls-remote`: what a repository shows without being cloned."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from shared.git import Address, Credential, Options, SourceRefused, Workplace, run_git

MOST_REFS_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True)
class Refs:
    """What the repository shows. Tags are peeled: the commit, not the tag object."""

    branches: dict[str, str]
    tags: dict[str, str]
    default_branch: str = ""


class Git:
    """Asks repositories what they show."""

    def __init__(self, options: Options) -> None:
        self.options = options

    async def list_refs(self, repository_url: str, credential: Credential | None = None) -> Refs:
        """Branches, tags and the default branch. Raises SourceRefused and SourceAway."""
        address = checked_address(self.options, repository_url)
        with tempfile.TemporaryDirectory(prefix="kiops-git-") as name:
            place = Workplace(self.options, Path(name), address)
            place.trust(credential)
            done = await run_git(place, "ls-remote", "--symref", "--", address.url, max_output_bytes=MOST_REFS_BYTES)
        return read_refs(done.out.decode("utf-8", "replace"))


def checked_address(options: Options, text: str) -> Address:
    """The address as git gets it. A person has just entered it, and is told of a password in it while it can still be taken out."""
    address = options.address(text)
    if address.credential:
        raise SourceRefused(
            "source.password_in_address",
            "The address has a password in it, which would be shown to everybody who sees the service.",
            "Take it out, and give it as the credential.",
        )
    return address


def read_refs(text: str) -> Refs:
    """Read the output of `git ls-remote --symref`."""
    branches: dict[str, str] = {}
    tags: dict[str, str] = {}
    default = ""
    for line in text.splitlines():
        left, _, name = line.partition("\t")
        if left.startswith("ref: refs/heads/") and name == "HEAD":
            default = left.removeprefix("ref: refs/heads/")
        elif name.startswith("refs/heads/"):
            branches[name.removeprefix("refs/heads/")] = left
        elif name.startswith("refs/tags/"):
            tags[name.removeprefix("refs/tags/").removesuffix("^{}")] = left
    return Refs(branches, tags, default)
