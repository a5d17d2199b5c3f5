"""Who gets in, and how: links once, passwords a few times, forms only of our own pages."""

from __future__ import annotations

import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
import sqlalchemy as sa
from gateway.access import csrf
from gateway.access.limits import Limits
from gateway.access.passwords import Passwords
from gateway.errors import TooManyTries
from gateway.tables import owned
from gateway_props import PASSWORD, Gateway
from shared.clock import Clock, HeldClock

CSP = "default-src 'none'; script-src 'self'"


async def test_the_first_start_makes_one_admin_and_a_token_that_only_its_owner_reads(gateway: Gateway) -> None:
    me = (await gateway.client.get("/api/v1/me")).json()
    assert (me["name"], me["role"], me["via"]) == ("admin", "admin", "token")
    file = gateway.root / "cli.token"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    async with gateway.owned.read() as tx:
        assert await tx.scalar(sa.select(sa.func.count()).select_from(owned.users)) == 1
        stored = await tx.all(sa.select(owned.tokens.c.id))
    assert file.read_text().strip() not in [row.id for row in stored], "the token itself is stored nowhere else"


async def test_a_login_link_opens_one_session_once(gateway: Gateway) -> None:
    made = await gateway.client.post("/api/v1/login-links")
    assert made.status_code == 201
    path = made.json()["path"]
    async with gateway.browser() as person, gateway.browser() as thief:
        first = await person.get(path)
        assert first.status_code in (302, 303) and "kiops_session" in person.cookies
        cookie = first.headers["set-cookie"].lower()
        assert "httponly" in cookie and "samesite=lax" in cookie
        assert (await person.get("/api/v1/me")).json()["via"] == "session"
        second = await thief.get(path)
        assert second.status_code == 401 and "kiops_session" not in thief.cookies
        assert (await thief.get("/api/v1/me")).status_code == 401


@pytest.mark.slow
async def test_a_link_is_too_old_after_its_minutes(gateway: Gateway) -> None:
    path = (await gateway.client.post("/api/v1/login-links")).json()["path"]
    async with gateway.owned.write() as tx:
        await tx.execute(owned.login_links.update().values(expires_at_ms=1))
    async with gateway.browser() as person:
        assert (await person.get(path)).status_code == 401


@asynccontextmanager
async def signed_in(gateway: Gateway) -> AsyncIterator[httpx.AsyncClient]:
    async with gateway.browser() as person:
        await person.get((await gateway.client.post("/api/v1/login-links")).json()["path"])
        yield person


@pytest.mark.slow
async def test_a_session_changes_things_only_with_its_own_csrf_token(gateway: Gateway) -> None:
    async with signed_in(gateway) as person, signed_in(gateway) as other:
        mine = (await person.get("/api/v1/me")).json()["csrf"]
        foreign = (await other.get("/api/v1/me")).json()["csrf"]
        assert mine and mine != foreign
        for token in (None, "", "0" * 64, foreign, "ü" * 10):
            headers = {} if token is None else {"x-csrf-token": token.encode()}
            refused = await person.post("/api/v1/login-links", headers=headers)
            assert refused.status_code == 403 and refused.json()["code"] == "access.csrf"
        assert (await person.post("/api/v1/login-links", headers={"x-csrf-token": mine})).status_code == 201


@pytest.mark.slow
async def test_the_key_of_forms_is_replaced_and_open_forms_are_taken_for_a_day(gateway: Gateway) -> None:
    """By another instance too, which shares the database and has not been told."""
    clock = HeldClock(Clock().now_ms())
    other = csrf.FormKeys(gateway.owned, clock, "main")
    await other.look()
    async with signed_in(gateway) as person:

        async def mine() -> str:
            return (await person.get("/api/v1/me")).json()["csrf"]

        async def works(token: str) -> bool:
            return (await person.post("/api/v1/login-links", headers={"x-csrf-token": token})).status_code == 201

        first, before = await mine(), other.token("s1")
        assert (await gateway.client.post("/api/v1/form-key")).status_code == 204
        second = await mine()
        assert first != second and await works(first) and await works(second) and not await works("0" * 64)
        newest = csrf.FormKeys(gateway.owned, Clock(), "main")
        await newest.look()
        assert other.token("s1") == before != newest.token("s1")
        assert await other.right("s1", newest.token("s1")) and await newest.right("s1", before)
        assert other.token("s1") == newest.token("s1"), "it has looked"
        clock.move(csrf.OPEN_MS / 1000 + 60)
        assert not await other.right("s1", before) and await other.right("s1", newest.token("s1"))
        assert (await gateway.client.post("/api/v1/form-key?at_once=true")).status_code == 204
        assert not await works(first) and not await works(second) and await works(await mine())
    anonymous = await gateway.client.post("/api/v1/form-key", headers={"authorization": ""})
    assert anonymous.status_code == 401


