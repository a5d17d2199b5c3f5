"""Fifty secrets of every kind go through the whole product, and are nowhere but where they have to be."""

from __future__ import annotations

import asyncio
import base64
import html
import json
import logging as plain_logging
import re
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from shared.bus import SERVICES
from shared.errors import Unavailable
from shared.git.failures import SourceRefused
from shared.processes import run_child

from kiops.chaos import stand_ins
from kiops.chaos.member import wire_of
from shared import logging
from tests.flows.collector import Collector, collector
from tests.flows.conftest import Town

pytestmark = pytest.mark.one_database  # the files of SQLite are read as bytes

DRESSES: dict[str, Callable[[str], str]] = {
    "plain": str,
    "base64": lambda text: base64.b64encode(text.encode()).decode().rstrip("="),
    "address": lambda text: quote(text, safe=""),
    "JSON": lambda text: json.dumps(text)[1:-1],
    "hexadecimal": lambda text: text.encode().hex(),
    "HTML": html.escape,
}


def canary(kind: str) -> str:
    """A secret that every dress changes, and that nothing else is like."""
    return f"{kind}/{secrets.token_hex(9)}+\"&<é>' {secrets.token_hex(3)}"


def dressed(secret: str) -> Iterator[tuple[str, bytes]]:
    """The six dresses, and Basic authorisation at its three alignments, as bytes to look for."""
    for name, dress in DRESSES.items():
        yield name, dress(secret).encode()
    for name in ("u", "us", "use"):
        whole = base64.b64encode(f"{name}:{secret}".encode()).decode().rstrip("=")
        # Without the characters that the name makes, and the last one, which what follows makes.
        yield f"Basic after {name}", whole[-(-8 * (len(name) + 1) // 6) : -1].encode()


def all_dresses(secret: str) -> str:
    told = " | ".join(dress(secret) for dress in DRESSES.values())
    basic = " ".join(base64.b64encode(f"{name}:{secret}".encode()).decode() for name in ("u", "us", "use"))
    return f"{told} | Basic {basic} | https://u:{quote(secret, safe='')}@git.invalid/x.git"


class Talkative(stand_ins.Sources):
    """Stands for a Git that says its password in every dress, on the log, on a child's output in crumbs, and in its errors."""

    seen: list[str]

    async def fetch(self, repository_url: str, commit: str, folder: Path, *, job: Any = None, **options: Any) -> Any:
        credential = await options["credential"]
        self.seen.append(credential.password)
        text = all_dresses(credential.password)
        say = options["say"]
        say(f"a marker and then {text}")
        # In crumbs of three bytes: no chunk has the whole of it.
        script = "import sys,time,os\nd=os.fsencode(sys.argv[1])+b'\\n'\nfor i in range(0,len(d),3):\n os.write(1,d[i:i+3])"
        await run_child(["python3", "-c", script, text], job=job, timeout_seconds=30, on_line=lambda stream, line: say(line))
        logging.get("builder").warning("git said", line=text, deep={"of": [text]}, error=ValueError(text))
        plain_logging.getLogger("a.library").warning("connecting with %s", text)
        if "broken" in repository_url:
            raise SourceRefused("source.refused", f"a marker; git said: {text}", f"Look at {text}")
        if "away" in repository_url and job.token == 1:
            raise Unavailable("source.unreachable", f"a marker; no answer: {text}")
        if "defect" in repository_url:
            raise RuntimeError(f"a marker; a defect: {text}")
        return await super().fetch(repository_url, commit, folder, job=job)


@pytest.fixture
async def talkative(platform: Any, tmp_path: Path) -> AsyncIterator[tuple[Town, Collector, dict[str, str], list[str]]]:
    """All seven; (town, collector, secrets by what they are, passwords that Git was given)."""
    from builder.settings import BuilderSettings
    from gateway.settings import GatewaySettings
    from pydantic import SecretStr

    stamps = tmp_path / "stamps"
    stamps.touch()
    known = {"admin password": canary("admin"), "key of the collector": secrets.token_urlsafe(24)}
    seen: list[str] = []
    wires = {name: wire_of(name, stamps, build=0.1) for name in SERVICES}
    build, gateway = __import__("builder.wiring").wiring.wire, __import__("gateway.wiring").wiring.wire
    sources = Talkative(stamps, 0.01)
    sources.seen = seen
    wires["builder"] = lambda host: build(host, BuilderSettings(slots=4), git=sources, buildkit=stand_ins.Images(stamps, 0.05))
    wires["gateway"] = lambda host: gateway(host, GatewaySettings(admin_password=SecretStr(known["admin password"])))
    logging.configure("debug", tmp_path / "log" / "kiops.log")
    try:
        with collector() as found:
            headers = SecretStr("x-key=" + known["key of the collector"])
            async with platform(wires, trace_url=found.url, trace_headers=headers) as running:
                token = (running.settings.root / "cli.token").read_text().strip()
                known["token of the command line"] = token
                async with httpx.AsyncClient(
                    transport=httpx.ASGITransport(running.app, raise_app_exceptions=False),
                    base_url="http://127.0.0.1:8640",
                    headers={"Authorization": f"Bearer {token}"},
                    timeout=30,
                ) as client:
                    yield Town(running, client, stamps), found, known, seen
    finally:
        import structlog

        structlog.reset_defaults()


def stored(root: Path) -> Iterator[tuple[str, bytes]]:
    """Every file of the platform: databases with their WAL, both streams, objects. Not the files that are themselves a secret."""
    for path in root.rglob("*"):
        if path.is_file() and "keys" not in path.parts and path.name not in ("cli.token", "lock"):
            yield str(path.relative_to(root)), path.read_bytes()


async def test_fifty_secrets_are_nowhere_but_where_they_must_be(
    talkative: tuple[Town, Collector, dict[str, str], list[str]], tmp_path: Path
) -> None:
    town, taken, known, seen = talkative
    root = town.platform.settings.root
    for path in [*root.rglob("*.nk"), *(path for path in (root / "keys").glob("*.key"))]:
        known[f"key file {path.name}"] = path.read_text().strip()

    pages: list[tuple[str, bytes]] = []

    async def ask(method: str, path: str, **more: Any) -> httpx.Response:
        answer = await town.client.request(method, path, **more)
        pages.append((f"{method} {path.split('?')[0][:40]}", str(answer.headers).encode() + answer.content))
        return answer

    names = ("good", "broken", "away", "defect")
    for name in names:
        known[f"Git token of {name}"] = canary("token")
        made = await ask(
            "POST",
            "/api/v1/services",
            json={
                "name": name,
                "repository_url": f"https://git.invalid/{name}.git",
                "credential": {"username": "robot", "password": known[f"Git token of {name}"]},
                "environment": {"name": "development", "container_port": 8080, "observe_seconds": 1},
                "rule": {"branches": ["main"], "environments": ["development"]},
            },
        )
        assert made.status_code == 201, made.text
        rows = await town.until("an endpoint", lambda name=name: town._endpoints(name))
        shown = (await town.client.post(f"/api/v1/endpoints/{rows[0]['id']}/secret")).json()
        town.path, town.secret = shown["path"], shown["secret"]
        known[f"webhook secret of {name}"] = town.secret
        assert (await town.push()).status_code == 202
    ends = {name: await town.until(f"the end of {name}", lambda name=name: ended(town, name), 90) for name in names}
    assert {name: run["state"] for name, run in ends.items()} == {
        "good": "success",
        "broken": "failed",
        "away": "success",
        "defect": "failed",
    }
    assert set(seen) == {known[f"Git token of {name}"] for name in names}, "Git got the real ones"

    # People: a link, a session with its cookie, tokens, and a dozen tries with what is wrong.
    link = (await town.client.post("/api/v1/login-links")).json()["path"]
    known["one-time link"] = re.split(r"[/=]", link)[-1]
    known["API token"] = (await town.client.post("/api/v1/tokens", json={"label": "a program", "days": 1})).json()["token"]
    async with httpx.AsyncClient(transport=town.client._transport, base_url="http://127.0.0.1:8640") as person:
        await person.get(link)
        known["session cookie"] = person.cookies["kiops_session"]
        assert (await person.get("/api/v1/me")).status_code == 200
    for number in range(8):
        wrong = known[f"wrong password {number}"] = canary("wrong")
        await ask("POST", "/api/v1/sessions", json={"name": "admin", "password": wrong})
        bearer = known[f"wrong token {number}"] = secrets.token_urlsafe(20)
        async with httpx.AsyncClient(transport=town.client._transport, base_url="http://127.0.0.1:8640") as stranger:
            answer = await stranger.get("/api/v1/runs", headers={"Authorization": f"Bearer {bearer}"})
            assert answer.status_code == 401
            pages.append(("a stranger", answer.content))
            answer = await stranger.post(town.path, content=b"{}", headers={"X-Kiops-Signature": f"sha256={bearer}"})
            pages.append(("a stranger's delivery", answer.content))
    for number in range(5):
        inside = known[f"password in an address {number}"] = canary("inside")
        body = {"name": f"x{number}", "repository_url": f"https://u:{quote(inside, safe='')}@git.invalid/{number}.git"}
        await ask("POST", "/api/v1/services", json=body)
        await ask("POST", "/api/v1/services", json=body | {"credential": {"password": inside, "x": inside}, "name": 3})
    assert len(known) >= 50, len(known)

    for path in ("/", "/services", "/services/good/runs/1", "/services/broken/runs/1", "/services/good/source", "/audit", "/runs"):
        await ask("GET", path)
    for name in names:
        for path in ("", "/runs/1", "/endpoints", "/environments"):
            await ask("GET", f"/api/v1/services/{name}{path}")
        await ask("GET", f"/services/{name}/builds/1")
        await ask("GET", f"/api/v1/builds/{ends[name]['build']['id']}/log")
    for path in ("/api/v1/runs", "/api/v1/audit", "/api/v1/services"):
        await ask("GET", path)
    for service in SERVICES:
        await ask("GET", f"/-/{service}/metrics")
        await ask("GET", f"/-/{service}/readyz")
    await town.until("quiet", town.platform.settled)
    await asyncio.sleep(0)
    before = taken.posts

    async def exported() -> bool:
        return taken.posts > before

    await ask("GET", "/api/v1/me")
    await town.until("the last spans", exported)

    places = [("log", (tmp_path / "log" / "kiops.log").read_bytes()), *pages, *stored(root)]
    places += [(f"spans {number}", body) for number, body in enumerate(taken.raw)]
    # The search finds what is there: a word that went the same ways, in the log, in messages, in a database, on a page.
    for where in ("log", "bus/store", ".db", "GET /api/v1/builds"):
        assert any(b"marker" in body or b"git said" in body for place, body in places if where in place), where
    assert any(b"publish push.received" in body for place, body in places if place.startswith("spans"))

    found = [
        (kind, dress, place)
        for kind, secret in known.items()
        for dress, form in dressed(secret)
        for place, body in places
        if form in body
    ]
    assert not found, found[:20]


async def ended(town: Town, name: str) -> dict[str, Any] | None:
    run = await town.run(1, name)
    return run if run.get("state") in ("success", "failed", "cancelled", "blocked") else None
