"""`.dockerignore`: which files of a folder are no part of the build.

Its patterns read like Git's and are not: they begin at the context's root, a later `!pattern` brings back what lies in an
excluded folder, and a trailing slash means nothing. They are rewritten for pathspec, whose last match decides.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable

from builder.errors import BuildError


class Ignored:
    """Answers whether a path, relative to the context with forward slashes, is left out."""

    def __init__(self, text: str) -> None:
        lines = list(_patterns(text))
        self.brings_back = any(line.startswith("!") for line in lines)
        self._spec = None
        if lines:
            import pathspec

            try:
                self._spec = pathspec.PathSpec.from_lines("gitignore", lines)
            except ValueError as error:
                raise BuildError(
                    "build.dockerignore_invalid", f"A pattern in .dockerignore cannot be read: {error}", "Mend or remove it."
                ) from error

    def __call__(self, path: str) -> bool:
        return self._spec is not None and self._spec.match_file(path)


def _patterns(text: str) -> Iterable[str]:
    for line in text.removeprefix("\ufeff").splitlines():
        if line.startswith("#"):
            continue
        pattern = line.strip()
        back = pattern.startswith("!")
        pattern = posixpath.normpath(pattern.removeprefix("!").strip() or ".").lstrip("/")
        if pattern in (".", ""):
            continue
        yield ("!" if back else "") + (pattern if pattern.startswith("**") else f"/{pattern}")