@pytest.mark.slow
async def test_signing_out_ends_the_session_on_the_server(gateway: Gateway) -> None:
    async with signed_in(gateway) as person:
        token = (await person.get("/api/v1/me")).json()["csrf"]
        kept = person.cookies["kiops_session"]
        assert (await person.post("/api/v1/sessions/end", headers={"x-csrf-token": token})).status_code == 204
    async with gateway.browser(cookies={"kiops_session": kept}) as again:
        assert (await again.get("/api/v1/me")).status_code == 401


@pytest.mark.slow
async def test_wrong_passwords_have_to_wait_and_the_right_one_signs_in(gateway: Gateway) -> None:
    assert (await gateway.client.put("/api/v1/me/password", json={"password": "short"})).status_code == 422
    assert (await gateway.client.put("/api/v1/me/password", json={"password": PASSWORD})).status_code == 204
    async with gateway.owned.read() as tx:
        stored = await tx.scalar(sa.select(owned.users.c.password))
    assert stored.startswith("$argon2id$") and PASSWORD not in stored
    async with gateway.browser() as person:
        right = {"name": "admin", "password": PASSWORD}
        signed = await person.post("/api/v1/sessions", json=right)
        assert signed.status_code == 201 and signed.json()["csrf"]
        for _ in range(3):
            wrong = await person.post("/api/v1/sessions", json=right | {"password": PASSWORD[:-1]})
            assert wrong.status_code == 401 and wrong.json()["code"] == "access.wrong_password"
        for body in (right, right | {"password": "x"}):
            waits = await person.post("/api/v1/sessions", json=body)
            assert waits.status_code == 429 and waits.json()["code"] == "access.too_many_tries"
            assert 1 <= int(waits.headers["retry-after"]) <= 300
        # Another account is not held up by it, and does not tell whether it exists.
        unknown = await person.post("/api/v1/sessions", json={"name": "nobody", "password": "x"})
        assert unknown.json() == wrong.json()


@pytest.mark.slow
async def test_every_answer_carries_the_security_headers(gateway: Gateway) -> None:
    async with gateway.browser() as anyone:
        for path in ("/api/v1/me", "/api/v1/nope", "/api/v1/openapi.json", "/sign-in", "/nope"):
            answer = await anyone.get(path)
            assert answer.headers["content-security-policy"].startswith(CSP), path
            assert "unsafe" not in answer.headers["content-security-policy"]
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["referrer-policy"] == "same-origin"


async def test_a_token_that_was_replaced_no_longer_works(gateway: Gateway) -> None:
    file = gateway.root / "cli.token"
    file.write_text("something else\n")
    from gateway.handlers.people import People
    from gateway.settings import GatewaySettings

    await People(gateway.owned, None, GatewaySettings(), HeldClock()).cli_token("main", file)  # type: ignore[arg-type]
    assert (await gateway.client.get("/api/v1/me")).status_code == 401
    async with gateway.browser(headers={"authorization": f"Bearer {file.read_text().strip()}"}) as client:
        assert (await client.get("/api/v1/me")).status_code == 200


@pytest.mark.slow
async def test_a_program_has_a_token_of_its_own_until_it_is_ended(gateway: Gateway) -> None:
    made = (await gateway.client.post("/api/v1/tokens", json={"label": "build server", "days": 1})).json()
    async with gateway.browser(headers={"authorization": f"Bearer {made['token']}"}) as program:
        assert (await program.get("/api/v1/me")).json()["via"] == "token"
        listed = (await program.get("/api/v1/tokens")).json()["items"]
        assert {each["label"] for each in listed} == {"build server", "this machine"} and made["token"] not in str(listed)
        assert (await program.delete(f"/api/v1/tokens/{made['id']}")).status_code == 204
        assert (await program.get("/api/v1/me")).status_code == 401
    assert (await gateway.client.delete(f"/api/v1/tokens/{made['id']}")).status_code == 404


def test_limits_count_within_a_window() -> None:
    clock = HeldClock()
    limits = Limits(clock, tries=2, window_seconds=60)
    limits.failed(["a"])
    clock.move(30)
    limits.failed(["a"])
    with pytest.raises(TooManyTries) as refused:
        limits.check(["a"])
    assert refused.value.retry_after_seconds == 30
    limits.check(["b"])
    clock.move(31)
    limits.check(["a"])
    limits.failed(["a"])
    limits.forget(["a"])
    limits.check(["a"])


def test_csrf_tokens_are_of_one_session() -> None:
    key = b"k" * 32
    assert csrf.right(key, "s1", csrf.token(key, "s1"))
    assert not csrf.right(key, "s2", csrf.token(key, "s1"))
    assert not csrf.right(b"other" * 8, "s1", csrf.token(key, "s1"))
    assert not csrf.right(key, "s1", "\ud800ä")


async def test_passwords_are_the_same_however_they_are_typed() -> None:
    passwords = Passwords(8192)
    composed, decomposed = "Kö" + "nig-und-Bauer", "Ko\u0308nig-und-Bauer"
    stored = await passwords.hashed(composed)
    assert await passwords.match(stored, decomposed)
    assert not await passwords.match(stored, composed + "x")
    assert not await passwords.match(None, composed)
    assert not await passwords.match("not a hash", composed)
