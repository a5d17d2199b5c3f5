"""What git's complaints mean: a code that stays, a sentence, and what to do.

Rejected
└── SourceRefused   source.address_invalid, source.protocol_refused, source.path_not_allowed, source.password_in_address,
                    source.commit_invalid, source.commit_gone, source.not_found, source.credential_refused, source.tls,
                    source.host_key_changed, source.disk_full, source.git_missing, source.failed
Unavailable
└── SourceAway      source.unreachable
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from shared.errors import Rejected, Unavailable


class SourceRefused(Rejected):
    """The source cannot be had, and trying again would not help."""


class SourceAway(Unavailable):
    """The Git host does not answer; it may in a while."""


@dataclass(frozen=True, slots=True)
class Hints:
    """Names of the settings that an advice may speak of; empty where a service has none."""

    roots: str = ""
    timeout: str = ""
    protocols: str = ""
    ca_file: str = "SSL_CERT_FILE"


# The first pattern that is found decides; git is asked to speak English (LC_ALL=C). Order matters: a refused
# credential often ends with a general "could not read from remote repository".
_MEANINGS: tuple[tuple[str, str, str, str], ...] = (
    (
        r"no space left on device|disk quota exceeded|out of disk ?space",
        "source.disk_full",
        "There is no room left to fetch the repository",
        "Make room on the disk of KIOPS' data folder, then try again.",
    ),
    (
        r"host key verification failed|remote host identification has changed",
        "source.host_key_changed",
        "The Git host shows another ssh key than the one it had before",
        "Ask who runs the host whether its key was changed; if so, remove its old line from the known_hosts file in "
        "the service's data folder.",
    ),
    (
        r"certificate|gnutls|ssl_connect|tls handshake|ssl routines|wrong version number",
        "source.tls",
        "The Git host's certificate is not trusted, or no secure connection came about",
        "Give the certificate of your own authority with {ca_file}, or mend the host's certificate.",
    ),
    (
        r"could not resolve|couldn't resolve|name or service not known",
        "source.unreachable",
        "The Git host's name is not known here",
        "Check the address, and that this machine can look up names.",
    ),
    (
        r"connection refused|failed to connect|couldn't connect|could not connect|no route to host|network is unreachable"
        r"|timed out|too slow|connection reset|recv failure|returned error: 5\d\d|empty reply|early eof",
        "source.unreachable",
        "The Git host does not answer",
        "Check that it runs and can be reached from this machine; a run is tried again by itself for a while.",
    ),
    (
        r"authentication failed|could not read (username|password)|permission denied \(|returned error: 40[13]|invalid credentials"
        r"|access denied|terminal prompts disabled|unable to read askpass",
        "source.credential_refused",
        "The Git host refused the credential, or wants one",
        "Give the service a credential that may read this repository; a token may have expired or lack the scope to read.",
    ),
    (
        r"unadvertised object|not our ref|couldn't find remote ref|no such remote ref|did not send all necessary objects"
        r"|reference is not a tree|bad object|unable to read tree|dumb http transport",
        "source.commit_gone",
        "The commit is not in the repository any more",
        "It was probably replaced by a push with force; start a run of the branch as it is now.",
    ),
    (
        r"repository not found|repository .* not found|does not appear to be a git repository|does not exist|not a git repository"
        r"|returned error: 404|could not be found|no such file or directory",
        "source.not_found",
        "There is no repository at this address",
        "Check the address. Some hosts answer so too when the credential may not see the repository.",
    ),
    (
        r"protocol .* not allowed|transport .* not allowed",
        "source.protocol_refused",
        "The repository points to an address of a kind that is not allowed",
        "Use an https or ssh address.",
    ),
    (
        r"hung up|unexpected disconnect|rpc failed|connection (to \S+ )?closed",
        "source.unreachable",
        "The Git host broke off",
        "Read its own log if this stays so; a run is tried again by itself for a while.",
    ),
)
_AWAY = frozenset({"source.unreachable"})
_NOT_ALONE = re.compile(r"unadvertised object|dumb http|no such remote ref|couldn't find remote ref", re.IGNORECASE)
_USER_IN_URL = re.compile(r"(://)[^/@\s]*@")


def gives_no_single_commits(said: str) -> bool:
    """Whether a fetch of a bare commit failed because the server gives only branches and tags."""
    return _NOT_ALONE.search(said) is not None


def explain(said: str, shown: str, commit: str = "", hints: Hints | None = None) -> SourceRefused | SourceAway:
    """The error that git's words stand for. `shown` is the address without anything secret. Users and passwords of addresses in
    git's words are left out; other secrets have to be masked before."""
    hints = hints or Hints()
    last = _USER_IN_URL.sub(r"\1", " ".join(line.strip() for line in said.splitlines()[-3:]))[:400]
    # A repository called certificate-service.git must not be taken for a complaint about certificates.
    words = said.replace(shown, "").replace(shown.removeprefix("file://"), "")
    for pattern, code, sentence, advice in _MEANINGS:
        if re.search(pattern, words, re.IGNORECASE):
            kind = SourceAway if code in _AWAY else SourceRefused
            where = f"{shown}, commit {commit[:12]}" if commit else shown
            return kind(code, f"{sentence} ({where}).", advice.format(ca_file=hints.ca_file), said=last)
    return SourceRefused(
        "source.failed",
        f"git failed on {shown}: {last or 'it said nothing'}",
        "Read git's words, and test the connection.",
        said=last,
    )
