"""Every setting of the platform and its services, with value, default and sentence."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

from kiops import catalogue

Row = tuple[str, str, str, str, str]


def every() -> list[Row]:
    """(variable, value, default, sentence, owner) of all settings; secrets as (set) or (not set)."""
    from shared.settings import PlatformSettings, ServiceSettings

    rows = _rows(PlatformSettings, "platform")
    for name in catalogue.NAMES:
        module_name = f"{catalogue.package(name)}.settings"
        if importlib.util.find_spec(module_name) is None:
            continue
        module = importlib.import_module(module_name)
        for cls in vars(module).values():
            if isinstance(cls, type) and issubclass(cls, ServiceSettings) and cls.__module__ == module_name:
                rows += _rows(cls, name)
    return rows


def _rows(cls: Any, owner: str) -> list[Row]:
    defaults = cls.model_construct().shown()
    return [(name, _text(value), _text(defaults[name][0]), says, owner) for name, (value, says) in cls().shown().items()]


def _text(value: Any) -> str:
    if value is None or value == "":
        return "(not set)"
    if isinstance(value, list):
        return "[" + ", ".join(str(item) for item in value) + "]"
    return str(value)
