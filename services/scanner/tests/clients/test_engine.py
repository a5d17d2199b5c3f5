"""The container engine's store, on a real engine."""

from __future__ import annotations

import asyncio
import tarfile
from pathlib import Path
from typing import Any

import pytest
from scanner.clients.engine import ContainerEngine
from scanner.errors import ImageGone
from shared.engine import EngineAway


@pytest.fixture
def image(docker_engine: Any, props: Any, tmp_path: Path) -> Any:
    """An image of our own in the engine's store; its id."""
    archive = tmp_path / "load.tar"
    found = props.save_image(archive, {"app": f"made for {tmp_path}"}, props.DEBIAN)
    status, said = docker_engine.request("POST", "/images/load", archive.read_bytes())
    assert status == 200, said
    yield found
    docker_engine.remove_image(found)


async def test_an_image_is_found_and_saved(docker_engine: Any, image: str, tmp_path: Path) -> None:
    engine = ContainerEngine(docker_engine.url)
    found = await engine.inspect(image)
    assert (found.id, found.layers) == (image, 2)
    size = await engine.save(image, tmp_path / "saved.tar")
    assert size == (tmp_path / "saved.tar").stat().st_size
    with tarfile.open(tmp_path / "saved.tar") as archive:
        assert "manifest.json" in archive.getnames()


async def test_an_image_that_is_gone(docker_engine: Any) -> None:
    with pytest.raises(ImageGone) as raised:
        await ContainerEngine(docker_engine.url).inspect("sha256:" + "0" * 64)
    assert raised.value.code == "image.gone"


@pytest.mark.parametrize("address", ["unix:///nowhere/docker.sock", "tcp://127.0.0.1:9", "ssh://host"])
async def test_an_engine_that_is_away(address: str) -> None:
    with pytest.raises(EngineAway) as raised:
        await ContainerEngine(address, timeout_seconds=2).inspect("x")
    assert raised.value.code == "engine.away" and address in raised.value.message


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 500 no\r\n\r\nbroken",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n{",
        b"",
    ],
)
async def test_an_answer_that_is_none(answer: bytes, tmp_path: Path) -> None:
    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    server = await asyncio.start_unix_server(say, path=str(tmp_path / "sock"))
    async with server:
        with pytest.raises(EngineAway):
            await ContainerEngine(f"unix://{tmp_path}/sock").inspect("x")
