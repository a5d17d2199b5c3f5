"""A database and a role per service: each opens its own with its own password and no other; the password is shown nowhere."""

from __future__ import annotations

import asyncio
import io
import logging as standard
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
import structlog
from shared.clock import Clock
from shared.database import open_engines
from shared.errors import Broken, Unavailable
from shared.masking import MASK
from shared.settings import PlatformSettings
from shared.testing.postgres import Postgres
from sqlalchemy.engine import make_url

from kiops import provision
from shared import logging, migrate

ROLES = [provision.role(each) for databases in provision.DATABASES.values() for each in databases]


@dataclass
class Provisioned:
    root: Path
    postgres: Postgres

    def password(self, role: str) -> str:
        return (self.root / "bootstrap" / f"{role}.password").read_text()

    def url(self, role: str, database: str, password: str = "") -> str:
        return f"postgresql+asyncpg://{role}:{password or self.password(role)}@127.0.0.1:{self.postgres.port}/{database}"


@pytest.fixture
def provisioned(postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Provisioned]:
    """What `kiops provision` makes, on a server that asks these roles for their passwords."""
    root = tmp_path / "data"
    provision.keys(root, bus=None, postgres=None, database_host="127.0.0.1")
    rules = postgres.folder / "data" / "pg_hba.conf"
    before = rules.read_text()
    rules.write_text(f"host all {','.join(ROLES)} 127.0.0.1/32 scram-sha-256\n{before}")
    postgres.execute("create role postgres superuser login")
    postgres.execute("select pg_reload_conf()")
    monkeypatch.setenv("KIOPS_DATABASE_URL", f"postgresql+asyncpg://{{database}}@127.0.0.1:{postgres.port}/{{database}}")
    provision.databases(root)
    try:
        yield Provisioned(root, postgres)
    finally:
        for role in ROLES:
            postgres.drop(role)
            postgres.execute(f'drop role "{role}"')
        postgres.execute("drop role postgres")
        rules.write_text(before)
        postgres.execute("select pg_reload_conf()")


async def tell(url: str, statement: str) -> Any:
    async with open_engines("any", sa.MetaData(), path=Path("none"), url=url, clock=Clock()) as database:
        async with database.read() as tx:
            return await tx.scalar(sa.text(statement))


def test_each_role_opens_its_own_database_and_no_other(provisioned: Provisioned) -> None:
    async def all_of_it() -> None:
        assert await tell(provisioned.url("webhook", "webhook"), "select current_user") == "webhook"
        for role in ROLES:
            for database in ROLES:
                if role == database:
                    continue
                with pytest.raises(Unavailable, match="permission denied for database"):
                    await tell(provisioned.url(role, database), "select 1")
        # Nor the server's own one, which another could fill or read the list of others' doings in.
        with pytest.raises(Unavailable):
            await tell(provisioned.url("webhook", "webhook", "not the password"), "select 1")

    asyncio.run(all_of_it())
    told = provisioned.postgres.execute(
        "select count(*) from pg_roles where rolname in (" + ",".join(f"'{role}'" for role in ROLES) + ")"
        " and (rolsuper or rolcreaterole or rolcreatedb or rolreplication or rolbypassrls)"
    )
    assert told.strip() == "0"


def test_each_migrates_its_own_with_nothing_more_than_its_role(provisioned: Provisioned) -> None:
    async def run(package: str, role: str) -> None:
        folder = migrate.folder(package, "migrations_read_model" if role == "read_model" else "migrations")
        url = provisioned.url(role, role)
        async with open_engines(role, sa.MetaData(), path=Path("none"), url=url, clock=Clock()) as opened:
            await migrate.migrate(opened, folder)
            assert await migrate.at(opened) == migrate.head(folder / "versions")

    for service, databases in provision.DATABASES.items():
        for database in databases:
            asyncio.run(run(provision.role(service), provision.role(database)))


