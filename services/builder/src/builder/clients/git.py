"""Fetch one commit of a repository, with nothing of this machine's Git configuration taking part.

A repository is an https or ssh address, or a path below an allowed folder. Only the commit itself is fetched; a server
that refuses to hand out a bare commit gives its branches and tags instead. Credentials go to git through an askpass
program and its environment, or a key file, never through a command line or an address.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from shared.errors import Broken
from shared.processes import ChildTimeout, Finished, run_child

from builder.clients.git_errors import explain
from builder.errors import SourceAway, SourceError

COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_SCP_LIKE = re.compile(r"(?P<user>[\w.-]+)@(?P<host>[\w.-]+):(?P<path>[^\s]+)")
_ASKPASS = """#!/bin/sh
case "$1" in
  Username*) printf '%s\\n' "$KIOPS_GIT_USERNAME" ;;
  *) printf '%s\\n' "$KIOPS_GIT_PASSWORD" ;;
esac
"""

Say = Callable[[str], None]
Child = Callable[..., Awaitable[Finished]]
"""What runs git; `shared.processes.run_child` in earnest."""


@dataclass(frozen=True, slots=True)
class Credential:
    """Opened in memory for one fetch. Either a name and password (or token), or a private key for ssh."""

    username: str = ""
    password: str = field(default="", repr=False)
    private_key: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Fetched:
    """The commit lies in `folder`. Files are counted without Git's own; the message is its first line."""

    folder: Path
    files: int
    author: str
    message: str
    duration_ms: int
    submodules: bool = False


@dataclass(frozen=True, slots=True)
class Address:
    """A repository's address without anything secret in it."""

    url: str
    protocol: str
    credential: Credential | None = None


def read_address(text: str, roots: Sequence[Path]) -> Address:
    """Check a repository's address and take a credential out of it. Raises SourceError with a `source.*` code."""
    if not text or text.startswith("-") or "::" in text or any(ord(letter) < 32 for letter in text):
        raise SourceError(
            "source.address_invalid",
            "This is not the address of a Git repository.",
            "Enter https://host/path.git, ssh://git@host/path.git, git@host:path.git or a path on this machine.",
        )
    if text.startswith(("/", "file://")):
        return Address(_local(text, roots), "file")
    if found := _SCP_LIKE.fullmatch(text):
        return Address(f"ssh://{found['user']}@{found['host']}/{found['path'].lstrip('/')}", "ssh")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise SourceError("source.address_invalid", f"The repository's address cannot be read: {error}.") from None
    if not parts.hostname:
        raise SourceError("source.address_invalid", "The repository's address names no host.", "Enter it as https://host/path.git.")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    place = f"{host}:{port}" if port else host
    if parts.scheme == "ssh":
        return Address(urlunsplit(("ssh", f"{parts.username or 'git'}@{place}", parts.path, "", "")), "ssh")
    credential = Credential(parts.username or "", parts.password) if parts.password else None
    return Address(urlunsplit((parts.scheme, place, parts.path, parts.query, "")), parts.scheme, credential)


def _local(text: str, roots: Sequence[Path]) -> str:
    """A path as a file address; symbolic links are followed before it is compared with the allowed folders."""
    path = Path(os.path.realpath(text.removeprefix("file://")))
    if not any(path.is_relative_to(os.path.realpath(root)) for root in roots):
        allowed = ", ".join(str(root) for root in roots) or "none"
        raise SourceError(
            "source.path_not_allowed",
            f"{path} lies outside the folders from which repositories may be read.",
            f"Allowed: {allowed}. Change BUILDER_SOURCE_ROOTS, or give the repository's https or ssh address.",
        )
    if not path.is_dir():
        raise SourceError(
            "source.not_found", f"There is no repository at {path}.", "Check the path; a moved one is changed in the service."
        )
    return f"file://{path}"


