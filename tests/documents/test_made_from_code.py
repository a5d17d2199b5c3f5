"""What is made from the code is up to date, and describes everything that there is."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from shared.bus import HEARS, SERVICES
from shared.facts import REGISTRY

from kiops.settings import every
from tools import document

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"


@pytest.mark.parametrize("name", document.DOCUMENTS)
def test_a_made_document_is_what_the_code_says(name: str) -> None:
    assert (DOCS / name).read_text() == document.DOCUMENTS[name](), "run `python tools/document.py`"


def test_what_a_person_has_set_does_not_get_into_the_documents(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = document.settings()
    for name, value in {"KIOPS_HOME": str(tmp_path), "BUILDER_SLOTS": "7", "DOCKER_HOST": "unix:///elsewhere"}.items():
        monkeypatch.setenv(name, value)
    assert document.settings() == before
    assert os.environ["BUILDER_SLOTS"] == "7", "and the environment is as it was"


@pytest.mark.parametrize("cls", REGISTRY.values(), ids=lambda cls: cls.type())
def test_every_message_has_its_paragraph(cls: Any) -> None:
    """A sentence of its own (not that of its base), its subject, and every field."""
    assert "__doc__" in vars(cls) and cls.__doc__, "a message needs a docstring that says what it means"
    text = (DOCS / "events.md").read_text()
    paragraph = text.split(f"### {cls.kind.capitalize()} `{cls.name}`\n", 1)[1].split("\n### ", 1)[0]
    assert document.sentence(cls) in paragraph
    assert cls.type() in paragraph
    for field in set(cls.model_fields) - {"organisation", "service", "intent"}:
        assert f"`{field}`" in paragraph


def test_every_setting_has_its_row_and_its_sentence() -> None:
    rows = (DOCS / "settings.md").read_text().splitlines()
    for variable, _, _, says, owner in every():
        assert says.endswith("."), f"{variable} of {owner} has no sentence"
        assert any(row.startswith(f"| `{variable}` |") and says in row.replace("\\|", "|") for row in rows), variable


def test_every_command_has_its_paragraph() -> None:
    text = (DOCS / "commands.md").read_text()
    for words, command in document.every_command():
        assert document.sentence_of(command.help or ""), f"`{words}` does not say what it does"
        assert f"\n## `{words}`\n\n{document.sentence_of(command.help)}\n" in text


# -- AsyncAPI ----------------------------------------------------------------------------------------------------------


def asyncapi() -> dict[str, Any]:
    return json.loads((DOCS / "asyncapi.json").read_text())


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from [inner] if name == "$ref" else references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def test_asyncapi_is_a_document_of_its_version_and_whole() -> None:
    from faststream.specification.asyncapi.v3_0_0.schema import ApplicationSchema

    api = asyncapi()
    ApplicationSchema.model_validate(api)
    for reference in set(references(api)):
        at: Any = api
        for part in reference.removeprefix("#/").split("/"):
            assert part in at, reference
            at = at[part]


def test_asyncapi_says_who_sends_and_who_receives() -> None:
    operations = asyncapi()["operations"]
    for service in SERVICES:
        heard = {name.split(".", 2)[2] for name in operations if name.startswith(f"{service}.receive.")}
        assert {cls.name for cls in HEARS[service]} <= heard
    for cls in REGISTRY.values():
        assert re.match(r"kiops\.[a-z-]+\.", asyncapi()["channels"][cls.name]["address"])
