"""The keys that secrets are sealed to are replaced and the former ones taken away, while pushes arrive."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import nats as nats_py
import pytest
import sqlalchemy as sa
from shared.queries.gateway import ListSealed, ReplaceSealed
from shared.sealing import KeyPair
from shared.serving import serve_http
from shared.testing.nats import free_port

from kiops import rotating
from tests.flows.conftest import Town

READERS = ("webhook", "builder", "scanner")


async def credentials(town: Town) -> list[sa.Row[Any]]:
    from gateway.tables import owned

    async with town.platform.services["gateway"].service.database.read() as tx:
        return list(await tx.all(sa.select(owned.credentials)))


def kiops(root: Path, port: int, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "KIOPS_URL": f"http://127.0.0.1:{port}",
        "KIOPS_TOKEN_FILE": str(root / "cli.token"),
        "KIOPS_HOME": str(root.parent),
    }
    argv = [sys.executable, "-m", "kiops", "keys", *words, "--data", str(root)]
    return subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=120, check=False)


async def test_sealing_keys_are_replaced_while_pushes_arrive(town: Town) -> None:
    """Secrets open at every moment; afterwards no former key is needed, and none is there."""
    await town.register()
    token = "-".join(("a", "token", "of", "nobody"))
    given = await town.client.patch("/api/v1/services/shop", json={"credential": {"username": "ci", "password": token}})
    assert given.status_code == 200, given.text
    root = town.platform.settings.root
    before = await credentials(town)
    first = {name: KeyPair.load(root / "keys" / f"{name}.key").id for name in rotating.catalogue.NAMES}
    assert {row.recipient: row.sealed_to for row in before} == {name: first[name] for name in READERS}

    port = free_port()
    ready = asyncio.Event()
    serving = asyncio.create_task(serve_http(town.platform.app, "127.0.0.1", port, ready=ready))
    try:
        await ready.wait()
        pushed = [await town.push()]
        changing = asyncio.create_task(asyncio.to_thread(kiops, root, port, "rotate", "--sealing", "--all", "--json"))
        while not changing.done():
            pushed.append(await town.push())
            await asyncio.sleep(0.1)
        done = await changing
        assert done.returncode == 0, done.stderr
        rows = {row["service"]: row for row in map(json.loads, done.stdout.splitlines())}
        assert {name: row["renewed"] for name, row in rows.items() if row["renewed"]} == {"webhook": 2, "builder": 1, "scanner": 1}
        assert all(row["left"] == row["unreadable"] == 0 and row["former"] == [first[name]] for name, row in rows.items())
        assert {answer.status_code for answer in pushed} == {202}

        early = await asyncio.to_thread(kiops, root, port, "retire", "--yes")
        assert early.returncode == 1 and "keys.too_fresh" in early.stderr
        a_while_ago = time.time() - 2 * rotating.RETIRE_AFTER_SECONDS
        for path in (root / "keys").glob("*.key.*"):
            os.utime(path, (a_while_ago, a_while_ago))
        listed = await asyncio.to_thread(kiops, root, port, "list")
        assert listed.stdout.count("opens only") == 7
        gone = await asyncio.to_thread(kiops, root, port, "retire", "--yes", "--json")
        assert gone.returncode == 0, gone.stderr
        assert {row["service"]: row["retired"] for row in map(json.loads, gone.stdout.splitlines())} == {
            name: [key] for name, key in first.items()
        }
        again = await asyncio.to_thread(kiops, root, port, "retire", "--yes")
        assert again.stdout == "No service has a former key.\n"
        forms = await asyncio.to_thread(kiops, root, port, "rotate", "--forms", "--force")
        assert forms.returncode == 0 and "forms that are open now are refused" in forms.stdout
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)

    after = await credentials(town)
    for row in after:
        keys = KeyPair.load(root / "keys" / f"{row.recipient}.key")
        assert keys.former == {} and row.sealed_to == keys.id and json.loads(keys.open(row.sealed))["password"] == token
    assert {row.sealed for row in after}.isdisjoint(row.sealed for row in before)
    last = await town.push()
    assert last.status_code == 202
    assert (await town.ended(last.json()["run"]["number"]))["state"] == "success"
    written = done.stdout + done.stderr + gone.stdout + gone.stderr + listed.stdout
    for path in (root / "keys").glob("*.key"):
        assert path.read_text().strip() not in written
    assert token not in written


@pytest.mark.one_database
async def test_nobody_touches_the_ciphertext_of_another(town: Town, nats: Any) -> None:
    """A service asks on a subject that ends with its own name; the body cannot say another one."""
    await town.register()
    await town.client.patch("/api/v1/services/shop", json={"credential": {"password": "-".join("secret")}})
    (mine,) = [row for row in await credentials(town) if row.recipient == "builder"]
    problems: list[str] = []

    async def note(error: Exception) -> None:
        problems.append(str(error))

    builder = await nats_py.connect(
        nats.url, nkeys_seed=str(nats.keys / "builder.nk"), inbox_prefix=b"_INBOX_builder", error_cb=note
    )
    try:
        foreign = ReplaceSealed(
            organisation="main", asker="webhook", credential=mine.id, before=mine.sealed, sealed="x", key="0" * 16
        )
        own_subject = foreign.model_copy(update={"asker": "builder"}).subject
        reply = await builder.request(own_subject, foreign.model_dump_json().encode(), timeout=5)
        assert json.loads(reply.data)["error"] == "query.asker"
        await builder.publish(ListSealed(organisation="main", asker="webhook", key="").subject, b"{}")
        await builder.flush()
        await town.until("the server's refusal", lambda: asyncio.sleep(0, bool(problems)))
        assert "permissions violation for publish" in problems[0].lower()
        wrong = foreign.model_copy(update={"asker": "builder", "before": "something else"})
        reply = await builder.request(wrong.subject, wrong.model_dump_json().encode(), timeout=5)
        assert json.loads(reply.data)["done"] is False
    finally:
        await builder.close()
    assert {row.sealed for row in await credentials(town)} & {mine.sealed}


@pytest.mark.one_database
async def test_only_an_administrator_may_have_it_done(town: Town) -> None:
    anonymous = await town.client.post("/api/v1/sealing/renew", headers={"Authorization": ""})
    assert anonymous.status_code == 401
    done = (await town.client.post("/api/v1/sealing/renew")).json()["items"]
    assert [(row["code"], row["renewed"], row["left"]) for row in done] == [("", 0, 0)] * 7