class Git:
    """Fetches commits with the git program."""

    def __init__(
        self,
        *,
        roots: Sequence[Path],
        protocols: Sequence[str] = ("https", "http", "ssh", "file"),
        timeout_seconds: float = 600,
        known_hosts: Path | None = None,
        ca_file: Path | None = None,
        program: str = "git",
        child: Child = run_child,
    ) -> None:
        self._roots, self._protocols = tuple(roots), tuple(protocols)
        self._timeout, self._program, self._child = timeout_seconds, program, child
        self._known_hosts, self._ca_file = known_hosts, ca_file

    def address(self, repository_url: str) -> Address:
        """The address as it will be used. Raises SourceError when it may not be."""
        address = read_address(repository_url, self._roots)
        if address.protocol not in self._protocols:
            raise SourceError(
                "source.protocol_refused",
                f"Repositories are not read over {address.protocol}.",
                f"Use one of {', '.join(self._protocols)}, or allow it with BUILDER_GIT_PROTOCOLS.",
            )
        return address

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

        The credential is awaited while the first process runs already. Raises SourceError and SourceAway.
        """
        began = time.monotonic()
        if not COMMIT.fullmatch(commit):
            raise SourceError("source.commit_invalid", f"{commit[:80]!r} is not the full id of a commit.")
        address = self.address(repository_url)
        work = folder / "source"
        work.mkdir(parents=True)
        repository = _Repository(self, folder, address, job)
        await repository.run("init", "--quiet", "--template=", *(["--object-format=sha256"] if len(commit) == 64 else []))
        repository.trust(await credential if credential is not None else None)
        if address.protocol == "http" and repository.secret:
            say("The credential travels unencrypted: the repository's address begins with http, not https")
        say(f"Fetching commit {commit[:12]} from {address.url}")
        await self._get(repository, address, commit, say)
        await repository.run("checkout", "--quiet", "--force", "--detach", commit)
        told = await repository.run("log", "-1", "--format=%an%n%s", commit)
        author, _, message = told.out.decode("utf-8", "replace").partition("\n")
        files = await asyncio.to_thread(count_files, work)
        took = int((time.monotonic() - began) * 1000)
        return Fetched(work, files, author.strip(), message.strip(), took, (work / ".gitmodules").is_file())

    async def _get(self, repository: _Repository, address: Address, commit: str, say: Say) -> None:
        """Ask for the commit alone; where a server gives only branches and tags, ask for those and look in them."""
        one = await repository.run("fetch", "--quiet", "--depth=1", "--no-tags", address.url, commit, check=False)
        if one.code == 0:
            return
        error = explain(one.err, address.url, commit)
        if re.search(rb"unadvertised object|dumb http", one.err):
            say("The server does not hand out single commits; fetching branches and tags instead")
            await repository.run("fetch", "--quiet", address.url, "+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")
            found = await repository.run("cat-file", "-e", f"{commit}^{{commit}}", check=False)
            if found.code == 0:
                return
        raise error


class _Repository:
    """A repository in the making: its folders, its private configuration, and how git is called for it."""

    def __init__(self, git: Git, folder: Path, address: Address, job: Any) -> None:
        self.git, self.folder, self.address, self.job = git, folder, address, job
        self.data, self.secret = folder / "git", False
        configuration = folder / "gitconfig"
        local = address.url.removeprefix("file://") if address.protocol == "file" else ""
        configuration.write_text(_configuration(local, git._ca_file), "utf-8")
        self.env = {
            "HOME": str(folder),
            "LC_ALL": "C",
            "GIT_DIR": str(self.data),
            "GIT_WORK_TREE": str(folder / "source"),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": str(configuration),
            "GIT_ATTR_NOSYSTEM": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ASKPASS": "/bin/false",
            "GIT_ALLOW_PROTOCOL": address.protocol,
            "GIT_LFS_SKIP_SMUDGE": "1",
            "GIT_SSH_COMMAND": self._ssh(None),
        }
        self.env |= {name: os.environ[name] for name in _PROXY if name in os.environ}

    def trust(self, credential: Credential | None) -> None:
        """Make a credential available to git: by an askpass program and its environment, or as a key file."""
        credential = credential or self.address.credential
        if credential is None:
            return
        self.secret = True
        if credential.private_key:
            key = self.folder / "key"
            with open(os.open(key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
                file.write(credential.private_key.rstrip("\n") + "\n")
            self.env["GIT_SSH_COMMAND"] = self._ssh(key)
        if credential.password:
            askpass = self.folder / "askpass"
            askpass.write_text(_ASKPASS, "utf-8")
            askpass.chmod(0o700)
            self.env |= {
                "GIT_ASKPASS": str(askpass),
                "KIOPS_GIT_USERNAME": credential.username or "git",
                "KIOPS_GIT_PASSWORD": credential.password,
            }

    def _ssh(self, key: Path | None) -> str:
        """The ssh command: our own list of hosts, a new host is remembered, a changed one refused; never a question."""
        hosts = self.git._known_hosts or self.folder / "known_hosts"
        words = ["ssh", "-F", "/dev/null", "-o", "BatchMode=yes", "-o", "ConnectTimeout=20"]
        words += ["-o", f"UserKnownHostsFile='{hosts}'", "-o", "GlobalKnownHostsFile=/dev/null"]
        words += ["-o", "StrictHostKeyChecking=accept-new", "-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none"]
        words += ["-i", f"'{key}'"] if key else ["-i", "/dev/null"]
        return " ".join(words)

    async def run(self, *words: str, check: bool = True) -> Finished:
        """Call git. With `check`, an exit code other than 0 raises what it means."""
        try:
            done = await self.git._child(
                [self.git._program, *words],
                job=self.job,
                cwd=self.folder,
                env=self.env,
                timeout_seconds=self.git._timeout,
                max_output_bytes=256 * 1024,
            )
        except ChildTimeout as error:
            raise SourceAway(
                "source.timeout",
                f"git {words[0]} did not end within {self.git._timeout:g} s.",
                "Try again; a very large repository needs a higher BUILDER_GIT_TIMEOUT_SECONDS.",
            ) from error
        except Broken as error:
            if error.code != "child.missing":
                raise
            raise SourceError("source.git_missing", "The program git is not installed.", "Install git.") from error
        if check and done.code != 0:
            raise explain(done.err, self.address.url)
        return done


_PROXY = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR")


def _configuration(local: str, ca_file: Path | None) -> str:
    """Git's whole configuration for one fetch.

    A local repository may belong to another user; that it may be read was decided by the allowed folders, and git's own
    server side hears of it only through a configuration file.
    """
    lines = ["[core]", "\thooksPath = /dev/null", "\tfsmonitor = false", "[gc]", "\tauto = 0"]
    lines += ["[credential]", "\thelper =", "[http]", "\tfollowRedirects = initial"]
    lines += ["\tlowSpeedLimit = 1", "\tlowSpeedTime = 60"]
    if ca_file:
        lines += [f"\tsslCAInfo = {_quoted(str(ca_file))}"]
    if local:
        lines += ["[safe]", f"\tdirectory = {_quoted(local)}", f"\tdirectory = {_quoted(local + '/.git')}"]
    return "\n".join(lines) + "\n"


def _quoted(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def count_files(folder: Path) -> int:
    """Files and links below a folder."""
    return sum(len(files) for _, _, files in os.walk(folder))
