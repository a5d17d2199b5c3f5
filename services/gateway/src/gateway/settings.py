"""Every knob of the gateway."""

from __future__ import annotations

from functools import cached_property
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path

from pydantic import Field, SecretStr, field_validator
from shared.settings import ServiceSettings


class GatewaySettings(ServiceSettings, env_prefix="GATEWAY_"):
    """Read from GATEWAY_* variables."""

    base_url: str = Field("", description="Address under which people and Git hosts reach KIOPS; that of the listener when empty.")
    allowed_repository_roots: list[Path] = Field(
        default_factory=list, description="Folders (a JSON list) below which a repository may be given as a file path."
    )
    admin_name: str = Field("admin", description="Name of the first account, made at the first start.")
    admin_password: SecretStr = Field(
        SecretStr(""), description="Password of the first account; without one it signs in by a one-time link."
    )
    session_hours: int = Field(168, ge=1, description="A session ends this many hours after it was last used.")
    link_minutes: int = Field(15, ge=1, description="A sign-in link is valid for this many minutes, and once.")
    secure_cookies: bool = Field(False, description="Send cookies over HTTPS only; switch on behind TLS.")
    trusted_proxies: list[str] = Field(
        default_factory=list, description="Addresses and networks (a JSON list) of proxies whose X-Forwarded-For is believed."
    )
    sign_in_tries: int = Field(5, ge=1, description="Wrong passwords per account and address before they must wait.")
    sign_in_window_seconds: int = Field(300, ge=1, description="Time over which wrong passwords are counted.")
    password_memory_kib: int = Field(19456, ge=8192, le=19456, description="Memory that hashing one password takes, in KiB.")
    order_wait_seconds: float = Field(2.0, gt=0, description="How long a page waits to hear that an order was accepted or refused.")
    read_own_writes_seconds: float = Field(
        0.5, ge=0, description="How long an answer waits for the read model to show what was just done."
    )
    query_seconds: float = Field(
        10.0, gt=0, description="How long a question to another service may take, such as a connection test."
    )
    idempotency_hours: int = Field(24, ge=1, description="For how long a repeated Idempotency-Key gets the first answer again.")
    max_body_bytes: int = Field(1_048_576, ge=1024, description="Largest request body that the API and the forms take, in bytes.")
    event_streams: int = Field(200, ge=1, description="How many pages and programs may follow live events at once.")

    @field_validator("trusted_proxies")
    @classmethod
    def _addresses(cls, values: list[str]) -> list[str]:
        for value in values:
            ip_network(value, strict=False)  # a ValueError names the address
        return values

    @cached_property
    def trusted_networks(self) -> list[IPv4Network | IPv6Network]:
        """The proxies' addresses, single ones as networks of one."""
        return [ip_network(value, strict=False) for value in self.trusted_proxies]
