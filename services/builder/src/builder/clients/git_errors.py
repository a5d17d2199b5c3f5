"""What git's complaints mean: a code that stays, a sentence, and what to do."""

from __future__ import annotations

import re

from builder.errors import SourceAway, SourceError

# The first pattern that is found decides; git is asked to speak English (LC_ALL=C). Order matters: a refused
# credential often ends with a general "could not read from remote repository".
_MEANINGS: tuple[tuple[str, str, str, str], ...] = (
    (
        r"no space left on device|disk quota exceeded",
        "source.disk_full",
        "There is no room left to fetch the repository.",
        "Make room on the disk of KIOPS' data folder, then build again.",
    ),
    (
        r"host key verification failed|remote host identification has changed",
        "source.host_key_changed",
        "The Git host shows another ssh key than the one it had before.",
        "Ask who runs the host whether its key was changed; if so, remove its old line from the builder's known_hosts.",
    ),
    (
        r"ssl certificate problem|certificate verif|unable to get local issuer|ssl_connect|gnutls|tls handshake|ssl routines"
        r"|server certificate|wrong version number",
        "source.tls",
        "The Git host's certificate is not trusted, or no secure connection came about.",
        "Give the certificate of your own authority with BUILDER_GIT_CA_FILE, or mend the host's certificate.",
    ),
    (
        r"could not resolve host|couldn't resolve|could not resolve hostname|name or service not known",
        "source.unreachable",
        "The Git host's name is not known here.",
        "Check the address, and that this machine can look up names.",
    ),
    (
        r"connection refused|connection timed out|failed to connect|couldn't connect|could not connect|no route to host"
        r"|network is unreachable|operation timed out|operation too slow|connection reset|timed out|recv failure"
        r"|returned error: 5\d\d|empty reply from server|early eof",
        "source.unreachable",
        "The Git host does not answer.",
        "Check that it runs and can be reached from this machine; the build is tried again by itself for a while.",
    ),
    (
        r"authentication failed|could not read (username|password)|permission denied \(|returned error: 40[13]|invalid credentials"
        r"|access denied|terminal prompts disabled|unable to read askpass|http basic: access denied",
        "source.credential_refused",
        "The Git host refused the credential, or wants one.",
        "Give the service a credential that may read this repository; a token may have expired or lack the scope to read.",
    ),
    (
        r"unadvertised object|not our ref|couldn't find remote ref|did not send all necessary objects|reference is not a tree"
        r"|bad object|unable to read tree|dumb http transport",
        "source.commit_gone",
        "The commit is not in the repository any more.",
        "It was probably replaced by a push with force; start a build of the branch as it is now.",
    ),
    (
        r"repository not found|repository .* not found|does not appear to be a git repository|does not exist|not a git repository"
        r"|returned error: 404|project you were looking for could not be found|no such file or directory",
        "source.not_found",
        "There is no repository at this address.",
        "Check the address. Some hosts answer so too when the credential may not see the repository.",
    ),
    (
        r"protocol .* not allowed|transport .* not allowed",
        "source.protocol_refused",
        "The repository points to an address of a kind that is not allowed.",
        "Use an https or ssh address.",
    ),
)
_AWAY = frozenset({"source.unreachable"})


def explain(err: bytes, address: str, commit: str = "") -> SourceError | SourceAway:
    """The error that git's words stand for. A host that is away is told apart: that is tried again."""
    text = err.decode("utf-8", "replace")
    said = " ".join(line.strip() for line in text.splitlines()[-3:])[:400]
    for pattern, code, message, advice in _MEANINGS:
        if re.search(pattern, text, re.IGNORECASE):
            kind = SourceAway if code in _AWAY else SourceError
            return kind(code, f"{message} ({address}{f', commit {commit[:12]}' if commit else ''})", advice, said=said)
    return SourceError(
        "source.failed",
        f"git failed on {address}: {said or 'it said nothing'}",
        "Read git's words, and test the connection.",
        said=said,
    )
