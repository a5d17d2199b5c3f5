"""What is written for programs is read by the programs of others: AsyncAPI's own parser, and a linter of OpenAPI."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gateway.api import document as openapi

from tools import document

Read = Callable[[str, Path], tuple[int, str]]


def written(folder: Path, content: dict[str, Any]) -> Path:
    file = folder / "document.json"
    file.write_text(json.dumps(content))
    return file


def test_asyncapis_parser_accepts_the_messages(said_by_others: Read, tmp_path: Path) -> None:
    """With every example held against its schema; and it does refuse what is wrong."""
    whole = json.loads(document.asyncapi())
    channels = whole["channels"]
    code, said = said_by_others("asyncapi", written(tmp_path, whole))
    assert (code, said.split(":")[0]) == (0, "nothing to say"), said
    assert f"{len(channels)} channels" in said

    broken = json.loads(document.asyncapi())
    broken["components"]["messages"]["BuildFailed"]["examples"][0]["payload"]["number"] = "twelve"
    del broken["operations"]["builder.send.build.failed"]["action"]
    code, said = said_by_others("asyncapi", written(tmp_path, broken))
    assert code == 1 and "action" in said, said


def test_a_linter_has_nothing_to_say_against_the_api(said_by_others: Read, tmp_path: Path) -> None:
    whole = openapi()
    code, said = said_by_others("openapi", written(tmp_path, whole))
    assert (code, said.strip()) == (0, f"nothing to say: {len(whole['paths'])} paths"), said

    operation = whole["paths"]["/api/v1/runs"]["get"]
    operation["operationId"] = whole["paths"]["/api/v1/me"]["get"]["operationId"]
    operation["responses"]["200"]["content"]["application/json"]["schema"] = {"$ref": "#/components/schemas/Nothing"}
    code, said = said_by_others("openapi", written(tmp_path, whole))
    assert code == 1 and "operation-operationId-unique" in said and "invalid-ref" in said, said
