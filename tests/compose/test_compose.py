"""The seven containers of compose.yaml: a signed push through the edge to Running, and nothing lost by down and up."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from kiops import catalogue, provision
from tests.compose.town import DATA, REPOSITORY, Town

ENDED = {"success", "failed", "blocked", "cancelled", "superseded"}


def test_each_service_has_a_container_a_user_and_a_password_of_its_own() -> None:
    """The users of compose.yaml are those to whom `kiops provision` gives keys and folders."""
    text = (REPOSITORY / "compose.yaml").read_text()
    for name in catalogue.NAMES:
        part = re.search(rf"^  {name}:\n(.*?)(?=^  \S)", text, re.MULTILINE | re.DOTALL)
        assert part, f"{name} is not in compose.yaml"
        user = re.search(r'UID: "(\d+)"', part[1])
        assert user and int(user[1]) == provision.USERS[name]
        assert f"PGPASSFILE: {DATA}/services/{name}/pgpass" in part[1]
    routes = (REPOSITORY / "container" / "edge.yml").read_text()
    assert all(f"http://{name}:8640" in routes for name in catalogue.NAMES)


def test_keys_are_made_once(tmp_path: Path) -> None:
    """A second start changes no key, password or configuration; every folder of a service is closed to others."""
    for folder in ("bus", "postgres"):
        (tmp_path / folder).mkdir()

    def make() -> dict[str, bytes]:
        provision.keys(tmp_path / "data", bus=tmp_path / "bus", postgres=tmp_path / "postgres", database_host="db")
        return {str(path): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    first = make()
    assert make() == first
    secret = (tmp_path / "postgres" / "password").read_bytes()
    assert len(secret) == 48 and secret not in (tmp_path / "bus" / "nats.conf").read_bytes()
    for name in catalogue.NAMES:
        folder = tmp_path / "data" / "services" / name
        assert folder.stat().st_mode & 0o077 == 0 and (folder / "pgpass").stat().st_mode & 0o077 == 0
        assert (tmp_path / "data" / "bus" / "keys" / f"{name}.nk").stat().st_mode & 0o077 == 0
    lines = (tmp_path / "data" / "services" / "gateway" / "pgpass").read_text().splitlines()
    assert [line.split(":")[:4] for line in lines] == [["db", "5432", name, name] for name in ("gateway", "read_model")]


@pytest.fixture
def town(tmp_path: Path, docker_engine: Any, parts: Any, busybox: Path, busybox_image: str, traefik: Path) -> Iterator[Town]:
    program = parts.program("docker-compose", "version", part="Docker Compose")
    made = Town(tmp_path, docker_engine, program, busybox, traefik, busybox_image)
    try:
        made.make_images()
        made.compose("build")
        yield made
    finally:
        made.remove()
    assert made.left() == []


@pytest.mark.heavy
async def test_a_signed_push_goes_to_running_and_down_and_up_lose_nothing(town: Town) -> None:
    town.compose("up", "-d")
    await town.ready()
    commit = town.source()
    path, secret = await town.register()
    number = await town.push(path, secret, commit)

    async def ended() -> Any:
        run = await town.run(number)
        return run if run.get("state") in ENDED else None

    run = await town.until("the run has ended", ended)
    assert run["state"] == "success", (run, town.logs())
    assert await town.greeting() == "hello from the containers"

    # Each process is a user of its own, and root only where it asked the engine's socket whose it is.
    for name in catalogue.NAMES:
        user = town.container(name)["Config"]["User"]
        assert user in (f"{provision.USERS[name]}:{provision.GROUP}", "0:0"), (name, user)
    link = town.compose("run", "--rm", "-T", "kiops", "login-link").strip().splitlines()[-1]
    assert link.startswith(town.url)
    async with httpx.AsyncClient(trust_env=False, timeout=30) as browser:
        assert (await browser.get(link)).status_code == 303
        session = browser.cookies["kiops_session"]
    assert (await signed_in(town, session))["via"] == "session"

    # Every key for the bus is another one now; nothing was started anew for it, and the files are still each service's own.
    began = {name: town.container(name)["State"]["StartedAt"] for name in (*catalogue.NAMES, "nats")}
    rotated = town.compose("run", "--rm", "-T", "kiops", "keys", "rotate", "--all", "--wait", "120", "--json")
    rows = [json.loads(line) for line in rotated.splitlines() if line.startswith("{")]
    assert {row["service"]: row["state"] for row in rows} == dict.fromkeys((*catalogue.NAMES, "bootstrap", "keeper"), "done")
    assert began == {name: town.container(name)["State"]["StartedAt"] for name in began}
    await town.ready()

    clean = {name: town.container(name)["Id"] for name in catalogue.NAMES}
    town.compose("stop", "--timeout", "20", *catalogue.NAMES)
    for name in clean:
        state = town.container(name)["State"]
        if state["ExitCode"] != 0:
            pytest.fail(f"{name} ended with {state['ExitCode']}: {state}\n{town.logs(name)}")
    town.compose("down", "--timeout", "20")
    assert await town.greeting() == "hello from the containers", "what was deployed keeps running"
    town.compose("up", "-d")
    token = town.token
    await town.ready()
    assert town.token == token
    again = await town.run(number)
    assert {key: again[key] for key in ("id", "state", "commit")} == {key: run[key] for key in ("id", "state", "commit")}
    assert (await signed_in(town, session))["via"] == "session"
    second = await town.push(path, secret, commit)
    assert second == number + 1


async def signed_in(town: Town, session: str) -> dict[str, Any]:
    """Who a browser with this session is."""
    async with httpx.AsyncClient(trust_env=False, timeout=30) as browser:
        answer = await browser.get(f"{town.url}/api/v1/me", headers={"Cookie": f"kiops_session={session}"})
    assert answer.status_code == 200, answer.text
    return answer.json()
