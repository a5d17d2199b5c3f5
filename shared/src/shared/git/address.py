"""A repository's address: an https or ssh one, or a path below an allowed folder. Nothing else reaches git."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from shared import logging
from shared.git.failures import Hints, SourceRefused

PROTOCOLS = ("https", "http", "ssh", "file")
COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
LONGEST = 2000
_SCP_LIKE = re.compile(r"(?P<user>\w[\w.-]*)@(?P<host>\w[\w.-]*):(?P<path>[^\s]+)")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Credential:
    """Opened in memory for one conversation: a name with a password or token, or a private key for ssh."""

    username: str = ""
    password: str = field(default="", repr=False)
    private_key: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        # Whoever has opened one may come to write what git or a host says with it in.
        logging.masker.add(self.password)
        logging.masker.add(self.private_key)


@dataclass(frozen=True, slots=True)
class Address:
    """A repository's address with nothing secret in it, as git gets it.

    `user` and `credential` are what an address over http named. `user` is not shown either: some hosts take a token there.
    """

    url: str
    protocol: str
    credential: Credential | None = None
    user: str = field(default="", repr=False)

    @property
    def shown(self) -> str:
        """The address as people may see it: without a query, in which some hosts take a token."""
        return self.url if self.protocol == "file" else self.url.partition("?")[0]


def check_commit(commit: str) -> None:
    """Raises SourceRefused `source.commit_invalid` unless this is the full id of a commit, 40 or 64 digits."""
    if not COMMIT.fullmatch(commit):
        raise SourceRefused(
            "source.commit_invalid", f"{commit[:80]!r} is not the full id of a commit.", "Give all of its 40 or 64 digits."
        )


def read_credential(plain: str) -> Credential:
    """What the gateway sealed: a JSON object with username and password (or private_key); anything else is a token."""
    try:
        value = json.loads(plain)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        return Credential(password=plain)
    username, password, key = (str(value.get(name) or "") for name in ("username", "password", "private_key"))
    if password.lstrip().startswith("-----BEGIN"):
        return Credential(username, private_key=password)
    return Credential(username, password, key)


def read_address(text: str, roots: Sequence[Path], *, protocols: Sequence[str] = PROTOCOLS, hints: Hints | None = None) -> Address:
    """Check an address and take a credential out of it. `roots` are the folders below which a repository may be a path.

    Raises SourceRefused: `source.address_invalid`, `source.protocol_refused`, `source.path_not_allowed`, `source.not_found`.
    """
    hints = hints or Hints()
    # git takes a word that begins with a dash for an option, and `<name>::<rest>` for the name of a program to run.
    if not text or len(text) > LONGEST or text.startswith("-") or "::" in text or _CONTROL.search(text):
        raise _invalid()
    if text.startswith(("/", "file://")):
        _check_protocol("file", protocols, hints)
        return Address(_local(text, roots, hints), "file")
    if " " in text:
        raise _invalid()
    if found := _SCP_LIKE.fullmatch(text):
        _check_protocol("ssh", protocols, hints)
        return Address(f"ssh://{found['user']}@{found['host']}/{found['path'].lstrip('/')}", "ssh")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise _invalid() from None
    user, host = parts.username or "", parts.hostname or ""
    if not host or host.startswith("-") or user.startswith("-"):
        raise _invalid()
    _check_protocol(parts.scheme, protocols, hints)
    place = (f"[{host}]" if ":" in host else host) + (f":{port}" if port else "")
    credential = Credential(unquote(user), unquote(parts.password)) if parts.password else None
    if parts.scheme == "ssh":
        return Address(urlunsplit(("ssh", f"{user or 'git'}@{place}", parts.path, "", "")), "ssh", credential)
    return Address(urlunsplit((parts.scheme, place, parts.path, parts.query, "")), parts.scheme, credential, unquote(user))


def _check_protocol(protocol: str, protocols: Sequence[str], hints: Hints) -> None:
    if protocol not in protocols or protocol not in PROTOCOLS:
        more = f", or allow it with {hints.protocols}" if hints.protocols and protocol in PROTOCOLS else ""
        raise SourceRefused(
            "source.protocol_refused",
            f"Repositories are not read over {protocol[:20] or 'this'}.",
            f"Use one of {', '.join(protocols)}{more}.",
        )


def _invalid() -> SourceRefused:
    # The address itself is not repeated: what cannot be read cannot be cleaned of a password either.
    return SourceRefused(
        "source.address_invalid",
        "This is not the address of a Git repository.",
        "Enter https://host/path.git, ssh://git@host/path.git, git@host:path.git or a path on this machine.",
    )


def _local(text: str, roots: Sequence[Path], hints: Hints) -> str:
    """A path as a file address. Links are followed first, so that one inside an allowed folder leads nowhere else."""
    path = os.path.realpath(text.removeprefix("file://"))
    allowed = [os.path.realpath(root) for root in roots]
    for place in (path, _data(path)):
        if not any(Path(place).is_relative_to(root) for root in allowed):
            change = f"Change {hints.roots}, or give" if hints.roots else "Give"
            raise SourceRefused(
                "source.path_not_allowed",
                f"{place} lies outside the folders from which repositories may be read.",
                f"Allowed: {', '.join(str(root) for root in roots) or 'none'}. {change} the repository's https or ssh address.",
            )
    if not os.path.isdir(path):
        raise SourceRefused(
            "source.not_found", f"There is no repository at {path}.", "Check the path; a moved one is changed in the service."
        )
    return f"file://{path}"


def _data(path: str) -> str:
    """Where git would look for the data of a work tree: its `.git` may be a link, or a file that names another folder."""
    inner = os.path.join(path, ".git")
    if os.path.isfile(inner):
        try:
            with open(inner, encoding="utf-8", errors="replace") as file:
                word, _, target = file.read(4096).partition("gitdir:")
        except OSError:
            return os.path.realpath(inner)
        if not word and target:
            return os.path.realpath(os.path.join(path, target.strip()))
    return os.path.realpath(inner)
