"""Settings: each part declares the ones it needs, with a default that works and a sentence each; units are in the names."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared import logging
from shared.errors import Broken


class ServiceSettings(BaseSettings):
    """The base of a service's settings. Subclass with `env_prefix`::

    class BuilderSettings(ServiceSettings, env_prefix="BUILDER_"):
        slots: int = Field(2, description="How many builds run at once.")
    """

    model_config = SettingsConfigDict(frozen=True, extra="ignore")

    def model_post_init(self, context: Any) -> None:
        """What is set as a secret is masked from now on, a password inside an address by itself too."""
        for name in type(self).model_fields:
            value = getattr(self, name)
            if isinstance(value, SecretStr) and (text := value.get_secret_value()):
                logging.masker.add(text)
                logging.masker.add(unquote(urlsplit(text).password or "") if "://" in text else "")

    def shown(self) -> dict[str, tuple[Any, str]]:
        """Every setting's value and sentence; secrets as `(set)` or `(not set)`, never their value."""
        rows = {}
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            if isinstance(value, SecretStr):
                value = "(set)" if value.get_secret_value() else "(not set)"
            rows[f"{self.model_config.get('env_prefix', '')}{name}".upper()] = (value, field.description or "")
        return rows


def home() -> Path:
    """Where KIOPS keeps what it makes: $KIOPS_HOME, else kiops below $XDG_DATA_HOME, else ~/.local/share/kiops."""
    if given := os.environ.get("KIOPS_HOME"):
        return Path(given)
    base = os.environ.get("XDG_DATA_HOME") or os.path.join(os.path.expanduser("~"), ".local", "share")
    return Path(base) / "kiops"


class PlatformSettings(ServiceSettings, env_prefix="KIOPS_"):
    """What is the same for all services of a process."""

    home: Path = Field(default_factory=home, description="Folder of the environment, the tools and the data.")
    data: Path | None = Field(None, description="Folder of all data; `data` below KIOPS_HOME when not set.")
    host: str = Field("127.0.0.1", description="Address on which HTTP is served.")
    port: int = Field(8640, description="Port on which HTTP is served.")
    organisation: str = Field("main", description="Identifier of the first organisation.")
    log_level: str = Field("info", description="Least level of log lines: debug, info, warning or error.")
    log_file: Path | None = Field(None, description="File that log lines go to; standard error when not set.")
    trace_url: str = Field(
        "", description="Address of an OpenTelemetry collector that spans are sent to by OTLP over HTTP; none are when not set."
    )
    trace_headers: SecretStr = Field(SecretStr(""), description="Headers for the collector, as name=value,name=value.")
    trace_share: float = Field(1.0, ge=0, le=1, description="Share of the traces that are collected, 0 to 1.")
    trace_file: Path | None = Field(None, description="File that finished spans go to, one JSON object per line.")
    database_url: SecretStr = Field(
        SecretStr(""),
        description="PostgreSQL address with {database} where the name of a service's database stands; SQLite files when not set.",
    )
    bus_url: str = Field("", description="Address of a nats-server; the platform's own one when not set.")
    bus_api_prefix: str = Field("$JS.API", description="Prefix of the JetStream API, another with an account per service.")
    lease_seconds: float = Field(8.0, description="A job without a heartbeat for this long is taken over.")
    role_lease_seconds: float = Field(
        6.0,
        gt=0,
        description="On PostgreSQL another instance reads, publishes and does periodic work when one says nothing for this long; "
        "the same for all instances.",
    )
    heartbeat_seconds: float = Field(2.0, description="How often a running job says that it lives.")

    def database_at(self, name: str) -> str:
        """The PostgreSQL address of a database; empty when databases are SQLite files.

        Raises Broken `database.url`, which does not show what was given: a password is in it.
        """
        given = self.database_url.get_secret_value()
        if not given:
            return ""
        from sqlalchemy.engine import make_url

        address = given.replace("{database}", name.replace("-", "_"))
        try:
            parts = make_url(address)
            whole = parts.drivername == "postgresql+asyncpg" and bool(parts.database)
        except Exception:
            whole = False
        if not whole:
            raise Broken(
                "database.url",
                "KIOPS_DATABASE_URL is no address of a PostgreSQL database",
                "Write postgresql+asyncpg://{database}:PASSWORD@HOST/{database}; percent-encode what is special in the password.",
            ) from None
        return address

    @property
    def root(self) -> Path:
        """The platform's data folder."""
        return self.data or self.home / "data"
