"""Calling git for one repository, with nothing of this machine's Git configuration taking part.

Credentials go to git through an askpass program and its environment, or a key file, never through a command line or an address.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shared.errors import Broken
from shared.git.address import PROTOCOLS, Address, Credential, read_address
from shared.git.failures import Hints, SourceAway, SourceRefused, explain
from shared.masking import Masker
from shared.processes import ChildTimeout, Finished, run_child

OUTPUT_BYTES = 256 * 1024
_UNWRITTEN = "unable to write file"
_NO_ROOM_BYTES = 256 * 1024
_PROXY = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR")
_ASKPASS = """#!/bin/sh
case "$1" in
  Username*) printf '%s\\n' "$KIOPS_GIT_USERNAME" ;;
  *) printf '%s\\n' "$KIOPS_GIT_PASSWORD" ;;
esac
"""

Child = Callable[..., Awaitable[Finished]]
"""What runs git; `shared.processes.run_child` in earnest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a service speaks to Git hosts. `roots` are folders below which a repository may be a path. Without `known_hosts` every
    workplace begins with an empty list of ssh hosts."""

    roots: Sequence[Path]
    timeout_seconds: float = 600
    protocols: Sequence[str] = PROTOCOLS
    nice: int = 0
    known_hosts: Path | None = None
    ca_file: Path | None = None
    hints: Hints = field(default_factory=Hints)
    program: str = "git"
    child: Child = run_child

    def address(self, text: str) -> Address:
        """The address as it will be used. Raises SourceRefused when it may not be."""
        return read_address(text, self.roots, protocols=self.protocols, hints=self.hints)


class Workplace:
    """A folder with git's private configuration for one address, and the environment in which git is called there.

    The folder has to be there, and to belong to this conversation alone: a key or password may come to lie in it.
    `environment` is added to git's own (GIT_DIR and such).
    """

    def __init__(
        self, options: Options, folder: Path, address: Address, *, environment: Mapping[str, str] | None = None, job: Any = None
    ) -> None:
        self.options, self.folder, self.address, self.job = options, folder, address, job
        self.secret = False
        self.masker = Masker()
        configuration = folder / "gitconfig"
        configuration.write_text(_configuration(options, address), "utf-8")
        self.env = {
            "HOME": str(folder),
            "LC_ALL": "C",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": str(configuration),
            "GIT_ATTR_NOSYSTEM": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ASKPASS": "/bin/false",
            "GIT_ALLOW_PROTOCOL": address.protocol,
            "GIT_LFS_SKIP_SMUDGE": "1",
            "GIT_SSH_COMMAND": self._ssh(None),
            **(environment or {}),
        }
        self.env |= {name: os.environ[name] for name in _PROXY if name in os.environ}

    def trust(self, credential: Credential | None) -> None:
        """Make a credential available to git; without one, that of the address. Its secrets are masked in what git says."""
        credential = credential or self.address.credential
        if credential is None:
            return
        self.secret = True
        for secret in (credential.password, credential.private_key):
            self.masker.add(secret)
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
                "KIOPS_GIT_USERNAME": credential.username or self.address.user or "git",
                "KIOPS_GIT_PASSWORD": credential.password,
            }

    def said(self, done: Finished) -> str:
        """What git complained of, without secrets."""
        text = self.masker.mask(done.err.decode("utf-8", "replace"))
        return text.replace(self.address.url, self.address.shown)

    def meaning(self, done: Finished, commit: str = "") -> SourceRefused | SourceAway:
        """The error that a failed call stands for."""
        said = self.said(done)
        if _UNWRITTEN in said.lower() and _full(self.folder):
            said += "\nNo space left on device"  # of a file that it could not check out git does not say why
        return explain(said, self.address.shown, commit, self.options.hints)

    def _ssh(self, key: Path | None) -> str:
        """The ssh command: our own list of hosts, a new host is remembered, a changed one refused; never a question."""
        hosts = _ssh_path(self.options.known_hosts or self.folder / "known_hosts")
        words = ["ssh", "-F", "/dev/null", "-o", "BatchMode=yes", "-o", "ConnectTimeout=20"]
        words += ["-o", f"UserKnownHostsFile={hosts}", "-o", "GlobalKnownHostsFile=/dev/null"]
        words += ["-o", "StrictHostKeyChecking=accept-new", "-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none"]
        words += ["-o", f"IdentityFile={_ssh_path(key)}"] if key else ["-i", "/dev/null"]
        return shlex.join(words)


async def run_git(place: Workplace, *words: str, check: bool = True, max_output_bytes: int = OUTPUT_BYTES) -> Finished:
    """Call git. With `check`, an exit code other than 0 raises what it means.

    Raises SourceAway `source.unreachable` after the options' timeout, SourceRefused `source.git_missing`.
    """
    options = place.options
    try:
        done = await options.child(
            [options.program, *words],
            job=place.job,
            cwd=place.folder,
            env=place.env,
            timeout_seconds=options.timeout_seconds,
            max_output_bytes=max_output_bytes,
            nice=options.nice,
        )
    except ChildTimeout as error:
        more = f" A very large repository needs a higher {options.hints.timeout}." if options.hints.timeout else ""
        raise SourceAway(
            "source.unreachable",
            f"The Git host was not done within {options.timeout_seconds:g} s ({place.address.shown}).",
            f"Check that it can be reached from this machine.{more}",
        ) from error
    except Broken as error:
        if error.code != "child.missing":
            raise
        raise SourceRefused("source.git_missing", "The program git is not installed.", "Install git.") from error
    if check and done.code != 0:
        raise place.meaning(done)
    return done


def _configuration(options: Options, address: Address) -> str:
    """Git's whole configuration for one conversation.

    A local repository may belong to another user; that it may be read was decided by the allowed folders, and git's own
    server side hears of it only through a configuration file.
    """
    lines = ["[core]", "\thooksPath = /dev/null", "\tfsmonitor = false", "[gc]", "\tauto = 0"]
    lines += ["[credential]", "\thelper =", "[http]", "\tfollowRedirects = initial"]
    lines += ["\tlowSpeedLimit = 1", f"\tlowSpeedTime = {max(1, min(60, int(options.timeout_seconds)))}"]
    if options.ca_file:
        lines += [f"\tsslCAInfo = {_quoted(str(options.ca_file))}"]
    if address.protocol == "file":
        local = address.url.removeprefix("file://")
        lines += ["[safe]", f"\tdirectory = {_quoted(local)}", f"\tdirectory = {_quoted(local + '/.git')}"]
    return "\n".join(lines) + "\n"


def _full(folder: Path) -> bool:
    """Whether a file system has no room for anything worth mentioning."""
    try:
        stat = os.statvfs(folder)
    except OSError:
        return False
    return stat.f_bavail * stat.f_frsize < _NO_ROOM_BYTES or (stat.f_files > 0 and stat.f_favail == 0)


def _ssh_path(path: Path) -> str:
    """A path as a value in ssh's own configuration, where a percent sign begins a placeholder."""
    return '"' + str(path).replace("%", "%%") + '"'


def _quoted(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
