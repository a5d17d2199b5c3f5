"""Expand, then contract: a migration takes nothing away that the release before it still reads or writes.

The first revision of a database makes it. Every later one may add; to remove, rename or forbid something it has to name, in
`unused_since`, the release which needed it no more, and that has to be an older one than this.
"""

from __future__ import annotations

import ast
import importlib.metadata
import re
from pathlib import Path

import pytest

SERVICES = Path(__file__).parents[2] / "services"
FOLDERS = sorted(SERVICES.glob("*/src/*/migrations*"))
GOING = {"drop_table", "drop_column", "rename_table", "drop_constraint"}
WORDS = re.compile(r"\b(drop|rename|truncate|delete|set\s+not\s+null)\b", re.IGNORECASE)


def release() -> tuple[int, ...]:
    return tuple(int(part) for part in importlib.metadata.version("kiops").split(".")[:2])


def what_breaks(source: str, now: tuple[int, ...]) -> list[str]:
    """What in `upgrade()` the release before could not bear, a sentence each."""
    tree = ast.parse(source)
    since = next(
        (
            ast.literal_eval(node.value)
            for node in tree.body
            if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "unused_since"
        ),
        None,
    )
    if since is not None and tuple(int(part) for part in since.split(".")[:2]) < now:
        return []
    (upgrade,) = (node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "upgrade")
    found = []
    for call in (node for node in ast.walk(upgrade) if isinstance(node, ast.Call)):
        name = getattr(call.func, "attr", "")
        given = {word.arg: word.value for word in call.keywords}
        if name in GOING:
            found.append(f"{name} in line {call.lineno}")
        if name == "alter_column" and not set(given) <= {"server_default", "existing_type", "existing_nullable"}:
            # A default that is added harms nobody; another name, another type or NOT NULL does.
            if getattr(given.get("nullable"), "value", True) is not True or {"new_column_name", "type_"} & set(given):
                found.append(f"alter_column in line {call.lineno}")
        if name == "add_column":
            (column,) = (each for each in call.args if isinstance(each, ast.Call))
            words = {word.arg: word.value for word in column.keywords}
            if getattr(words.get("nullable"), "value", True) is False and "server_default" not in words:
                found.append(f"add_column without a default in line {call.lineno}")
        if name == "create_unique_constraint" or (
            name == "create_index" and getattr(given.get("unique"), "value", False) and "unique" in given
        ):
            found.append(f"{name}: unique, in line {call.lineno}")
    for text in (node for node in ast.walk(upgrade) if isinstance(node, ast.Constant) and isinstance(node.value, str)):
        if WORDS.search(text.value):
            found.append(f"SQL in line {text.lineno}: {text.value[:60]}")
    return found


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_a_migration_only_adds(folder: Path) -> None:
    """Revisions are a row, oldest first; each after the first only adds; each has a way back."""
    files = sorted((folder / "versions").glob("*.py"))
    assert files, "a folder of migrations without one"
    before = None
    for file in files:
        tree = ast.parse(file.read_text())
        said = {
            node.targets[0].id: ast.literal_eval(node.value)
            for node in tree.body
            if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") in ("revision", "down_revision")
        }
        assert said == {"revision": file.name.split("_", 1)[0], "down_revision": before}, file.name
        before = said["revision"]
        assert {node.name for node in tree.body if isinstance(node, ast.FunctionDef)} >= {"upgrade", "downgrade"}, file.name
    for file in files[1:]:
        assert what_breaks(file.read_text(), release()) == [], file.name


def body(line: str, head: str = "") -> str:
    return f"{head}\ndef upgrade() -> None:\n    {line}\n"


@pytest.mark.parametrize(
    "line",
    [
        'op.drop_table("runs")',
        'op.drop_column("runs", "cause")',
        'op.rename_table("runs", "journeys")',
        'op.alter_column("runs", "cause", new_column_name="reason")',
        'op.alter_column("runs", "cause", nullable=False)',
        'op.alter_column("runs", "cause", type_=sa.Integer())',
        'op.add_column("runs", sa.Column("cause", sa.Text, nullable=False))',
        'op.create_unique_constraint("uq_runs_cause", "runs", ["cause"])',
        'op.create_index("ix_runs_cause", "runs", ["cause"], unique=True)',
        'op.execute("alter table runs rename column cause to reason")',
        'op.execute("ALTER TABLE runs ALTER cause SET NOT NULL")',
    ],
)
def test_what_the_release_before_cannot_bear_is_seen(line: str) -> None:
    assert what_breaks(body(line), (0, 2))
    assert what_breaks(body(line, 'unused_since = "0.2"'), (0, 2)), "the release before this one still needs it"
    assert what_breaks(body(line, 'unused_since = "0.1"'), (0, 2)) == []


@pytest.mark.parametrize(
    "line",
    [
        'op.create_table("notes", sa.Column("id", sa.Text, primary_key=True))',
        'op.add_column("runs", sa.Column("cause", sa.Text, nullable=True))',
        'op.add_column("runs", sa.Column("cause", sa.Text, nullable=False, server_default=""))',
        'op.create_index("ix_runs_cause", "runs", ["cause"])',
        'op.alter_column("runs", "cause", server_default="")',
        'op.alter_column("runs", "cause", nullable=True)',
    ],
)
def test_what_only_adds_passes(line: str) -> None:
    assert what_breaks(body(line), (0, 1)) == []