def test_done_again_it_changes_nothing(provisioned: Provisioned) -> None:
    before = {role: provisioned.password(role) for role in ROLES}
    provision.keys(provisioned.root, bus=None, postgres=None, database_host="127.0.0.1")
    provision.databases(provisioned.root)
    assert {role: provisioned.password(role) for role in ROLES} == before
    assert len(set(before.values())) == len(ROLES)
    assert asyncio.run(tell(provisioned.url("gate", "gate"), "select current_user")) == "gate"


SECRET = "-".join(["pa55", "w0rd", "of", "nobody"])


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql+asyncpg://gate:{SECRET}@127.0.0.1:{SECRET}/gate",
        f"postgresql+asyncpg://gate:{SECRET}@127.0.0.1/",
        f"postgres://gate:{SECRET}@127.0.0.1/gate",
        f"gate:{SECRET}",
    ],
)
def test_an_address_that_is_none_is_refused_without_being_shown(url: str) -> None:
    settings = PlatformSettings(database_url=url)  # type: ignore[arg-type]
    with pytest.raises(Broken) as refused:
        settings.database_at("gate")
    assert refused.value.code == "database.url"
    assert SECRET not in "".join(traceback.format_exception(refused.value)) + refused.value.advice
    assert SECRET not in repr(settings) + repr(settings.shown()) + settings.model_dump_json()


@pytest.mark.slow
@pytest.mark.one_database
async def test_a_password_is_in_no_error_and_no_log(platform: Any, tmp_path: Path, nats: Any) -> None:
    """Nothing listens there: what the start says, and every line that is logged of it, has no password."""
    from gate.wiring import wire

    lines = io.StringIO()
    handler = standard.StreamHandler(lines)
    standard.getLogger().addHandler(handler)
    try:
        with pytest.raises(Unavailable) as refused:
            async with platform({"gate": wire}, database_url=f"postgresql+asyncpg://gate:{SECRET}@127.0.0.1:1/{{database}}"):
                pass
    finally:
        standard.getLogger().removeHandler(handler)
    assert refused.value.code == "database.away"
    assert SECRET not in "".join(traceback.format_exception(refused.value)) + lines.getvalue()
    assert logging.masker.mask(f"connected with {SECRET}") == f"connected with {MASK}"
    assert SECRET not in logging.masker.mask(f"connected as gate:{SECRET}")


@pytest.mark.one_database
async def test_a_password_that_serves_is_in_no_log_page_metric_or_span(platform: Any, tmp_path: Path, postgres: Any) -> None:
    """While the service runs, while its connections are cut, and when it ends."""
    from gate.wiring import wire

    name, spans = f"gate_{SECRET[:4].lower()}", tmp_path / "spans.jsonl"
    postgres.make(name)
    address = make_url(postgres.url.format(database=name))
    url = address.set(username=address.username or "postgres", password=SECRET).render_as_string(hide_password=False)
    log = tmp_path / "kiops.log"
    logging.configure("debug", log)
    pages = []
    try:
        async with platform({"gate": wire}, database_url=url, trace_file=spans) as running:
            gate = running.services["gate"]
            client = httpx.AsyncClient(transport=httpx.ASGITransport(running.app), base_url="http://kiops.test")
            for _ in range(3):
                postgres.execute(f"select pg_terminate_backend(pid) from pg_stat_activity where datname = '{name}'", "postgres")
                for path in ("readyz", "livez", "metrics"):
                    pages.append((await client.get(f"/-/gate/{path}")).text)
            standard.getLogger("a.library").warning("connecting to %s", url)
            pages += [repr(running.settings), str(running.settings.shown()), repr(gate.host.settings)]
            await client.aclose()
    finally:
        structlog.reset_defaults()
        postgres.drop(name)
    told = log.read_text() + "".join(pages) + (spans.read_text() if spans.exists() else "")
    assert "connecting to" in told and "kiops_ready" in told, "the search finds what is there"
    assert SECRET not in told


@pytest.fixture
def database_url() -> str:
    """The address is what these tests are about."""
    return ""
