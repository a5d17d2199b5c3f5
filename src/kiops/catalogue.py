"""The seven services, in the order of the journey, and how to find each one's composition root."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

NAMES = ("gateway", "webhook", "builder", "scanner", "gate", "deployer", "operator-proxy")


def package(name: str) -> str:
    """The import package of a service: operator-proxy -> operator_proxy."""
    return name.replace("-", "_")


def wires(names: Sequence[str]) -> dict[str, Any]:
    """Name -> its `wire`; imports only the named services."""
    return {name: importlib.import_module(f"{package(name)}.wiring").wire for name in names}
