"""What of a checked-out tree the engines are shown.

The engines never see the tree itself: a repository could switch them off with ignore files, comments or settings of its own, and
they would skip `tests` or files whose names they do not know. Each gets a folder with just the files it must read, so that what
was read can be compared with what was there.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

# Code of others that was put into the repository: judged as packages, not as source.
FOREIGN = {"node_modules", "site-packages", ".venv", "venv", "__pycache__", ".git", ".tox", "bower_components"}
LANGUAGES = {
    ".py": "Python", ".pyi": "Python", ".js": "JavaScript", ".mjs": "JavaScript", ".cjs": "JavaScript", ".jsx": "JavaScript",
    ".ts": "TypeScript", ".tsx": "TypeScript", ".java": "Java", ".kt": "Kotlin", ".go": "Go", ".rs": "Rust", ".rb": "Ruby",
    ".php": "PHP", ".cs": "C#", ".c": "C", ".h": "C", ".cc": "C++", ".cpp": "C++", ".hpp": "C++", ".swift": "Swift",
    ".scala": "Scala", ".sh": "Shell", ".bash": "Shell", ".pl": "Perl", ".lua": "Lua", ".dart": "Dart", ".ex": "Elixir",
    ".exs": "Elixir", ".erl": "Erlang", ".hs": "Haskell", ".clj": "Clojure", ".r": "R", ".jl": "Julia", ".zig": "Zig",
}  # fmt: skip
WITH_RULES = {"Python"}
_DOCKERFILE = re.compile(r"^(?:Dockerfile|Containerfile)(?:\..+)?$|\.(?:dockerfile|containerfile)$", re.IGNORECASE)
_NOT_DOCKERFILE = re.compile(r"\.(?:dockerignore|md|txt|py|sh|json|ya?ml|tmpl|j2)$", re.IGNORECASE)
_KUBERNETES = re.compile(rb"^\s*apiVersion\s*:.*$[\s\S]*^\s*kind\s*:|^\s*kind\s*:.*$[\s\S]*^\s*apiVersion\s*:", re.MULTILINE)
_INLINE_IGNORE = re.compile(rb"(?i)\b(trivy|tfsec)(\s*):(\s*)ignore")
LARGEST_MANIFEST = 1_000_000


@dataclass
class Targets:
    """`shown` maps a path below `folder` to the path in the repository; `code` and `iac` are the sets of those to be read."""

    folder: Path
    shown: dict[str, str] = field(default_factory=dict)
    code: set[str] = field(default_factory=set)
    dockerfiles: set[str] = field(default_factory=set)
    manifests: set[str] = field(default_factory=set)
    too_large: list[str] = field(default_factory=list)
    foreign: int = 0
    languages: Counter[str] = field(default_factory=Counter)

    @property
    def without_rules(self) -> list[str]:
        """Languages that are there and have no rules, the most frequent first."""
        return [name for name, _ in self.languages.most_common() if name not in WITH_RULES]

    def original(self, path: str) -> str:
        """The path in the repository of a path an engine named."""
        clean = str(PurePosixPath(path))
        return self.shown.get(clean, clean)


def prepare(tree: Path, folder: Path, *, dockerfile: str = "", max_bytes: int = 2_000_000) -> Targets:
    """Lay out what is to be read below `folder`: `code/...` and `iac/...`. `dockerfile` is the one the build uses."""
    targets = Targets(folder)
    named = os.path.normpath(dockerfile) if dockerfile else ""
    for path, is_foreign in _files(tree):
        if is_foreign:
            targets.foreign += 1
            continue
        _place(targets, tree, path, named, max_bytes)
    for part in ("code", "iac"):
        (folder / part).mkdir(parents=True, exist_ok=True)
        # Without a file of ours Semgrep applies a list of its own, which leaves out `tests` and more.
        (folder / part / ".semgrepignore").write_text("# every file is read\n")
    return targets


def _files(tree: Path) -> Iterator[tuple[str, bool]]:
    for base, folders, names in os.walk(tree):
        inside = os.path.relpath(base, tree)
        parts = [] if inside == "." else inside.split(os.sep)
        folders.sort()
        if ".git" in folders and not parts:
            folders.remove(".git")
        foreign = any(part in FOREIGN for part in parts)
        for name in sorted(names):
            file = os.path.join(base, name)
            if not os.path.islink(file) and os.path.isfile(file):
                yield "/".join((*parts, name)), foreign


def _place(targets: Targets, tree: Path, path: str, named: str, max_bytes: int) -> None:
    file, name = tree / path, path.rsplit("/", 1)[-1]
    language = LANGUAGES.get(os.path.splitext(name)[1].lower()) or _by_first_line(file, name)
    if language:
        targets.languages[language] += 1
    if language in WITH_RULES:
        if file.stat().st_size > max_bytes:
            targets.too_large.append(path)
        else:
            shown = f"code/{path}" if name.endswith((".py", ".pyi")) else f"code/{path}.py"
            targets.code.add(_show(targets, shown, path, file.read_bytes()))
    is_dockerfile = path == named or (_DOCKERFILE.search(name) and not _NOT_DOCKERFILE.search(name))
    if is_dockerfile:
        usual = name == "Dockerfile" or name.endswith(".dockerfile")
        shown = f"iac/{path}" if usual else f"iac/{path}.dockerfile"
        targets.dockerfiles.add(_show(targets, shown, path, _outspoken(file.read_bytes())))
    elif name.endswith((".yaml", ".yml")) and file.stat().st_size <= LARGEST_MANIFEST:
        content = file.read_bytes()
        if _KUBERNETES.search(content) and b"{{" not in content:
            targets.manifests.add(_show(targets, f"iac/{path}", path, _outspoken(content)))
    elif name.endswith(".tf") and file.stat().st_size <= LARGEST_MANIFEST:
        targets.manifests.add(_show(targets, f"iac/{path}", path, _outspoken(file.read_bytes())))


def _show(targets: Targets, shown: str, path: str, content: bytes) -> str:
    to = targets.folder / shown
    to.parent.mkdir(parents=True, exist_ok=True)
    to.write_bytes(content)
    targets.shown[shown] = path
    return shown


def _outspoken(content: bytes) -> bytes:
    """The file with comments that would silence a check made harmless; lines and columns stay."""
    return _INLINE_IGNORE.sub(rb"\1\2_\3ignore", content)


def _by_first_line(file: Path, name: str) -> str:
    if "." in name:
        return ""
    with file.open("rb") as opened:
        first = opened.readline(200)
    return "Python" if first.startswith(b"#!") and b"python" in first else ""
