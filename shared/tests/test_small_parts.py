"""Identifiers, settings, objects, sealed credentials, child processes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time

import pytest
from pydantic import Field, SecretStr
from shared.errors import Broken, Rejected
from shared.objects import ObjectStore
from shared.processes import ChildTimeout, Mark, leftovers, run_child, sweep
from shared.sealing import KeyPair, public_key, publish_key, seal
from shared.settings import PlatformSettings, ServiceSettings

from shared import ids


def test_ids_are_ordered_and_unlike() -> None:
    made = [ids.uuid7() for _ in range(20_000)]
    assert made == sorted(made) and len(set(made)) == len(made)
    assert all(len(name) == 32 and name[12] == "7" and name[16] in "89ab" for name in made)


def test_a_setting_that_is_secret_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    class Mine(ServiceSettings, env_prefix="MINE_"):
        token: SecretStr = Field(SecretStr(""), description="A token.")
        seconds: int = Field(3, description="How long.")

    monkeypatch.setenv("MINE_TOKEN", "do-not-show")
    shown = Mine().shown()
    assert shown["MINE_TOKEN"] == ("(set)", "A token.") and shown["MINE_SECONDS"] == (3, "How long.")
    assert "do-not-show" not in repr(Mine())


def test_every_platform_setting_has_its_sentence() -> None:
    for name, (_, sentence) in PlatformSettings().shown().items():
        assert sentence.endswith("."), name


async def test_objects_come_back_and_damage_is_told(tmp_path) -> None:
    store = ObjectStore(tmp_path, "builder")
    reference = await store.put(b"hello", "txt")
    assert reference.startswith("builder/") and await store.get(reference) == b"hello"
    assert await store.put(b"hello", "txt") == reference
    with pytest.raises(Rejected, match="expired"):
        await store.get("builder/" + "0" * 64 + ".txt")
    for bad in ("../etc/passwd", "builder/../../x.txt", ""):
        with pytest.raises(Rejected):
            await store.get(bad)
    file = next(tmp_path.rglob("*.gz"))
    file.write_bytes(b"junk")
    with pytest.raises(Broken, match="cannot be read"):
        await store.get(reference)


def test_a_sealed_value_opens_with_its_key_alone(tmp_path) -> None:
    builder, scanner = KeyPair.load(tmp_path / "builder.key"), KeyPair.load(tmp_path / "scanner.key")
    publish_key(tmp_path / "public", "builder", builder)
    sealed = seal("the token", public_key(tmp_path / "public", "builder"))
    assert "token" not in sealed and builder.open(sealed) == "the token"
    with pytest.raises(Broken, match="not sealed"):
        scanner.open(sealed)
    assert KeyPair.load(tmp_path / "builder.key").open(sealed) == "the token"
    os.chmod(tmp_path / "builder.key", 0o644)
    with pytest.raises(Broken, match="read by others"):
        KeyPair.load(tmp_path / "builder.key")


async def test_a_child_sees_only_its_own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUR_SECRET", "hidden")
    done = await run_child(["/usr/bin/env"], env={"GIVEN": "1"}, timeout_seconds=10)
    assert done.code == 0 and b"GIVEN=1" in done.out and b"OUR_SECRET" not in done.out


async def test_lines_come_as_they_are_printed_and_input_is_fed() -> None:
    heard: list[tuple[int, str]] = []
    done = await run_child(
        ["/bin/sh", "-c", "cat; echo wrong >&2; exit 3"],
        stdin=b"one\ntwo",
        on_line=lambda *line: heard.append(line),
        timeout_seconds=10,
    )
    assert done.code == 3 and sorted(heard) == [(1, "one"), (1, "two"), (2, "wrong")]


def command_lines() -> list[bytes]:
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{name}/cmdline", "rb") as file:
                found.append(file.read())
    return found


async def test_a_child_past_its_time_is_killed_with_its_children() -> None:
    began = time.monotonic()
    with pytest.raises(ChildTimeout):
        await run_child(["/bin/sh", "-c", "sleep 31.5 & sleep 32.5"], timeout_seconds=0.5)
    assert time.monotonic() - began < 3, "it did not wait for the children to end by themselves"
    async with asyncio.timeout(10):
        while any(b"31.5" in line or b"32.5" in line for line in await asyncio.to_thread(command_lines)):
            await asyncio.sleep(0.02)


async def test_a_program_that_is_not_there_is_named() -> None:
    with pytest.raises(Broken, match="nowhere"):
        await run_child(["/usr/bin/nowhere"], timeout_seconds=1)


async def test_output_over_the_limit_is_cut_and_told() -> None:
    done = await run_child(["/bin/sh", "-c", "head -c 100000 /dev/zero"], timeout_seconds=10, max_output_bytes=1000)
    assert done.clipped and len(done.out) <= 1000


async def test_leftovers_of_an_earlier_instance_are_found_and_ended(tmp_path) -> None:
    """A child that outlived its instance carries the mark; the next instance ends it, and never its own."""

    class Job:
        id, token = "job_x", 1

    class Ours(Job):
        mark = Mark(str(tmp_path), "builder", "old")

    class Mine(Job):
        mark = Mark(str(tmp_path), "builder", "new")

    tasks = [asyncio.create_task(run_child(["/bin/sleep", "30"], job=job, timeout_seconds=40)) for job in (Ours(), Mine())]
    while len(leftovers(str(tmp_path), "builder")) < 2:
        await asyncio.sleep(0.02)
    assert len(sweep(str(tmp_path), "builder", "new")) == 1
    done = await tasks[0]
    assert done.code == -9
    assert len(leftovers(str(tmp_path), "builder")) == 1
    tasks[1].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert leftovers(str(tmp_path), "builder") == []
