# ruff: noqa: E501  (rows of data read better as one line)
"""The pages over HTTP on the real gateway: headers, errors in words, forms, the live stream, and a thousand rows."""

from __future__ import annotations

import asyncio
import dataclasses
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import jinja2
import pytest
import sqlalchemy as sa
from gateway import contexts
from gateway.access.passwords import digest
from gateway.contexts import catalogue, frame, people, runs, service
from gateway.contexts.frame import Version
from gateway.labels import State
from gateway.pages import pieces
from gateway.pages.addresses import STATIC, asset
from gateway.pages.render import TEMPLATES, environment
from gateway.store import pages_runs, pages_services
from gateway.store import people as accounts
from gateway.tables.read_model import findings, run_steps
from gateway.tables.read_model import runs as run_rows
from gateway.tables.read_model import services as service_rows
from shared.facts.gateway import ServiceRegistered
from shared.runtime import serve_http
from shared.testing.nats import free_port

# What pages say of the rows; how these are found on both databases is in test_api.py and test_projections.py.
pytestmark = pytest.mark.one_database

ORG = "main"


@asynccontextmanager
async def signed_in(gateway: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A browser with a session, by a one-time link."""
    async with gateway.owned.write() as tx:
        user = await accounts.first_admin(tx, ORG)
        await accounts.add_link(tx, digest("a-link"), user.id, ORG, 0, 2**53)
    async with gateway.browser(follow_redirects=True) as client:
        answer = await client.get("/login/a-link")
        assert answer.status_code == 200 and answer.url.path == "/dashboard"
        yield client


def token(page: str) -> str:
    return re.search(r'name="csrf" value="([0-9a-f]+)"', page)[1]  # type: ignore[index]


async def register(gateway: Any, name: str = "shop") -> ServiceRegistered:
    fact = ServiceRegistered(
        organisation=ORG, service=f"svc_{name}", name_=name, repository_url=f"https://git.example/team/{name}.git"
    )
    await gateway.tell(fact)
    return fact


# ---- templates and contexts ------------------------------------------------------------------------------------------
def test_every_template_compiles_and_is_strict() -> None:
    env = environment()
    assert env.undefined is jinja2.StrictUndefined and env.autoescape is True
    names = [str(p.relative_to(TEMPLATES)) for p in TEMPLATES.rglob("*.html")]
    assert len(names) > 20
    for name in names:
        env.get_template(name)


def test_no_template_has_inline_script_or_style() -> None:
    for file in TEMPLATES.rglob("*.html"):
        source = file.read_text()
        assert not re.search(r"<script(?![^>]* src=)", source), file
        assert not re.search(r"\sstyle=|<style|\son[a-z]+=|hx-on", source), file
    for file in STATIC.glob("*.js"):
        assert not re.search(r"\beval\(|new Function|\.style\b|innerHTML", file.read_text()), file


def test_what_templates_see_cannot_change() -> None:
    assert contexts.__doc__
    seen = [c for module in (frame, people, catalogue, service, runs) for c in vars(module).values() if dataclasses.is_dataclass(c)]
    assert len(seen) > 40
    assert all(c.__dataclass_params__.frozen for c in seen), [c for c in seen if not c.__dataclass_params__.frozen]


def test_every_symbol_that_is_used_is_in_the_sprite() -> None:
    sprite = (STATIC / "sprite.svg").read_text()
    symbols = set(re.findall(r'<symbol id="([^"]+)"', sprite))
    used = set()
    for file in TEMPLATES.rglob("*.html"):
        source = file.read_text()
        used |= {f"i-{name}" for name in re.findall(r"m?\.?\bi\('([a-z0-9-]+)'", source)}
        used |= {f"s-{name}" for name in re.findall(r"shape\('([a-z]+)'", source)}
    used |= {f"i-{name}" for name in re.findall(r"""icon\(['"]([a-z0-9-]+)""", Path(pieces.__file__).read_text())}
    assert used - symbols == set()
    icons = {name for name in symbols if name.startswith("i-")}
    kept = {"i-brand-git", "i-brand-gitlab", "i-brand-github", "i-git-branch", "i-chevron-down", "i-layout-dashboard", "i-stack-2"}
    assert icons - used - kept == set(), "only symbols that are used are shipped"


def test_pieces_escape_what_comes_from_outside() -> None:
    """They are written by Python, not by templates: nothing that somebody pushed may become markup there."""
    bad = '"><script>alert(1)</script>&'
    shown = [
        pieces.icon(bad, bad),
        pieces.shape(bad, bad),
        pieces.state(State(bad, bad)),
        pieces.pips(((bad, bad),), bad),
        pieces.copied(bad, bad),
        pieces.identifier(bad, bad, bad),
        pieces.commit(bad),
        pieces.version(Version(bad)),
        pieces.version(Version(bad, by_hand=True)),
    ]
    for piece in shown:
        assert "<script" not in piece and '""' not in piece and "&lt;" in piece, piece
    again = environment().from_string("{{ state_of(state) }}{{ moment(at, 0) }}").render(state=State("ok", bad), at=1)
    assert again.count("<span") == again.count("</span>") == 1 and "<script" not in again and "&amp;lt;" not in again
    assert pieces.moment(None, 0) == "" == pieces.moment(0, 0)


# ---- headers ---------------------------------------------------------------------------------------------------------
@pytest.mark.slow
async def test_pages_carry_the_policy_and_files_are_kept(gateway: Any) -> None:
    async with gateway.browser() as client:
        page = await client.get("/sign-in")
        policy = page.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy
        assert page.headers["cache-control"] == "no-store"
        file = await client.get(asset("app.css"))
        assert file.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert (await client.get("/static/0123/app.css")).headers["cache-control"] == "no-cache"
        for path in re.findall(r'(?:href|src)="(/static/[^"#]+)"', page.text):
            assert (await client.get(path)).status_code == 200, path
        for escape in ("../pages/render.py", "%2e%2e/labels.py", "..%2flabels.py", "nothing.css"):
            assert (await client.get(f"/static/x/{escape}")).status_code == 404


@pytest.mark.slow
async def test_nobody_sees_nothing(gateway: Any) -> None:
    await register(gateway)
    async with gateway.browser() as client:
        for path in (
            "/",
            "/dashboard",
            "/services",
            "/services/shop/runs",
            "/services/new",
            "/search?q=shop",
            "/account",
            "/nothing",
            "/live",
        ):
            answer = await client.get(path, follow_redirects=True)
            assert "team/shop" not in answer.text, path
            assert answer.url.path in ("/sign-in", "/nothing"), path
        part = await client.get("/dashboard", headers={"hx-request": "true"})
        assert part.status_code == 401 and part.headers["hx-redirect"] == "/sign-in"


# ---- errors ----------------------------------------------------------------------------------------------------------
@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/services/nothing/runs", 404, "service.not_found"),
        ("/services/shop/runs/99", 404, "run.not_found"),
        ("/services/shop/runs/ninety", 404, "request.not_found"),
        ("/services/shop/builds/99", 404, "build.not_found"),
        ("/services/shop/runs/99999999999999999999/gate", 404, "request.not_found"),
        ("/no/such/page", 404, "page.not_found"),
        ("/services/shop/build?before=99999999999999999999", 200, "Start the build"),
        ("/services/shop/deploy?before=99999999999999999999", 200, "No environment yet"),
        ("/services/shop/runs?before=99999999999999999999&state=x", 200, "No runs yet"),
    ],
)
async def test_what_is_not_there_is_a_page(gateway: Any, path: str, status: int, code: str) -> None:
    await register(gateway)
    async with signed_in(gateway) as client:
        answer = await client.get(path)
        assert (answer.status_code, code in answer.text) == (status, True), answer.text[-1500:]
        assert answer.headers["content-type"].startswith("text/html") and "<h1" in answer.text


@pytest.mark.slow
async def test_machines_get_problems_not_pages(gateway: Any) -> None:
    async with signed_in(gateway) as client:
        answer = await client.get("/api/v1/nothing")
        assert answer.status_code == 404 and answer.headers["content-type"].startswith("application/problem+json")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "\u202eevil", "'; drop table runs; --", "a" * 5000])
