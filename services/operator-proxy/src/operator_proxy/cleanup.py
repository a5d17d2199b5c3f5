"""For the command line: what of a platform there is in an engine, and taking all of it away. Needs no running platform."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

from operator_proxy.clients.docker import Engine
from operator_proxy.domain import naming

SOCKET = Path("/var/run/docker.sock")


@dataclass
class Removed:
    """What was taken away, by name."""

    containers: list[str] = field(default_factory=list)
    images: list[str] = field(default_factory=list)
    networks: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class There:
    """What there is of a platform. Memory in MiB, without page cache; `running` are releases' containers by name."""

    edge: bool
    edge_memory_mb: float
    running: dict[str, float]


async def remove_all(
    platform_id: str, *, service: str | None = None, keep_edge_image: bool = False, socket: Path = SOCKET
) -> Removed:
    """Remove this platform's containers, images and networks; only a service's containers and images when `service` (its id)
    is given. The edge's image goes too, unless another platform's edge needs it or it is to be kept. Raises EngineAway."""
    engine, removed = Engine(socket), Removed()
    ours = [f"{naming.PLATFORM}={platform_id}"] + ([f"kiops.service={service}"] if service else [])
    images = {image["Id"] for image in await engine.images(*ours)}
    rows = await engine.containers(*ours)
    # The edge first: nobody is to be sent to what goes.
    for row in sorted(rows, key=lambda row: row["Labels"].get(naming.ROLE) != naming.EDGE_ROLE):
        if row["Labels"].get(naming.ROLE) != naming.EDGE_ROLE:
            await engine.stop(row["Id"], 2)
        await engine.remove(row["Id"])
        removed.containers.append((row["Names"] or [row["Id"]])[0].lstrip("/"))
        if service is None and not keep_edge_image and row["Labels"].get(naming.ROLE) == naming.EDGE_ROLE:
            images.add(row["ImageID"])
    for image in sorted(images):
        if await remove_unused_image(engine, image):
            removed.images.append(image)
    if service is None:
        for network in await engine.networks(*ours):
            await engine.remove_network(network["Name"])
            removed.networks.append(network["Name"])
    return removed


async def remove_unused_image(engine: Engine, image: str) -> bool:
    """Remove an image unless a container, of whatever platform, still needs it. Returns whether it was removed."""
    found = await engine.image(image)
    if found is None:
        return False
    used = {row["ImageID"] for row in await engine.containers()}
    if image in used:
        return False
    return await engine.remove_image(image)


async def there(platform_id: str, *, socket: Path = SOCKET) -> There:
    """What of a platform runs in the engine, with its memory. Raises EngineAway."""
    engine = Engine(socket)
    rows = [row for row in await engine.containers(f"{naming.PLATFORM}={platform_id}") if row["State"] == "running"]
    used = await asyncio.gather(*(engine.memory_bytes(row["Id"]) for row in rows))
    memory = {row["Names"][0].lstrip("/"): round(size / 2**20, 1) for row, size in zip(rows, used, strict=True)}
    edge = naming.edge_name(platform_id)
    running = {name: size for name, size in sorted(memory.items()) if name != edge}
    return There(edge in memory, memory.get(edge, 0.0), running)
