"""What containers need before they start: keys, passwords and folders of their own, the bus' configuration, roles and databases.

`kiops provision keys` runs before nats-server and PostgreSQL, `kiops provision databases` after; both can be done again at every
start and change nothing that is there. Each service's container runs as a user of its own: it reads what is its own (keys,
password, folder) and, as one of the group, the objects of all.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Sequence
from pathlib import Path

from kiops import catalogue
from kiops.setup.screen import Screen
from kiops.terminal import Exit, fail

GROUP = 8640
BUS_USER = 8639
USERS = {name: 8641 + number for number, name in enumerate(catalogue.NAMES)}
"""The user of each service's container: `UID` in compose.yaml."""
DATABASES = {name: ((name, "read_model") if name == "gateway" else (name,)) for name in catalogue.NAMES}
ADMIN = "postgres"


def role(database: str) -> str:
    """A database's name in PostgreSQL, and its only user's: operator-proxy -> operator_proxy."""
    return database.replace("-", "_")


# -- before the servers ------------------------------------------------------------------------------------------------


def keys(root: Path, *, bus: Path | None, postgres: Path | None, database_host: str, mounts: Sequence[Path] = ()) -> None:
    """Makes what is missing below the data folder, nats-server's configuration in `bus`, its first password in `postgres`."""
    from shared.permissions import make_keys
    from shared.platform import platform_id
    from shared.sealing import KeyPair, publish_key

    screen = Screen()
    screen.begin("keys")
    as_root = os.getuid() == 0
    _folder(root, 0, 0o1770, as_root=as_root)
    platform_id(root)
    _own(root / "platform.id", 0, 0o640, as_root=as_root)
    for folder in (root / "objects", root / "keys", root / "keys" / "public"):
        _folder(folder, 0, 0o1770, as_root=as_root)
    for folder in (root / "services", root / "bus", root / "bus" / "keys"):
        _folder(folder, 0, 0o750, as_root=as_root)
    make_keys(root / "bus" / "keys")
    for name, user in USERS.items():
        _folder(root / "services" / name, user, 0o700, as_root=as_root)
        publish_key(root / "keys" / "public", name, KeyPair.load(root / "keys" / f"{name}.key"))
        _own(root / "keys" / f"{name}.key", user, 0o600, as_root=as_root)
        _own(root / "keys" / "public" / f"{name}.pub", user, 0o640, as_root=as_root)
        _own(root / "bus" / "keys" / f"{name}.nk", user, 0o600, as_root=as_root)
    for mount in mounts:  # volumes of one service, below its folder
        _own(mount, USERS[mount.relative_to(root / "services").parts[0]], 0o700, as_root=as_root)
    passwords(root, database_host, as_root=as_root)
    if postgres:
        _write(postgres / "password", _password(root / "bootstrap" / "postgres.password"), 0, 0o600, as_root=as_root)
    if bus:
        from shared.permissions import server_config

        from shared import seeds

        _own(bus, BUS_USER, 0o700, as_root=as_root)
        with seeds.held(root / "bus" / "keys"):
            accepted = make_keys(root / "bus" / "keys")
            text = server_config(accepted, bus / "store", 4222, host="0.0.0.0") + 'http: "127.0.0.1:8222"\n'
            _write(bus / "nats.conf", text, BUS_USER, 0o600, as_root=as_root)
    screen.done("keys", "each service has its own")


def passwords(root: Path, host: str, *, as_root: bool) -> None:
    """A password per database, made once; in the form in which PostgreSQL's clients look for them (PGPASSFILE)."""
    _folder(root / "bootstrap", 0, 0o700, as_root=as_root)
    lines = [f"{host}:5432:*:{ADMIN}:{_password(root / 'bootstrap' / 'postgres.password')}"]
    for name, databases in DATABASES.items():
        roles = [(role(each), _password(root / "bootstrap" / f"{role(each)}.password")) for each in databases]
        own = [f"{host}:5432:{user}:{user}:{password}" for user, password in roles]
        _write(root / "services" / name / "pgpass", "\n".join(own) + "\n", USERS[name], 0o600, as_root=as_root)
        lines += own
    _write(root / "bootstrap" / "pgpass", "\n".join(lines) + "\n", 0, 0o600, as_root=as_root)


def _password(file: Path) -> str:
    if not file.exists():
        _write(file, secrets.token_hex(24), 0, 0o600, as_root=False)
    return file.read_text()


def _folder(path: Path, user: int, mode: int, *, as_root: bool) -> None:
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    _own(path, user, mode, as_root=as_root)


def _own(path: Path, user: int, mode: int, *, as_root: bool) -> None:
    if as_root:
        os.chown(path, user, GROUP)
    path.chmod(mode)


def _write(path: Path, text: str, user: int, mode: int, *, as_root: bool) -> None:
    """Whole or not at all; a file that says this already is left alone."""
    if not path.exists() or path.read_text() != text:
        draft = path.with_name(path.name + ".new")
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    _own(path, user, mode, as_root=as_root)


# -- after them --------------------------------------------------------------------------------------------------------


def databases(root: Path) -> None:
    """A role and a database for each service, which no other role can open. What is there stays; passwords are set again."""
    from shared.settings import PlatformSettings

    url = PlatformSettings(data=root).database_url.get_secret_value()
    if "{database}" not in url:
        fail("there is no PostgreSQL to make databases in", advice="set KIOPS_DATABASE_URL, with {database} in it",
             code="provision.no_postgresql", exit_code=Exit.ASKED_WRONGLY)  # fmt: skip
    screen = Screen()
    screen.begin("databases")
    made = asyncio.run(_databases(root, url))
    screen.done("databases", f"{made} made" if made else "all there")


async def _databases(root: Path, url: str) -> int:
    import asyncpg
    from sqlalchemy.engine import make_url

    place = make_url(url)
    connection = await asyncpg.connect(
        host=place.host, port=place.port or 5432, user=ADMIN, database=ADMIN, passfile=str(root / "bootstrap" / "pgpass")
    )
    made = 0
    try:
        for name in (role(each) for databases in DATABASES.values() for each in databases):
            password = (root / "bootstrap" / f"{name}.password").read_text()
            exists = await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", name)
            # Names are ours and passwords hexadecimal: nothing of them has to be quoted.
            await connection.execute(f"{'ALTER' if exists else 'CREATE'} ROLE \"{name}\" LOGIN PASSWORD '{password}'")
            if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", name):
                await connection.execute(f'CREATE DATABASE "{name}" OWNER "{name}" ENCODING \'UTF8\' TEMPLATE template0')
                made += 1
            await connection.execute(f'REVOKE ALL ON DATABASE "{name}" FROM PUBLIC')
    finally:
        await connection.close()
    return made