async def test_what_people_type_is_shown_as_text(gateway: Any, name: str) -> None:
    async with signed_in(gateway) as client:
        for path in ("/search", "/services"):
            answer = await client.get(path, params={"q": name})
            assert answer.status_code == 200 and "<script>alert" not in answer.text


@pytest.mark.slow
async def test_a_form_needs_its_token(gateway: Any) -> None:
    await register(gateway)
    async with signed_in(gateway) as client:
        for path in (
            "/services",
            "/services/test",
            "/services/shop/build",
            "/services/shop/rollback",
            "/account/password",
            "/sign-out",
        ):
            for fields in ({}, {"csrf": "0" * 64}, {"csrf": "é"}):
                answer = await client.post(path, data=fields)
                assert answer.status_code == 403 and "access.csrf" in answer.text, path


@pytest.mark.slow
async def test_field_errors_stand_beside_the_field(gateway: Any) -> None:
    async with signed_in(gateway) as client:
        csrf = token((await client.get("/services/new")).text)
        typed = {
            "csrf": csrf, "name": "till", "repository_url": "https://git.example/team/till.git", "environment": "dev",
            "environment_kind": "not_production", "container_port": "8080", "health_path": "/healthz",
        }  # fmt: skip
        for field, value in (
            ("name", "Till!"), ("repository_url", "ftp://x"), ("container_port", "99999"), ("container_port", "٣"),
            ("environment", "Not A Label"), ("health_path", "no-slash"), ("dockerfile", "../../etc/passwd"),
        ):  # fmt: skip
            answer = await client.post("/services", data=typed | {field: value})
            assert answer.status_code == 422, (field, answer.text[-800:])
            wrong = re.findall(r'class="field wrong[^"]*"><label for="f-([a-z_]+)"', answer.text)
            assert wrong == [field], (field, value, wrong)
            kept = re.search(r'name="repository_url" type="text" value="([^"]*)"', answer.text)[1]  # type: ignore[index]
            assert kept == (value if field == "repository_url" else typed["repository_url"])


