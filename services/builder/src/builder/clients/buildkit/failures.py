"""What the engine's complaints mean: a code that stays, a sentence, and what to do."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from builder.errors import BuildError

_PARSE = re.compile(r"dockerfile parse error (?:on )?line (\d+): (.+)|(?:dockerfile|Dockerfile):(\d+): (.+)", re.IGNORECASE)
_EXIT = re.compile(r"exit code: (\d+)")
_SPACE = re.compile(r"no space left on device|disk quota exceeded", re.IGNORECASE)
_MEMORY = re.compile(r"out of memory|oom[- ]?kill|cannot allocate memory|signal: killed", re.IGNORECASE)
_MISSING_FILE = re.compile(
    r"(?:failed to compute cache key|failed to calculate checksum|failed to walk).*?(?:lstat |\")([^\s\":]+)"
)
_BASE = re.compile(
    r"failed to resolve source metadata|failed to load metadata|pull access denied|failed to do request|failed to authorize"
    r"|unexpected status code|server misbehaving|failed to fetch (?:oauth|anonymous)|manifest unknown|no match for platform"
    r"|[\w./-]+:[\w.-]+: not found|failed to copy: httpreadseeker",
    re.IGNORECASE,
)
_REFUSED = re.compile(r"pull access denied|authorize|unauthorized|403 forbidden|401", re.IGNORECASE)
_AWAY = re.compile(r"dial tcp|lookup |timeout|no such host|connection refused|tls|x509|server misbehaving|EOF", re.IGNORECASE)
_SYNTAX = re.compile(r"frontend|docker/dockerfile|buildkit-syntax", re.IGNORECASE)
_MISUSE = re.compile(
    r"failed to create LLB|failed to parse|dockerfile|invalid|unknown|target stage|circular dependency|no build stage"
    r"|base name|should not be blank",
    re.IGNORECASE,
)


def explain(message: str, step: str = "", last: Sequence[str] = (), outside: Sequence[str] = ()) -> BuildError:
    """The error a failed build stands for.

    `message` is the engine's, `step` the failed step's name and `last` what it wrote at the end, `outside` the Dockerfile's
    base images. Details of the error: step, exit_code, line, last_lines, said.
    """
    said = tidy(message)
    detail: dict[str, Any] = {"said": said, "step": step, "last_lines": list(last)}
    everything = "\n".join((said, *last))
    if found := _PARSE.search(said):
        line, why = int(found[1] or found[3]), (found[2] or found[4]).strip()
        return BuildError(
            "build.dockerfile_invalid", f"The Dockerfile cannot be read, line {line}: {why}", "Mend that line.", line=line, **detail
        )
    if _SPACE.search(everything):
        return BuildError(
            "build.disk_full",
            "There is no room left on the engine's disk.",
            "Make room for the engine: remove images and build cache that nobody needs, or give it a larger disk.",
            **detail,
        )
    if step and (found := _EXIT.search(said)):
        return _step_failed(step, int(found[1]), everything, last, detail)
    if found := _MISSING_FILE.search(said):
        return BuildError(
            "build.file_not_found",
            f"{_short(step) or 'A step'} wants {_in_context(found[1])}, which is not in the build context.",
            "Check the path, that the file is committed, and that .dockerignore does not exclude it.",
            **detail,
        )
    if _BASE.search(said):
        return _base(said, step, outside, detail)
    if re.search(r"no active session|secret .* not found", said, re.IGNORECASE):
        return BuildError(
            "build.secret_missing", f"A step wants a secret that was not given: {said}", "Add it to the service.", **detail
        )
    if _MISUSE.search(said) and not step:
        return BuildError(
            "build.dockerfile_invalid", f"The Dockerfile cannot be built: {said}", "Mend the line it names.", **detail
        )
    return BuildError(
        "build.failed",
        f"{_short(step) + ': ' if step else ''}{said}",
        "Read the last lines of the log.",
        **detail,
    )


def tidy(message: str) -> str:
    """The engine's message without the words each of its layers put before it."""
    text = " ".join(message.split())
    text = re.sub(r"^(?:failed to solve(?: with frontend [\w.]+)?: |rpc error: code = \w+ desc = )+", "", text)
    text = re.sub(r"^failed to (?:build LLB|create LLB definition): ", "", text)
    return re.sub(r"/var/lib/docker/(?:tmp/)?buildkit-mount\d+", "", text)[:1000]


def _step_failed(step: str, code: int, everything: str, last: Sequence[str], detail: dict[str, Any]) -> BuildError:
    if code == 137 or _MEMORY.search(everything):
        return BuildError(
            "build.out_of_memory",
            f"{_short(step)} was killed, most often for want of memory (exit code {code}).",
            "Let the step need less (fewer parallel jobs), or give the machine or the build more memory.",
            exit_code=code,
            **detail,
        )
    ending = next((line.strip() for line in reversed(last) if line.strip()), "")
    return BuildError(
        "build.step_failed",
        f"{_short(step)} ended with exit code {code}{f': {ending[:300]}' if ending else ''}",
        "Read the step's last lines; the same command can be tried by hand in a container of the base image.",
        exit_code=code,
        **detail,
    )


def _base(said: str, step: str, outside: Sequence[str], detail: dict[str, Any]) -> BuildError:
    name = next((base for base in outside if base.split("@")[0].split(":")[0].rsplit("/", 1)[-1] in said), "")
    if not name and (found := re.search(r"(?:load metadata for|FROM) (\S+)", step)):
        name = found[1]
    if not name and _SYNTAX.search(said):
        return BuildError(
            "build.frontend_unavailable",
            f"The Dockerfile's `# syntax` line names an image that cannot be pulled: {said}",
            "Remove that line; the engine's own reader of Dockerfiles is used then.",
            **detail,
        )
    what = name or "The base image"
    if _AWAY.search(said) and not _REFUSED.search(said.split("dial tcp")[0]):
        code, message = "build.base_unreachable", f"{what} cannot be pulled: its registry does not answer."
        advice = "Check that the engine reaches the registry, or have the image there before the build."
    elif _REFUSED.search(said):
        code, message = "build.base_refused", f"{what} cannot be pulled: it does not exist, or needs a credential."
        advice = "Check the name and tag in FROM; for a private image, add the registry with its credential."
    else:
        code, message = "build.base_not_found", f"{what} cannot be pulled: the registry has no such image."
        advice = "Check the name and tag in FROM."
    return BuildError(code, message, advice, **detail)


def _short(step: str) -> str:
    return step if len(step) <= 160 else f"{step[:157]}..."


def _in_context(path: str) -> str:
    """The path as the Dockerfile has it: without the folder that the archive puts around the context."""
    return re.sub(r"^/?(?:context/)?", "", path) or "/"
