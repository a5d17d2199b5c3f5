"""Fifty secrets of every kind go through the whole product, and are nowhere but where they have to be."""

from __future__ import annotations

import asyncio
import base64
import html
import json
import logging as plain_logging
import os
import re
import secrets
import subprocess
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
from shared.testing.parts import Parts

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
        credential = await options["credential"] if options.get("credential") is not None else None
        if credential is None:
            return await super().fetch(repository_url, commit, folder, job=job)
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


class Searched(stand_ins.Engines):
    """Gitleaks itself looks for secrets; the other engines are stand-ins."""

    def __init__(self, real: Any, stamps: Path) -> None:
        super().__init__(stamps, 0.05)
        self.real = real

    async def source_areas(self, source: Any, *, dockerfile: str, job: Any) -> AsyncIterator[Any]:
        if source.repository != Path("/"):
            area, _ = await self.real._secrets(source, job, job.folder / "engines" / "gitleaks")
            yield area
            for name in ("sast", "iac"):
                yield self._clean(name)
            return
        async for area in super().source_areas(source, dockerfile=dockerfile, job=job):
            yield area


class FetchedOrNot:
    """Git itself for a repository that is a folder, a stand-in for those of a host that is not there."""

    def __init__(self, real: Any) -> None:
        self.real = real

    async def fetch(self, repository_url: str, *args: Any, **options: Any) -> Any:
        if repository_url.startswith("/"):
            return await self.real.fetch(repository_url, *args, **options)
        return await stand_ins.ScannedSources().fetch()


def leaking(scan: Any, stamps: Path) -> Any:
    """The scanner's wire with these two."""
    from scanner.clients.git import Git
    from scanner.settings import ScannerSettings
    from scanner.wiring import installed
    from shared.git import Options

    def wire(host: Any) -> Any:
        settings = ScannerSettings(scans_at_once=4)
        real = Git(Options(roots=[host.root / "demo"]))
        return scan(host, settings, git=FetchedOrNot(real), engines=Searched(installed(host, settings), stamps))

    return wire


def access_key() -> str:
    """Looks like a key of a cloud and is none; made when the test runs, so that no commit of ours holds one."""
    return "AKI" + "A" + "".join(secrets.choice("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") for _ in range(16))


def repository_with(bare: Path, tree: Path, **files: str) -> str:
    """A bare repository with one commit of these files; its id."""
    tree.mkdir(parents=True)
    bare.parent.mkdir(parents=True, exist_ok=True)
    environment = {"PATH": os.environ["PATH"], "HOME": str(tree), "GIT_CONFIG_NOSYSTEM": "1"}

    def git(*words: str) -> str:
        about = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "init.defaultBranch=main"]
        done = subprocess.run(["git", *about, *words], cwd=tree, env=environment, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    for name, content in files.items():
        (tree / name).write_text(content)
    git("init", "-q")
    git("add", "-A")
    git("commit", "-q", "-m", "Add what should not be here")
    git("clone", "-q", "--bare", str(tree), str(bare))
    return git("rev-parse", "HEAD")


@pytest.fixture
async def talkative(
    platform: Any, tmp_path: Path, parts: Parts
) -> AsyncIterator[tuple[Town, Collector, dict[str, str], list[str]]]:
    """All seven; (town, collector, secrets by what they are, passwords that Git was given)."""
    from builder.settings import BuilderSettings
    from gateway.settings import GatewaySettings
    from pydantic import SecretStr

    parts.program("gitleaks", "version", part="Gitleaks")
    stamps = tmp_path / "stamps"
    stamps.touch()
    known = {"admin password": canary("admin"), "key of the collector": secrets.token_urlsafe(24)}
    seen: list[str] = []
    wires = {name: wire_of(name, stamps, build=0.1) for name in SERVICES}
    build, gateway = __import__("builder.wiring").wiring.wire, __import__("gateway.wiring").wiring.wire
    wires["scanner"] = leaking(__import__("scanner.wiring").wiring.wire, stamps)
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
    """Every file of the platform: databases with their WAL, both streams, objects. Not the files that are themselves a secret, and
    not the pushed repository."""
    for path in root.rglob("*"):
        if path.is_file() and not {"keys", "demo"} & set(path.parts) and path.name not in ("cli.token", "lock"):
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

    # A commit with a secret that Gitleaks finds: shown as a finding, and whole nowhere.
    known["secret in a commit"] = access_key()
    repository = root / "demo" / "leak.git"
    commit = repository_with(repository, tmp_path / "leak", key=f"key = '{known['secret in a commit']}'\n")
    await town.register("leak", repository=str(repository))
    assert (await town.push(commit=commit)).status_code == 202
    leak = await town.until("the end of leak", lambda: ended(town, "leak"), 90)
    findings = (await ask("GET", f"/api/v1/runs/{leak['id']}/findings")).json()["items"]
    assert [(each["area"], each["path"], each["line"]) for each in findings] == [("secrets", "key", 1)], findings
    assert leak["state"] == "blocked", leak

    # People: a link, a session with its cookie, tokens, and a dozen tries with what is wrong.
    link = (await town.client.post("/api/v1/login-links")).json()["path"]
    known["one-time link"] = re.split(r"[/=]", link)[-1]
    known["API token"] = (await town.client.post("/api/v1/tokens", json={"label": "a program", "days": 1})).json()["token"]
    async with httpx.AsyncClient(transport=town.client._transport, base_url="http://127.0.0.1:8640") as person:
        await person.get(link)
        known["session cookie"] = person.cookies["kiops_session"]
        assert (await person.get("/api/v1/me")).status_code == 200
        form = (await person.get("/services/new")).text
        known["CSRF token"] = re.findall(r'name="csrf" value="([^"]+)"', form)[0]
        known["wrong CSRF token"] = secrets.token_urlsafe(24)
        for name in ("CSRF token", "wrong CSRF token"):
            sent = await person.post("/services", data={"csrf": known[name], "name": "Not a name!", "repository_url": ""})
            pages.append((f"answer to a {name}", re.sub(rb'name="csrf" value="[^"]+"', b"", sent.content)))
            assert sent.status_code >= 400, (name, sent.status_code)
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

    for path in (
        "/services/leak/runs/1",
        "/services/leak/runs/1/findings",
        "/",
        "/services",
        "/services/good/runs/1",
        "/services/broken/runs/1",
        "/services/good/source",
        "/audit",
        "/runs",
    ):
        await ask("GET", path)
    for name in (*names, "leak"):
        for path in ("", "/runs/1", "/endpoints", "/environments"):
            await ask("GET", f"/api/v1/services/{name}{path}")
    for name in names:
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
