"""What people may enter: names, addresses, patterns, versions. Each function returns the cleaned value or raises BadInput."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from gateway.errors import BadInput, NotAllowedHere

_LABEL = re.compile(r"[a-z]([a-z0-9-]{0,46}[a-z0-9])?")
_VERSION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_SCP = re.compile(r"(?:[A-Za-z0-9._-]+@)?[A-Za-z0-9.-]+:(?!//)[^\s:]+")
_SCHEMES = {"https", "http", "ssh", "git", "git+ssh"}
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
# Control characters, U+0000 among them, and lone surrogates never belong into a value of ours.
_UNFIT = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")
_NEVER = re.compile(r"[\x00\ud800-\udfff]")


def text(value: str, *, field: str, longest: int = 500, lines: bool = False) -> str:
    """Text without control characters, trimmed; line breaks only where `lines` allows them."""
    if _UNFIT.search(value) or (not lines and "\n" in value) or "\t" in value:
        raise BadInput("characters", "Control characters cannot be used here.", field=field)
    value = value.strip()
    if len(value) > longest:
        raise BadInput("too_long", f"At most {longest} characters.", field=field)
    return value


def label(value: str, *, field: str = "name") -> str:
    """A DNS label of at most 48 characters: the name of a service or environment stands in host names and image names."""
    value = text(value, field=field)
    if not _LABEL.fullmatch(value):
        raise BadInput(
            "name", "Small letters, digits and hyphens, beginning with a letter, at most 48 (for example shop-api).", field=field
        )
    return value


def version(value: str | None) -> str | None:
    """A version by hand, None when nothing was entered."""
    if value is None or not value.strip():
        return None
    value = value.strip()
    if not _VERSION.fullmatch(value):
        raise BadInput(
            "version",
            "Letters, digits, dot, underscore and hyphen, beginning with a letter, digit or underscore, at most 128.",
            field="version",
        )
    return value


def ref(value: str, *, field: str) -> str:
    """A branch, tag or commit that Git would take as a name. Empty when nothing was entered."""
    value = text(value, field=field, longest=255)
    bad = value.startswith(("-", "/")) or value.endswith(("/", ".lock", ".")) or ".." in value or "@{" in value or "//" in value
    if bad or re.search(r"[ ~^:?*\[\\]", value):
        raise BadInput("ref", "This cannot be the name of a branch, tag or commit.", field=field)
    return value


def patterns(values: Iterable[str], *, field: str) -> list[str]:
    """Globs for branches or tags, at most 50, without repeats."""
    found = list(dict.fromkeys(entry for value in values if (entry := text(value, field=field, longest=255))))
    if len(found) > 50:
        raise BadInput("too_many", "At most 50 patterns.", field=field)
    return found


def path_inside(value: str, *, field: str, default: str) -> str:
    """A path inside a repository, such as ./Dockerfile; never one that leads out of it."""
    value = text(value, field=field, longest=255) or default
    if value.startswith("/") or ".." in value.split("/") or "\\" in value:
        raise BadInput("path", "A path inside the repository, such as ./Dockerfile.", field=field)
    return value


def health_path(value: str) -> str:
    value = text(value, field="health_path", longest=255) or "/"
    if not value.startswith("/") or re.search(r"\s", value):
        raise BadInput("health_path", "A path that begins with /, such as /healthz.", field="health_path")
    return value


def variables(values: dict[str, str]) -> dict[str, str]:
    """Plain variables of an environment, at most 200."""
    if len(values) > 200:
        raise BadInput("too_many", "At most 200 variables.", field="variables")
    for name, value in values.items():
        if not _VARIABLE.fullmatch(name):
            raise BadInput("variable", f"{name[:40]!r} cannot be the name of a variable.", field="variables")
        text(value, field="variables", longest=8192, lines=True)
    return dict(values)


def repository_url(value: str, roots: Sequence[Path]) -> str:
    """Any Git URL; a file path only below one of the allowed roots. Returns it as it is stored.

    Raises BadInput, NotAllowedHere.
    """
    value = text(value, field="repository_url", longest=2000)
    if not value:
        raise BadInput("empty", "The address of the Git repository is missing.", field="repository_url")
    if value.startswith(("-", "ext::")) or re.search(r"\s", value):
        raise _bad_url()
    if value.startswith(("/", "file:", "~", ".")):
        return _file(value, roots)
    if _SCP.fullmatch(value) and "://" not in value:
        return value
    try:
        parts = urlsplit(value)
        port_ok = parts.port is None or parts.port > 0
    except ValueError:
        raise _bad_url() from None
    if parts.scheme not in _SCHEMES or not parts.hostname or not port_ok or not parts.path.strip("/"):
        raise _bad_url()
    if parts.password or (parts.username and parts.scheme in {"http", "https"}):
        raise BadInput(
            "url_credential",
            "The address must not carry a user or token: it would be shown to everybody.",
            field="repository_url",
            advice="Enter the token in its own field, where it is sealed.",
        )
    return value


def _bad_url() -> BadInput:
    return BadInput(
        "repository_url",
        "A Git address: https://host/path.git, ssh://git@host/path.git or git@host:path.git.",
        field="repository_url",
    )


def _file(value: str, roots: Sequence[Path]) -> str:
    if value.startswith("file:"):
        parts = urlsplit(value)
        if parts.netloc not in ("", "localhost") or not parts.path.startswith("/"):
            raise _bad_url()
        value = unquote(parts.path)
    if not value.startswith("/"):
        raise BadInput("path", "A whole path, beginning with /.", field="repository_url")
    text(value, field="repository_url", longest=2000)
    # Links are followed first: a link inside an allowed root must not lead out of it.
    real = os.path.realpath(value)
    allowed = [os.path.realpath(root) for root in roots]
    if not any(real == root or real.startswith(root.rstrip("/") + "/") for root in allowed):
        raise NotAllowedHere([str(root) for root in roots])
    return real


def unfit(value: object) -> bool:
    """Whether U+0000 or a lone surrogate hides anywhere in a decoded JSON value: no database of ours would take it."""
    if isinstance(value, str):
        return bool(_NEVER.search(value))
    if isinstance(value, dict):
        return any(unfit(key) or unfit(entry) for key, entry in value.items())
    if isinstance(value, list | tuple):
        return any(unfit(entry) for entry in value)
    return False