@pytest.mark.slow
async def test_a_password_can_be_set(gateway: Any) -> None:
    async with signed_in(gateway) as client:
        csrf = token((await client.get("/account")).text)
        short = await client.post("/account/password", data={"csrf": csrf, "new": "short"})
        assert short.status_code == 422 and "12" in short.text
        done = await client.post("/account/password", data={"csrf": csrf, "new": "a sentence that is long enough"})
        assert "The password is set." in done.text
        assert "The password is set." not in (await client.get("/account")).text, "said once"


# ---- live ------------------------------------------------------------------------------------------------------------
@pytest.mark.slow
async def test_the_stream_tells_that_something_changed(gateway: Any) -> None:
    """Of one's own organisation and the service that was asked for; what comes together is told once."""
    fact = await register(gateway)
    port, ready = free_port(), asyncio.Event()
    serving = asyncio.create_task(serve_http(gateway.platform.app, "127.0.0.1", port, ready=ready))
    await ready.wait()
    async with signed_in(gateway) as session, httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        session_cookie = {c.name: c.value or "" for c in session.cookies.jar}
        heard = ""
        async with client.stream("GET", "/live", params={"service": fact.service}, cookies=session_cookie) as stream:
            assert stream.headers["content-type"].startswith("text/event-stream")
            chunks = stream.aiter_text()
            heard += await asyncio.wait_for(anext(chunks), 30)
            await register(gateway, "other")
            await gateway.tell(fact.model_copy(update={"description": "one"}))
            while "changed" not in heard:
                heard += await asyncio.wait_for(anext(chunks), 30)
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)
    assert heard.startswith('event: state\ndata: {"live":true')
    assert heard.count("event: changed") == 1


