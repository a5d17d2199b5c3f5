"""What people wrote: links lead somewhere, names of files, functions, commands and settings are those of the code."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

import pytest
from shared.bus import HEARS, queries
from shared.facts import REGISTRY

from kiops import catalogue
from kiops.settings import every
from tools import document

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted(
    path for pattern in ("*.md", "docs/**/*.md", "shared/README.md", "services/*/README.md") for path in ROOT.glob(pattern)
)
SETTINGS = {row[0] for row in every()}
NOT_SETTINGS = {"KIOPS_PUSHER", "OPERATOR_PROXY", "KIOPS_OK", "KIOPS_HOME"} | {
    "KIOPS_TEST_PARTS",
    "KIOPS_JOB",
    "KIOPS_MODEL_EXAMPLES",
}


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def anchors(path: Path) -> set[str]:
    """The anchors of a document's headings, as code hosts make them."""
    found = re.findall(r"(?m)^#+ (.+)$", path.read_text())
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}


@pytest.mark.parametrize("path", DOCUMENTS, ids=named)
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text()):
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        file, _, anchor = target.partition("#")
        there = (path.parent / file).resolve() if file else path
        assert there.exists(), f"{target} leads nowhere"
        assert there.is_relative_to(ROOT), target
        if anchor and there.suffix == ".md":
            assert anchor in anchors(there), f"{target}: there is no such heading"


@pytest.mark.parametrize("path", DOCUMENTS, ids=named)
def test_commands_are_those_that_there_are(path: Path) -> None:
    """Every `kiops ...` in code, with its options."""
    known = {words: command for words, command in document.every_command()}
    groups = {words.rsplit(" ", 1)[0] for words in known} - {"kiops"}
    for line in commands_in(path.read_text()):
        words = line.split()
        if len(words) < 2 or not re.fullmatch(r"[a-z-]+", words[1]) or words[1] == "test":
            continue
        name = " ".join(words[:3]) if " ".join(words[:2]) in groups else " ".join(words[:2])
        if name in groups:
            continue
        assert name in known, f"`{line}`: there is no command {name}"
        options = {option for one in known[name].params for option in (*one.opts, *one.secondary_opts)} | {"--help"}
        used = {word.split("=")[0] for word in words[2:] if re.fullmatch(r"--?[a-z][a-z-]*(=.*)?", word)}
        assert used <= options, f"`{line}`: {sorted(used - options)}"


