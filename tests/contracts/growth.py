"""Compares the contracts with those of the last release. `python -m tests.contracts.growth` writes `released.json` at a release."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from shared.bus import stored


def _shape(field: dict[str, Any], definitions: dict[str, Any]) -> Any:
    """A field's shape without its words: descriptions, titles and the values of open enumerations may change."""
    if "$ref" in field:
        return _shape(definitions[field["$ref"].rsplit("/", 1)[1]], definitions)
    if "enum" in field:
        return {"type": "word"}
    kept = {key: value for key, value in field.items() if key in ("type", "format")}
    for key in ("items", "additionalProperties"):
        if isinstance(field.get(key), dict):
            kept[key] = _shape(field[key], definitions)
    for key in ("anyOf", "allOf"):
        if key in field:
            kept[key] = [_shape(part, definitions) for part in field[key]]
    if "properties" in field:
        kept["fields"] = {name: _shape(part, definitions) for name, part in field["properties"].items()}
        kept["required"] = sorted(field.get("required", []))
    return kept


def schemas() -> dict[str, Any]:
    """Type -> {"fields": name -> shape, "required": names}, of every stored message."""
    found = {}
    for cls in stored():
        schema = cls.model_json_schema()
        shape = _shape(schema, schema.get("$defs", {}))
        found[cls.type()] = {"fields": shape["fields"], "required": shape["required"]}
    return dict(sorted(found.items()))


def breaks(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """What an older service could not bear, a sentence each."""
    found = []
    for name, was in old.items():
        if name not in new:
            found.append(f"{name} was taken away: older services still say or hear it")
            continue
        found += _breaks_of(name, was, new[name])
    return found


def _breaks_of(name: str, was: dict[str, Any], now: dict[str, Any]) -> list[str]:
    found = []
    for field, shape in was["fields"].items():
        if field not in now["fields"]:
            found.append(f"{name} lost the field {field}")
            continue
        inner_was, inner_now = _inner(shape), _inner(now["fields"][field])
        if inner_was is not None and inner_now is not None:
            found += _breaks_of(f"{name} {field}", inner_was, inner_now)
        elif shape != now["fields"][field]:
            found.append(f"{name} changed the shape of {field}")
    for field in sorted(set(now["required"]) - set(was["required"])):
        found.append(f"{name} now needs {field}, which older messages do not have: give it a default")
    return found


def _inner(shape: Any) -> dict[str, Any] | None:
    """The fields of a value, or of each value of a list."""
    if "fields" in shape:
        return shape
    return _inner(shape["items"]) if isinstance(shape.get("items"), dict) else None


if __name__ == "__main__":
    Path(__file__).with_name("released.json").write_text(json.dumps(schemas(), indent=1) + "\n")
