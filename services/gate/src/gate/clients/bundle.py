"""The policy bundle: Rego modules and their data, known by one hash."""

from __future__ import annotations

import hashlib
import importlib.resources
import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

ENTRY = "data.kiops.gate.decision"


@dataclass(frozen=True)
class Bundle:
    """`modules` maps file names to Rego text; `data` becomes Rego's data; `hash` is the SHA-256 of both."""

    modules: dict[str, str]
    data: dict[str, Any]
    entry: str = ENTRY

    @cached_property
    def hash(self) -> str:
        text = json.dumps([self.modules, self.data, self.entry], sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def name(self) -> str:
        """Name and version as people read them, such as `default 1`."""
        config = self.data.get("gate_config", {})
        return f"{config.get('name', 'unnamed')} {config.get('version', 0)}"


def default_bundle(**changes: Any) -> Bundle:
    """The policy that comes with KIOPS; `changes` replace values of its configuration (wait_seconds=...)."""
    folder = importlib.resources.files("gate") / "bundle"
    modules = {
        file.name: file.read_text(encoding="utf-8")
        for file in folder.iterdir()
        if file.name.endswith(".rego") and not file.name.endswith("_test.rego")
    }
    data = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    data["gate_config"] |= changes
    return Bundle(modules=modules, data=data)