def commands_in(text: str) -> list[str]:
    """`kiops ...` in code spans (which may go over a line's end) and in code blocks; what is behind `#` is a comment."""
    spans = [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", text)]
    blocks = re.findall(r"(?m)^    (.+)$", text)
    found = []
    for code in spans + blocks:
        if match := re.match(r"(?:\./)?kiops (.+)", code.partition(" #")[0].strip()):
            found.append("kiops " + match[1].strip())
    return found


def test_the_search_for_commands_sees_them() -> None:
    assert commands_in("    ./kiops up --demo    # starts\n") == ["kiops up --demo"]
    assert commands_in("say `kiops\nsettings` and `./kiops runs list`") == ["kiops settings", "kiops runs list"]


COMPOSE = set(re.findall(r"\$\{(\w+)", (ROOT / "compose.yaml").read_text()))
"""What compose.yaml itself takes from the shell."""


@pytest.mark.parametrize("path", DOCUMENTS, ids=named)
def test_settings_that_are_named_exist(path: Path) -> None:
    prefixes = "KIOPS|GATEWAY|WEBHOOK|BUILDER|SCANNER|GATE|DEPLOYER|OPERATOR_PROXY"
    for name in re.findall(rf"(?<![A-Z_])(?:{prefixes})_[A-Z0-9_]*[A-Z0-9]", path.read_text()):
        assert name in SETTINGS | NOT_SETTINGS | COMPOSE, f"there is no setting {name}"


# -- the journey -------------------------------------------------------------------------------------------------------
JOURNEY = ROOT / "docs" / "journey-of-a-push.md"


def places_of(paragraph: str, rooms: Path) -> list[Path]:
    """The files that a paragraph names; those that begin with shared/ lie there, the others in the service's rooms."""
    found = []
    for name in re.findall(r"`((?:[\w-]+/)*[\w-]+\.(?:py|html|rego))`", paragraph):
        found.append(ROOT / "shared" / "src" / name if name.startswith("shared/") else rooms / name)
    return found


def sections() -> list[tuple[str, str]]:
    """(package, text) of each step; a step that is every service's, and the way back, have no package."""
    parts = re.split(r"(?m)^## ", JOURNEY.read_text())[1:]
    found = []
    for part in parts:
        owner = re.match(r"[^\n]*\(([a-z-]+)\)\n", part)
        found.append((catalogue.package(owner[1]) if owner and owner[1] in catalogue.NAMES else "", part))
    return found


def source(name: str) -> Path:
    return ROOT / "services" / name.replace("_", "-") / "src" / name


def test_the_journey_goes_through_every_service() -> None:
    assert {package for package, _ in sections()} - {""} == {catalogue.package(name) for name in catalogue.NAMES}


@pytest.mark.parametrize(("package", "text"), sections(), ids=lambda value: value.split("\n")[0][:40])
def test_files_and_functions_of_the_journey_exist(package: str, text: str) -> None:
    """Files where they are said to be; functions and classes somewhere in the code of the services."""
    rooms = [source(package)] if package else [source(catalogue.package(name)) for name in catalogue.NAMES]
    for name in {name for room in rooms[:1] for name in places_of(text, room)}:
        if package or "shared" in name.parts:
            assert name.exists(), f"{named(name)} is not there"
        else:
            assert any((room / name.relative_to(rooms[0])).exists() for room in rooms), named(name)
    for folder in re.findall(r"`((?:[\w-]+/)+)`", text):
        if folder != "services/<name>/src/<package>/":
            assert any((room / folder).is_dir() for room in rooms), folder
    defined = definitions()
    for name in re.findall(r"`([A-Z]\w+\.\w+|[A-Z][a-z]\w+|_?[a-z]+(?:_[a-z]+)+|[A-Z]{6,})`", text):
        assert name in defined or name in {"traceparent"}, f"`{name}` is not in the code any more"


@functools.cache
def definitions() -> set[str]:
    """Names of functions, classes, `Class.method` and constants of all services and the chassis."""
    found: set[str] = set()
    for path in [*(ROOT / "services").glob("*/src/**/*.py"), *(ROOT / "shared" / "src").glob("**/*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                found.add(node.name)
            if isinstance(node, ast.ClassDef):
                found |= {
                    f"{node.name}.{inner.name}" for inner in node.body if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef)
                }
            if isinstance(node, ast.Assign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                found |= {target.id for target in targets if isinstance(target, ast.Name)}
    return found


# -- services ----------------------------------------------------------------------------------------------------------
MESSAGES = {cls.name: cls for cls in REGISTRY.values()}


def messages_in(text: str) -> set[str]:
    """The messages that a text names in code. `.changed` means the noun before it, `scan.*` all facts of a noun."""
    found, noun = set(), ""
    for token in re.findall(r"`(\.?[a-z-]+(?:\.[a-z*-]+)?)`", text):
        before, _, verb = (noun + token if token.startswith(".") else token).partition(".")
        if verb == "*":
            found |= {name for name, cls in MESSAGES.items() if name.startswith(f"{before}.") and cls.kind == "fact"}
        elif f"{before}.{verb}" in MESSAGES:
            found.add(f"{before}.{verb}")
            noun = before
    return found


def test_the_search_for_messages_sees_them() -> None:
    assert messages_in("`run.cancelled`, `.finished` and `run.start`; `scan.*`, `.py`") == {
        "run.cancelled", "run.finished", "run.start",
        "scan.queued", "scan.started", "scan.finished", "scan.failed", "scan.cancelled",
    }  # fmt: skip


def asks(name: str) -> set[str]:
    """The queries that a service's code has a class of, and that others answer."""
    code = "".join(path.read_text() for path in source(catalogue.package(name)).rglob("*.py"))
    return {cls.name for cls in queries() if cls.owner != name and re.search(rf"\b{cls.__name__}\b", code)}


@pytest.mark.parametrize("name", catalogue.NAMES)
def test_a_services_first_page_says_what_comes_in_and_goes_out(name: str) -> None:
    said = messages_in((ROOT / "services" / name / "README.md").read_text())
    heard = set() if name == "gateway" else {cls.name for cls in HEARS[name]}  # it hears every fact, and says so
    told = {cls.name for cls in REGISTRY.values() if cls.kind == "fact" and cls.owner == name}
    ordered = {cls.name for cls in REGISTRY.values() if cls.kind == "order" and name in cls.senders}
    answered = {cls.name for cls in queries() if cls.owner == name}
    for what, names in {"hears": heard, "tells": told, "orders": ordered, "answers": answered, "asks": asks(name)}.items():
        assert names <= said, f"it {what} {sorted(names - said)}, and its README does not say so"


@pytest.mark.parametrize("name", catalogue.NAMES)
def test_a_services_first_page_has_its_parts(name: str) -> None:
    text = (ROOT / "services" / name / "README.md").read_text()
    parts = {
        "what it decides": r"[Dd]ecides",
        "what it owns": r"[Oo]wns",
        "its settings": rf"docs/settings\.md#{name}\b",
        "its HTTP": r"(?m)^## HTTP$",
        "how it runs alone": rf"python -m {catalogue.package(name)}\b[\s\S]*kiops serve {name}\b"
        rf"|kiops serve {name}\b[\s\S]*python -m {catalogue.package(name)}\b",
    }
    missing = [what for what, pattern in parts.items() if not re.search(pattern, text)]
    assert not missing, f"services/{name}/README.md does not say {missing}"


def test_the_glossary_and_the_index_lead_to_every_document() -> None:
    index = (ROOT / "docs" / "index.md").read_text()
    for path in (ROOT / "docs").glob("*.md"):
        assert path.name == "index.md" or f"({path.name})" in index, f"docs/index.md does not name {path.name}"
    for path in (ROOT / "docs" / "decisions").glob("*.md"):
        assert re.match(r"# \d+\. ", path.read_text())
        assert int(path.name[:4]) == int(path.read_text().split()[1].rstrip("."))


def test_every_folder_of_tests_is_told_of() -> None:
    text = (ROOT / "TESTING.md").read_text()
    for folder in (ROOT / "tests").iterdir():
        if folder.is_dir() and any(folder.glob("*.py")):
            assert f"`tests/{folder.name}`" in text, folder.name