# ---- a thousand rows -------------------------------------------------------------------------------------------------
@pytest.mark.slow
async def test_a_thousand_runs_stay_quick(gateway: Any) -> None:
    """A page of runs, an opened run, builds and the search stay under 150 ms with 1,000 runs and 1,000 findings."""
    service_fact = await register(gateway, "long")
    step = {"organisation_id": ORG, "service_id": service_fact.service, "state": "success", "stages_ms": {}}
    async with gateway.read.write() as tx:
        await tx.execute(
            run_rows.insert(),
            [
                {
                    "id": f"run_{i:04d}", "organisation_id": ORG, "service_id": service_fact.service, "service_name": "long", "number": i,
                    "state": "success", "trigger": "webhook", "branch": f"b{i % 9}", "commit": f"{i:040x}", "message": "m" * 60,
                    "plan": ["source", "build"], "environments": [], "steps": {"source": "success", "build": "success"},
                    "born_at_ms": i * 1000, "finished_at_ms": i * 1000 + 900,
                }
                for i in range(1, 1001)
            ],
        )  # fmt: skip
        await tx.execute(
            run_steps.insert(),
            [
                step | {"run_id": f"run_{i:04d}", "step": name, "environment": "", "position": p, "started_at_ms": i * 1000 + p, "ended_at_ms": i * 1000 + 800}
                for i in range(1, 1001)
                for p, name in enumerate(("source", "build"))
            ],
        )  # fmt: skip
        await tx.execute(
            findings.insert(),
            [
                {
                    "run_id": "run_1000", "area": "sca", "finding_id": f"v1-{i:04d}", "organisation_id": ORG, "service_id": service_fact.service,
                    "rule": "r", "severity": "low", "rank": 3, "title": f"finding {i}", "path": "a.py", "line": i,
                }
                for i in range(1000)
            ],
        )  # fmt: skip
        changed = {"last_run_id": "run_1000", "last_run_number": 1000, "last_run_state": "success", "risk_run_id": "run_1000"}
        await tx.execute(service_rows.update().where(service_rows.c.id == service_fact.service).values(**changed))
    async with signed_in(gateway) as client:
        for path in (
            "/services/long/runs", "/services/long/runs?branch=b3", "/services/long/runs?before=500", "/services/long/runs/3",
            "/services/long/runs/1000", "/services/long/runs/1000/findings?page=9", "/search?q=000003e7", "/search?q=finding", "/dashboard",
        ):  # fmt: skip
            await client.get(path)  # compiled once
            spent = []
            for _ in range(3):
                began = time.perf_counter()
                answer = await client.get(path)
                spent.append(time.perf_counter() - began)
                assert answer.status_code == 200 and len(answer.content) < 250_000, path
            # The quickest of three: what the page takes, not what the machine did meanwhile.
            assert min(spent) < 0.15, (path, spent)
    async with gateway.read.read() as tx:
        rows = await pages_runs.page(tx, service_fact.service, before=31, limit=31)
        assert [r.number for r in rows] == list(range(30, 0, -1))
        assert await pages_runs.newer(tx, service_fact.service, "", "", 30, 30) == 61
        assert await pages_runs.newer(tx, service_fact.service, "", "", 975, 30) == 0
        plan = await tx.all(
            sa.text("explain query plan select * from runs where service_id = 'x' and number < 5 order by number desc limit 5")
        )
        assert "SCAN" not in str(plan[0]), "a page of runs is found by its index"
        assert await pages_services.how_many_runs(tx, service_fact.service) == 1000


@pytest.mark.slow
async def test_the_examples_of_all_facts_make_pages(gateway: Any, examples: dict[str, Any]) -> None:
    """Whatever the other services say in their examples, each page of it is shown."""
    for fact in examples.values():
        await gateway.tell(fact)
    async with gateway.read.read() as tx:
        rows = await tx.all(
            sa.select(run_rows.c.number, service_rows.c.name).join(service_rows, service_rows.c.id == run_rows.c.service_id)
        )
        names = [r.name for r in await tx.all(sa.select(service_rows.c.name).where(service_rows.c.deleted_at_ms.is_(None)))]
    async with signed_in(gateway) as client:
        paths = ["/dashboard", "/services"]
        paths += [f"/services/{name}/{tab}" for name in names for tab in ("source", "build", "deploy", "runs")]
        paths += [
            f"/services/{r.name}/runs/{r.number}{part}" for r in rows if r.name in names for part in ("", "/gate", "/findings")
        ]
        for path in paths:
            answer = await client.get(path)
            assert answer.status_code == 200, (path, answer.text[-1200:])
