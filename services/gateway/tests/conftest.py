"""The gateway's props: the real gateway on a real nats-server."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from gateway.settings import GatewaySettings
from gateway.wiring import wire
from shared.facts._base import REGISTRY, Message

# With `--import-mode=importlib` a test folder is not on the path; these two modules have names of their own.
sys.path.insert(0, str(Path(__file__).parent))

from gateway_props import Gateway


@pytest.fixture
def settings(tmp_path: Path) -> GatewaySettings:
    """Quick to wait and to hash, with one allowed folder."""
    (tmp_path / "repositories").mkdir()
    return GatewaySettings(
        allowed_repository_roots=[tmp_path / "repositories"],
        password_memory_kib=8192,
        order_wait_seconds=0.3,
        query_seconds=1.0,
        sign_in_tries=3,
    )


@pytest.fixture
async def gateway(nats: Any, platform: Callable[..., Any], settings: GatewaySettings) -> AsyncIterator[Gateway]:
    """The gateway alone, ready."""
    async with platform({"gateway": lambda host: wire(host, settings)}) as running:
        token = (running.settings.root / "cli.token").read_text().strip()
        transport = httpx.ASGITransport(running.app, raise_app_exceptions=False)
        async with httpx.AsyncClient(
            transport=transport, base_url="http://kiops.test", headers={"authorization": f"Bearer {token}"}
        ) as client:
            # The other services publish their keys when they start; credentials are sealed to them.
            from shared.sealing import KeyPair, publish_key

            root = running.settings.root
            for name in ("webhook", "builder", "scanner"):
                publish_key(root / "keys" / "public", name, KeyPair.load(root / "keys" / f"{name}.key"))
            found = Gateway(running, client, root)
            await found.settled()
            yield found


@pytest.fixture
def examples() -> dict[str, Message]:
    """Every fact's example, as a message, by name."""
    import shared.bus
    import shared.facts

    assert shared.bus.stored()
    folder = Path(shared.facts.__file__).parent / "examples"
    found = {}
    for file in sorted(folder.glob("*.v1.json")):
        name = file.name.removesuffix(".v1.json")
        cls = next(each for each in REGISTRY.values() if each.name == name and each.kind == "fact")
        found[name] = cls.model_validate(json.loads(file.read_text()))
    return found
