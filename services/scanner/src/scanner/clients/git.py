"""A full copy of a repository's history up to one commit, and that commit's files, with nothing of the machine's Git configuration.

The history lies in a bare repository without branches, so that neither attributes nor ignore files of the tree change what a search
through it sees. The files lie beside it, symbolic links as plain files, so that no engine follows one out of the tree.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote, urlsplit

from shared.processes import ChildTimeout, Finished, run_child

from scanner.errors import SourceAway, SourceRefused

COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
PROTOCOLS = ("https", "http", "ssh", "file")
_SCP_LIKE = re.compile(r"([\w.-]+)@([\w.-]+):([^\s]+)")
_ASKPASS = (
    '#!/bin/sh\ncase "$1" in Username*) printf "%s\\n" "$KIOPS_GIT_USERNAME" ;; *) printf "%s\\n" "$KIOPS_GIT_PASSWORD" ;; esac\n'
)
_CONFIGURATION = """[core]
\thooksPath = /dev/null
\tsymlinks = false
\tquotePath = false
\tautocrlf = false
[credential]
\thelper =
[http]
\tfollowRedirects = initial
\tlowSpeedLimit = 1
\tlowSpeedTime = 60
[safe]
\tdirectory = *
[gc]
\tauto = 0
"""
_ENVIRONMENT = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR")
_REFUSED = re.compile(
    r"(?i)authentication failed|permission denied|access denied|could not read (?:username|password)|returned error: 40[134]"
    r"|repository .*not found|does not appear to be a git repository|does not exist|host key verification failed"
)
_NOT_ALONE = re.compile(r"(?i)unadvertised object|not our ref|dumb http|no such remote ref|couldn't find remote ref")


@dataclass(frozen=True, slots=True)
class Credential:
    """Opened in memory for one fetch: a name with a password or token, or a private key for ssh."""

    username: str = ""
    password: str = field(default="", repr=False)
    private_key: str = field(default="", repr=False)


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


def read_credential(plain: str) -> Credential:
    """The gateway seals a JSON object with username and password (or private_key); anything else is a token."""
    try:
        value = json.loads(plain)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        return Credential("git", plain)
    username, password, key = (str(value.get(name) or "") for name in ("username", "password", "private_key"))
    if password.lstrip().startswith("-----BEGIN"):
        return Credential(username, private_key=password)
    return Credential(username, password, key)


def address(text: str, roots: Sequence[Path]) -> tuple[str, str]:
    """The address as git gets it and its protocol. Raises SourceRefused `source.not_allowed`."""
    if not text or text.startswith("-") or "::" in text or re.search(r"[\x00-\x20\x7f]", text):
        raise SourceRefused("source.not_allowed", "this is not the address of a Git repository", "Mend it in the service.")
    if text.startswith(("/", "file://")):
        path = Path(os.path.realpath(text.removeprefix("file://")))
        if not any(path.is_relative_to(os.path.realpath(root)) for root in roots):
            raise SourceRefused(
                "source.not_allowed",
                f"{path} lies outside the folders from which repositories may be read",
                "Add its folder to SCANNER_SOURCE_ROOTS, or give an https or ssh address.",
            )
        return f"file://{path}", "file"
    if found := _SCP_LIKE.fullmatch(text):
        return f"ssh://{found[1]}@{found[2]}/{found[3].lstrip('/')}", "ssh"
    scheme = urlsplit(text).scheme
    if scheme not in PROTOCOLS:
        raise SourceRefused("source.not_allowed", f"repositories are not read over {scheme or 'this'}", "Use https or ssh.")
    return text, scheme


class Git:
    """Fetches with the git program. `roots` are folders below which a repository may be a path."""

    def __init__(self, *, roots: Sequence[Path], seconds: float = 300, nice: int = 10, program: str = "git") -> None:
        self._roots, self._seconds, self._nice, self._program = tuple(roots), seconds, nice, program

    async def fetch(
        self, repository_url: str, commit: str, folder: Path, *, credential: Credential | None = None, job: Any = None
    ) -> Source:
        """Fetch `commit` with all its history into `folder`. Raises SourceRefused, SourceAway."""
        if not COMMIT.fullmatch(commit):
            raise SourceRefused("source.commit_missing", f"{commit[:80]!r} is not the full id of a commit")
        url, protocol = address(repository_url, self._roots)
        repository, tree = folder / "history", folder / "tree"
        tree.mkdir(parents=True)
        (folder / "gitconfig").write_text(_CONFIGURATION)
        env = self._environment(folder, protocol, credential)

        async def git(*words: str, check: bool = True) -> Finished:
            return await self._run(words, folder, env, url, job, check)

        kind = ["--object-format=sha256"] if len(commit) == 64 else []
        await git("init", "--quiet", "--bare", "--template=", *kind, str(repository))
        # Every file is compared as text, whatever the repository's own attributes say.
        (repository / "info").mkdir(parents=True, exist_ok=True)
        (repository / "info" / "attributes").write_text("* diff -filter -textconv\n")
        inside = f"--git-dir={repository}"
        one = await git(
            inside, "fetch", "--quiet", "--no-tags", "--no-recurse-submodules", "--update-shallow", "--", url, commit, check=False
        )
        if one.code != 0:
            said = one.err.decode("utf-8", "replace")
            if not _NOT_ALONE.search(said):
                raise _meaning(said, url, credential)
            await git(inside, "fetch", "--quiet", "--no-recurse-submodules", "--", url, "+refs/*:refs/fetched/*")
        there = await git(inside, "cat-file", "-e", f"{commit}^{{commit}}", check=False)
        if there.code != 0:
            raise SourceRefused(
                "source.commit_missing",
                f"commit {commit[:12]} is no longer in the repository",
                "It was replaced by a push with force; the newer commit has a run of its own.",
            )
        counted = await git(inside, "rev-list", "--count", commit)
        shallow = await git(inside, "rev-parse", "--is-shallow-repository")
        await git(inside, f"--work-tree={tree}", "checkout", "--force", "--quiet", commit, "--", ".", check=False)
        files = await asyncio.to_thread(lambda: sum(len(names) for _, _, names in os.walk(tree)))
        return Source(repository, tree, commit, int(counted.out), files, shallow.out.strip() == b"true")

    def _environment(self, folder: Path, protocol: str, credential: Credential | None) -> dict[str, str]:
        ssh = ["ssh", "-F", "/dev/null", "-o", "BatchMode=yes", "-o", "ConnectTimeout=20"]
        ssh += ["-o", f"UserKnownHostsFile='{folder / 'known_hosts'}'", "-o", "StrictHostKeyChecking=accept-new"]
        ssh += ["-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none"]
        env = {
            "HOME": str(folder),
            "LC_ALL": "C",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": str(folder / "gitconfig"),
            "GIT_ATTR_NOSYSTEM": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ASKPASS": "/bin/false",
            "GIT_ALLOW_PROTOCOL": protocol,
            "GIT_LFS_SKIP_SMUDGE": "1",
        } | {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        if credential and credential.private_key:
            key = folder / "key"
            with open(os.open(key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(credential.private_key.rstrip("\n") + "\n")
            ssh += ["-i", f"'{key}'"]
        elif credential and credential.password:
            askpass = folder / "askpass"
            askpass.write_text(_ASKPASS)
            askpass.chmod(0o700)
            env |= {
                "GIT_ASKPASS": str(askpass),
                "KIOPS_GIT_USERNAME": credential.username or "git",
                "KIOPS_GIT_PASSWORD": credential.password,
            }
        return env | {"GIT_SSH_COMMAND": " ".join(ssh)}

    async def _run(self, words: Sequence[str], folder: Path, env: dict[str, str], url: str, job: Any, check: bool) -> Finished:
        try:
            done = await run_child(
                [self._program, *words],
                job=job,
                cwd=folder,
                env=env,
                timeout_seconds=self._seconds,
                max_output_bytes=256 * 1024,
                nice=self._nice,
            )
        except ChildTimeout:
            raise SourceAway(f"git did not end within {self._seconds:g} s") from None
        if check and done.code != 0:
            raise _meaning(done.err.decode("utf-8", "replace"), url, None)
        return done


def _meaning(said: str, url: str, credential: Credential | None) -> SourceRefused | SourceAway:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    last = next((line for line in lines if line.startswith(("fatal:", "error:"))), lines[-1] if lines else "no words")
    last = re.sub(r"(://)[^/@\s]*@", r"\1", last)[:200]
    for secret in (credential.password, credential.private_key) if credential else ():
        for form in {secret, quote(secret, safe="")} - {""}:
            last = last.replace(form, "•••")
    if _REFUSED.search(said):
        return SourceRefused(
            "source.refused", f"the repository could not be read: {last}", "Check its address and the credential's rights."
        )
    return SourceAway(last)
