"""The edge's image: nothing but Traefik's binary, FROM scratch, made once of the one in our tools folder."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path

from operator_proxy.clients.docker import Engine
from operator_proxy.domain import naming
from operator_proxy.errors import EdgeBinaryMissing

NAME = "kiops-edge"
BLOCK = 1024 * 1024


async def ensure_image(engine: Engine, binary: Path, folder: Path) -> str:
    """The image's name; it is made when the engine does not have it. Raises EdgeBinaryMissing."""
    if not binary.is_file():
        raise EdgeBinaryMissing(str(binary))
    fingerprint = await _fingerprint(binary, folder / "binary.json")
    tag = fingerprint[:16]
    if await engine.image(f"{NAME}:{tag}") is None:
        changes = [
            'ENTRYPOINT ["/traefik"]',
            f"LABEL {naming.MANAGED}=true {naming.ROLE}={naming.EDGE_ROLE} kiops.binary={fingerprint}",
        ]
        await engine.import_image(_archive(binary), NAME, tag, changes)
    return f"{NAME}:{tag}"


async def _fingerprint(binary: Path, memory: Path) -> str:
    """SHA-256 of the binary. Remembered with size and time: reading 180 MB at every start would take half a second."""
    state = binary.stat()
    now = [str(binary.resolve()), state.st_size, state.st_mtime_ns]
    try:
        remembered = json.loads(memory.read_text())
        if remembered["file"] == now:
            return remembered["sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        pass
    digest = hashlib.sha256()
    with open(binary, "rb") as file:  # noqa: ASYNC230  (in pieces; a thread would stay for ever)
        while block := file.read(4 * BLOCK):
            digest.update(block)
            await asyncio.sleep(0)  # the other services of this process go on meanwhile
    memory.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = memory.with_suffix(".new")
    draft.write_text(json.dumps({"file": now, "sha256": digest.hexdigest()}))
    os.replace(draft, memory)
    return digest.hexdigest()


async def _archive(binary: Path) -> AsyncIterator[bytes]:
    import tarfile

    def head(name: str, size: int, kind: bytes) -> bytes:
        entry = tarfile.TarInfo(name)
        entry.size, entry.mode, entry.type = size, 0o755, kind
        return entry.tobuf(tarfile.GNU_FORMAT)

    for folder in ("kiops", "kiops/routes", "tmp"):
        yield head(folder, 0, tarfile.DIRTYPE)
    size = binary.stat().st_size
    yield head("traefik", size, tarfile.REGTYPE)
    with open(binary, "rb") as file:  # noqa: ASYNC230
        while block := file.read(BLOCK):
            yield block
    yield b"\0" * (-size % tarfile.BLOCKSIZE) + b"\0" * 2 * tarfile.BLOCKSIZE
