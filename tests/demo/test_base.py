"""The base image: assembled from the distribution's packages, small, listed for scanners; and the sample on it."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from shared.testing.parts import DockerEngine, Parts

from kiops.demo.engine import Engine, EngineError
from kiops.sample import base, files


@pytest.fixture
def engine(docker_engine: DockerEngine, parts: Parts) -> Engine:
    if shutil.which("apt-get") is None:
        parts.absent("apt", "no apt-get here, so no base can be assembled")
    return Engine(docker_engine.url)


def run(docker: DockerEngine, image: str, *command: str) -> str:
    """What a command prints in a container of this image, which is removed after."""
    _, made = docker.request("POST", "/containers/create", {"Image": image, "Cmd": list(command), "Tty": True})
    name = json.loads(made)["Id"]
    try:
        docker.request("POST", f"/containers/{name}/start", {})
        docker.request("POST", f"/containers/{name}/wait", {})
        return docker.request("GET", f"/containers/{name}/logs?stdout=1&stderr=1")[1].decode()
    finally:
        docker.request("DELETE", f"/containers/{name}?force=1")


def test_a_small_base_is_assembled_with_what_the_sample_needs(engine: Engine, docker_engine: DockerEngine, tmp_path: Path) -> None:
    image = "kiops-test-base:python"
    try:
        packages, size = base.assemble(engine, tmp_path, image)
        assert 15 <= packages <= 40
        assert size < base.MOST_BYTES
        modules = "import ssl, sqlite3, zipfile, http.server, ctypes; print('fine')"
        assert "fine" in run(docker_engine, image, "python3", "-c", modules)
        listed = run(docker_engine, image, "python3", "-c", "import os; print(os.listdir('/var/lib/dpkg/status.d'))")
        assert "libc6" in listed and "libssl3" in listed
        assert not list(tmp_path.iterdir()), "nothing is left behind"
    finally:
        engine.remove_image(image)


def test_a_registry_that_cannot_be_reached_is_said_in_words(engine: Engine) -> None:
    with pytest.raises(EngineError):
        engine.pull("registry.invalid/python:3.11-slim", first_word_seconds=10, seconds=20)


def test_an_engine_that_is_away_is_said_in_words(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="does not answer"):
        Engine(f"unix://{tmp_path}/none.sock").image("x")


@pytest.mark.parametrize("version", [files.FIRST, files.SECOND, files.THIRD])
def test_every_version_of_the_sample_answers(version: files.Version, tmp_path: Path) -> None:
    for each in (files.FIRST, files.SECOND, files.THIRD):
        files.write(each, tmp_path, base_image="base:1", wheel=None)
        if each is version:
            break
    asked = "import greeting; print(greeting.page())"
    done = subprocess.run(["python3", "-c", asked], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("Hello, dear customer.")
    assert ("Apples" in done.stdout) == (version is not files.FIRST)
    assert (tmp_path / "Dockerfile").read_text().startswith("FROM base:1\n")
