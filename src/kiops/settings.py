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

    rows = _rows(PlatformSettings, "platform") + _rows(_command_line(), "command line")
    for name in catalogue.NAMES:
        module_name = f"{catalogue.package(name)}.settings"
        if importlib.util.find_spec(module_name) is None:
            continue
        module = importlib.import_module(module_name)
        for cls in vars(module).values():
            if isinstance(cls, type) and issubclass(cls, ServiceSettings) and cls.__module__ == module_name:
                rows += _rows(cls, name)
    return rows


def _command_line() -> Any:
    """What the command line itself looks at; parts of it run before any library is there, so they read the environment."""
    from pathlib import Path

    from pydantic import Field, SecretStr
    from shared.settings import ServiceSettings

    class CommandLineSettings(ServiceSettings, env_prefix="KIOPS_"):
        """Where the command line looks, and what it leaves alone."""

        url: str = Field("", description="Address of the KIOPS that commands talk to; the one on this machine when not set.")
        token: SecretStr = Field(SecretStr(""), description="API token for that address.")
        nats_server: str = Field("", description="Path of a nats-server of your own; the locked one when not set.")
        bus_config: Path | None = Field(
            None, description="Configuration of the nats-server of KIOPS_BUS_URL, for `kiops keys rotate`; our own when not set."
        )
        no_install: bool = Field(False, description="Leave the system as it is: no packages are installed, no engine is started.")
        test_cache: str = Field(
            "", description="Folder for parts that tests build once; kiops-tests below the user's cache when not set."
        )
        timings: bool = Field(False, description="Tell at the start what took how long.")

    return CommandLineSettings


def _rows(cls: Any, owner: str) -> list[Row]:
    defaults = cls.model_construct().shown()
    return [(name, _text(value), _text(defaults[name][0]), says, owner) for name, (value, says) in cls().shown().items()]


def _text(value: Any) -> str:
    if value is None or value == "":
        return "(not set)"
    if isinstance(value, list):
        return "[" + ", ".join(str(item) for item in value) + "]"
    return str(value)
