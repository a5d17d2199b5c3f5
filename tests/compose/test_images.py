"""The images that stand in for published ones, each in a container of its own: they do what compose.yaml relies on."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.compose import images

pytestmark = pytest.mark.heavy


@pytest.fixture
def containers(docker_engine: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """testcontainers on the engine of the tests. Its reaper is an image that cannot be pulled; `with` removes what it starts."""
    monkeypatch.setenv("DOCKER_HOST", docker_engine.url)
    monkeypatch.setenv("TESTCONTAINERS_RYUK_DISABLED", "true")
    from testcontainers.core.config import testcontainers_config

    monkeypatch.setattr(testcontainers_config, "ryuk_disabled", True)
    from testcontainers.core.container import DockerContainer

    yield DockerContainer


def made(engine: Any, name: str, make: Any, *arguments: Any) -> Iterator[str]:
    make(engine, name, *arguments)
    yield name
    engine.remove_image(name)


@pytest.fixture
def nats_image(docker_engine: Any, busybox: Path) -> Iterator[str]:
    yield from made(docker_engine, f"kiops-test/nats:{os.getpid()}", images.nats, busybox)


@pytest.fixture
def postgres_image(docker_engine: Any, busybox: Path, parts: Any) -> Iterator[str]:
    if not Path("/usr/lib/postgresql").exists():
        parts.absent("PostgreSQL", "not installed; `./kiops test` installs it")
    yield from made(docker_engine, f"kiops-test/postgres:{os.getpid()}", images.postgres, busybox)


def test_nats_server_greets(containers: Any, nats_image: str) -> None:
    from testcontainers.core.wait_strategies import LogMessageWaitStrategy

    with containers(nats_image).with_exposed_ports(4222).waiting_for(LogMessageWaitStrategy("Server is ready")) as nats:
        with socket.create_connection((nats.get_container_host_ip(), int(nats.get_exposed_port(4222))), 10) as line:
            assert line.recv(5) == b"INFO "


async def test_postgresql_takes_the_password_of_its_file_and_no_other(containers: Any, postgres_image: str, tmp_path: Path) -> None:
    import asyncpg
    from testcontainers.core.wait_strategies import LogMessageWaitStrategy

    password = secrets.token_hex(8)
    (tmp_path / "password").write_text(password)
    container = containers(postgres_image).with_exposed_ports(5432).with_volume_mapping(str(tmp_path), "/run/kiops", "ro")
    container = container.with_env("POSTGRES_PASSWORD_FILE", "/run/kiops/password")
    with container.waiting_for(LogMessageWaitStrategy("ready to accept connections")) as postgres:
        place = {"host": postgres.get_container_host_ip(), "port": int(postgres.get_exposed_port(5432)), "user": "postgres"}
        connection = await asyncpg.connect(**place, password=password, database="postgres")
        assert await connection.fetchval("select current_user") == "postgres"
        await connection.close()
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(**place, password="another", database="postgres")
