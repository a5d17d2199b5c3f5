"""`git ls-remote`: what a repository shows without being cloned; with nothing of this machine's Git configuration taking part."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from shared.errors import KiopsError, Rejected, Unavailable
from shared.processes import ChildTimeout, Finished, run_child

PROTOCOLS = ("https", "http", "ssh", "file")
MOST_REFS_BYTES = 16 * 1024 * 1024
ASKPASS = """#!/bin/sh
case "$1" in
  Username*) printf '%s\\n' "$KIOPS_GIT_USERNAME" ;;
  *) printf '%s\\n' "$KIOPS_GIT_PASSWORD" ;;
esac
"""
SCP_LIKE = re.compile(r"(?P<user>[\w.-]+)@(?P<host>[\w.-]+):(?P<path>[^\s]+)")
CONFIGURATION = """[core]
\thooksPath = /dev/null
[credential]
\thelper =
[http]
\tfollowRedirects = initial
\tlowSpeedLimit = 1
\tlowSpeedTime = 10
[safe]
\tdirectory = *
"""
PROXY = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR")


@dataclass(frozen=True)
class Credential:
    """Opened in memory for one question. `private_key` is for ssh, the others for https."""

    username: str = ""
    password: str = field(default="", repr=False)
    private_key: str = field(default="", repr=False)


@dataclass(frozen=True)
class Refs:
    """What the repository shows. Tags are peeled: the commit, not the tag object."""

    branches: dict[str, str]
    tags: dict[str, str]
    default_branch: str = ""


# The first pattern that is found decides; a refused credential often ends with a general "could not read".
MEANINGS: tuple[tuple[str, str, str, str], ...] = (
    (
        r"host key verification failed|remote host identification has changed",
        "source.host_key_changed",
        "the Git host shows an ssh key that is not the known one",
        "Ask who runs the host whether its key was changed.",
    ),
    (
        r"certificate|gnutls|ssl_connect|tls handshake|ssl routines|wrong version number",
        "source.tls",
        "the Git host's certificate is not trusted, or no secure connection came about",
        "Give the certificate of your own authority by SSL_CERT_FILE, or mend the host's certificate.",
    ),
    (
        r"could not resolve|couldn't resolve|name or service not known",
        "source.unreachable",
        "the Git host's name is not known here",
        "Check the address, and that this machine can look up names.",
    ),
    (
        r"connection refused|timed out|failed to connect|couldn't connect|could not connect|no route to host"
        r"|network is unreachable|too slow|connection reset|returned error: 5\d\d|empty reply|early eof",
        "source.unreachable",
        "the Git host does not answer",
        "Check that it runs and can be reached from this machine.",
    ),
    (
        r"authentication failed|could not read (username|password)|permission denied \(|returned error: 40[13]"
        r"|access denied|terminal prompts disabled|unable to read askpass",
        "source.credential_refused",
        "the Git host refused the credential, or wants one",
        "Give a credential that may read this repository; a token may have expired or lack the scope to read.",
    ),
    (
        r"not found|does not appear to be a git repository|does not exist|not a git repository|returned error: 404"
        r"|could not be found|no such file or directory",
        "source.not_found",
        "there is no repository at this address",
        "Check the address. Some hosts answer so too when the credential may not see the repository.",
    ),
)


class Git:
    """Asks repositories what they show."""

    def __init__(
        self,
        *,
        roots: Sequence[Path],
        timeout_seconds: float,
        child: Callable[..., Awaitable[Finished]] = run_child,
    ) -> None:
        self._roots = tuple(roots)
        self._timeout, self._child = timeout_seconds, child

    async def list_refs(self, repository_url: str, credential: Credential | None = None) -> Refs:
        """Branches, tags and the default branch. Raises Rejected and Unavailable with `source.*` codes."""
        address, protocol = checked_address(repository_url, self._roots)
        with tempfile.TemporaryDirectory(prefix="kiops-git-") as name:
            folder = Path(name)
            environment = _environment(folder, protocol, credential)
            try:
                done = await self._child(
                    ["git", "ls-remote", "--symref", "--", address],
                    cwd=folder,
                    env=environment,
                    timeout_seconds=self._timeout,
                    max_output_bytes=MOST_REFS_BYTES,
                )
            except ChildTimeout as error:
                raise Unavailable(
                    "source.unreachable",
                    f"the Git host did not answer within {self._timeout:g} s",
                    "Check that it can be reached from this machine.",
                ) from error
        if done.code != 0:
            raise explain(done.err.decode("utf-8", "replace"), address)
        return read_refs(done.out.decode("utf-8", "replace"))


def checked_address(text: str, roots: Sequence[Path]) -> tuple[str, str]:
    """The address as git gets it, and its protocol. Raises Rejected: no address, a kind that is not read, a path that lies
    outside the allowed folders, a password inside the address."""
    if not text or len(text) > 2000 or text.startswith("-") or "::" in text or re.search(r"[\x00-\x20\x7f]", text):
        raise _address_invalid()
    if text.startswith(("/", "file://")):
        return _local(text, roots), "file"
    if found := SCP_LIKE.fullmatch(text):
        return f"ssh://{found['user']}@{found['host']}/{found['path'].lstrip('/')}", "ssh"
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        raise _address_invalid() from None
    if not parts.hostname or parts.hostname.startswith("-") or (parts.username or "").startswith("-"):
        raise _address_invalid()
    if parts.scheme not in PROTOCOLS:
        raise Rejected("source.protocol_refused", f"repositories are not read over {parts.scheme}", "Use https or ssh.")
    if parts.password:
        raise Rejected(
            "source.password_in_address",
            "the address has a password in it, which would be shown to everybody who sees the service",
            "Take it out, and give it as the credential.",
        )
    return urlunsplit((parts.scheme, parts.netloc, parts.path, parts.query, "")), parts.scheme


def _address_invalid() -> Rejected:
    return Rejected(
        "source.address_invalid",
        "this is not the address of a Git repository",
        "Enter https://host/path.git, ssh://git@host/path.git, git@host:path.git or a path on this machine.",
    )


def _local(text: str, roots: Sequence[Path]) -> str:
    # Links are followed first, so that a link inside an allowed folder leads nowhere else.
    path = Path(os.path.realpath(text.removeprefix("file://")))
    if not any(path.is_relative_to(os.path.realpath(root)) for root in roots):
        allowed = ", ".join(str(root) for root in roots) or "none"
        raise Rejected(
            "source.path_not_allowed",
            f"{path} lies outside the folders from which repositories may be read",
            f"Allowed: {allowed}. Change WEBHOOK_SOURCE_ROOTS, or give the repository's https or ssh address.",
        )
    return f"file://{path}"


def _environment(folder: Path, protocol: str, credential: Credential | None) -> dict[str, str]:
    configuration = folder / "gitconfig"
    configuration.write_text(CONFIGURATION)
    ssh = ["ssh", "-F", "/dev/null", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10", "-o", "IdentityAgent=none"]
    ssh += ["-o", f"UserKnownHostsFile={folder}/known_hosts", "-o", "StrictHostKeyChecking=accept-new"]
    environment = {
        "HOME": str(folder),
        "LC_ALL": "C",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": str(configuration),
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "/bin/false",
        "GIT_ALLOW_PROTOCOL": protocol,
    }
    environment |= {name: os.environ[name] for name in PROXY if name in os.environ}
    if credential and credential.private_key:
        key = folder / "key"
        with open(os.open(key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(credential.private_key.rstrip("\n") + "\n")
        ssh += ["-o", "IdentitiesOnly=yes", "-i", str(key)]
    if credential and credential.password:
        # By an askpass program and its environment: never on a command line, which every user of the machine can read.
        askpass = folder / "askpass"
        askpass.write_text(ASKPASS)
        askpass.chmod(0o700)
        environment |= {
            "GIT_ASKPASS": str(askpass),
            "KIOPS_GIT_USERNAME": credential.username or "git",
            "KIOPS_GIT_PASSWORD": credential.password,
        }
    return environment | {"GIT_SSH_COMMAND": " ".join(ssh)}


def explain(said: str, address: str) -> KiopsError:
    """The error that git's words stand for."""
    last = " ".join(line.strip() for line in said.splitlines()[-3:])[:400]
    for pattern, code, message, advice in MEANINGS:
        if re.search(pattern, said, re.IGNORECASE):
            kind = Unavailable if code == "source.unreachable" else Rejected
            return kind(code, f"{message} ({address})", advice, said=last)
    return Rejected("source.failed", f"git failed on {address}: {last or 'it said nothing'}", "Read git's words.")


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
