"""The Git client against real repositories: what it fetches, and what it says when it cannot."""

from __future__ import annotations

import asyncio
import os
import secrets
import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme
from builder.clients.git import Git
from shared.git import Credential, Options, SourceAway, SourceRefused
from shared.processes import Finished, run_child


async def test_a_commit_is_fetched_with_its_author_message_and_files(repository: Any, tmp_path: Path) -> None:
    first = repository.commit("Greet the customer\n\nAt length.", Dockerfile="FROM scratch\n", src__app="1")
    repository.commit("Say more", src__app="2")
    fetched = await Git(Options(roots=[tmp_path])).fetch(str(repository.bare), first, tmp_path / "job")
    assert (fetched.folder / "src/app").read_text() == "1"
    assert (fetched.files, fetched.author, fetched.message) == (2, "Ada", "Greet the customer")
    assert fetched.duration_ms > 0
    assert not (fetched.folder / ".git").exists()


async def test_this_machines_git_configuration_takes_no_part(
    repository: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = repository.commit("Begin", Dockerfile="FROM scratch\n")
    home = tmp_path / "home"
    home.mkdir()
    (home / ".gitconfig").write_text(f'[url "file:///nowhere/"]\n\tinsteadOf = "file://{tmp_path}/"\n')
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(home / ".gitconfig"))
    fetched = await Git(Options(roots=[tmp_path])).fetch(f"file://{repository.bare}", commit, tmp_path / "job")
    assert fetched.files == 1


async def test_a_commit_that_was_replaced_is_gone(repository: Any, tmp_path: Path) -> None:
    repository.commit("Begin", a="1")
    with pytest.raises(SourceRefused) as caught:
        await Git(Options(roots=[tmp_path])).fetch(str(repository.bare), "d" * 40, tmp_path / "job")
    assert caught.value.code == "source.commit_gone"
    assert "force" in caught.value.advice


async def test_a_server_that_gives_no_single_commits_gives_its_branches(repository: Any, tmp_path: Path) -> None:
    """Protocol version 0 refuses commits that no branch names; an older one is found in the branch's history."""
    first = repository.commit("Begin", a="1")
    repository.commit("Go on", a="2")
    said: list[str] = []

    async def old_protocol(argv: list[str], **options: object) -> Finished:
        return await run_child([argv[0], "-c", "protocol.version=0", *argv[1:]], **options)

    fetched = await Git(Options(roots=[tmp_path], child=old_protocol)).fetch(
        str(repository.bare), first, tmp_path / "job", say=said.append
    )
    assert (fetched.folder / "a").read_text() == "1"
    assert any("single commits" in line for line in said)


async def test_a_repository_that_is_gone(tmp_path: Path) -> None:
    with pytest.raises(SourceRefused) as caught:
        await Git(Options(roots=[tmp_path])).fetch(str(tmp_path / "gone.git"), "a" * 40, tmp_path / "job")
    assert caught.value.code == "source.not_found"
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceRefused) as caught:
        await Git(Options(roots=[tmp_path])).fetch(str(tmp_path / "empty"), "a" * 40, tmp_path / "job2")
    assert caught.value.code == "source.not_found"


async def test_an_address_that_may_not_be_read_never_reaches_git(repository: Any, tmp_path: Path) -> None:
    allowed = tmp_path / "allowed"
    for address, code in (
        (str(repository.bare), "source.path_not_allowed"),
        ("ext::sh -c id", "source.address_invalid"),
        ("http://host/x.git", "source.protocol_refused"),
    ):
        with pytest.raises(SourceRefused) as caught:
            await Git(Options(roots=[allowed], protocols=["https", "file"])).fetch(address, "a" * 40, tmp_path / "job")
        assert caught.value.code == code and not (tmp_path / "job").exists()


async def test_a_credential_reaches_the_host_and_no_command_line(repository: Any, git_server: Any, tmp_path: Path) -> None:
    commit = repository.commit("Begin", a="1")
    repository.git("update-server-info", cwd=repository.bare)
    lines: list[str] = []

    async def watched(argv: list[str], **options: object) -> Finished:
        lines.append(" ".join(map(str, argv)))
        return await run_child(argv, **options)

    async def credential() -> Credential:
        return Credential(password=git_server.password)

    fetcher = Git(Options(roots=[], protocols=["http"], child=watched))
    url = f"http://127.0.0.1:{git_server.server_port}/shop.git"
    # The dumb protocol knows no shallow fetch, and so takes the way round by branches and tags.
    fetched = await fetcher.fetch(url, commit, tmp_path / "job", credential=credential())
    assert fetched.files == 1
    assert git_server.password not in "".join(lines)
    assert git_server.password not in (tmp_path / "job/git/config").read_text()


async def test_a_refused_credential_is_named_and_not_shown(git_server: Any, tmp_path: Path) -> None:
    wrong = secrets.token_hex(12)

    async def credential() -> Credential:
        return Credential("ada", wrong)

    fetcher = Git(Options(roots=[], protocols=["http"]))
    url = f"http://127.0.0.1:{git_server.server_port}/shop.git"
    with pytest.raises(SourceRefused) as caught:
        await fetcher.fetch(url, "a" * 40, tmp_path / "job", credential=credential())
    assert caught.value.code == "source.credential_refused"
    assert wrong not in f"{caught.value} {caught.value.detail}"
    with pytest.raises(SourceRefused) as caught:
        await fetcher.fetch(url, "a" * 40, tmp_path / "none")
    assert caught.value.code == "source.credential_refused"


async def test_a_host_that_is_away_or_failing_is_tried_again_later(git_server: Any, tmp_path: Path) -> None:
    fetcher = Git(Options(roots=[], protocols=["http"]))
    git_server.status = 502
    for name, url in (("a", f"http://127.0.0.1:{git_server.server_port}/x.git"), ("b", "http://127.0.0.1:1/x.git")):
        with pytest.raises(SourceAway) as caught:
            await fetcher.fetch(url, "a" * 40, tmp_path / name)
        assert caught.value.code == "source.unreachable"
    git_server.status = 404
    with pytest.raises(SourceRefused) as missing:
        await fetcher.fetch(f"http://127.0.0.1:{git_server.server_port}/x.git", "a" * 40, tmp_path / "c")
    assert missing.value.code == "source.not_found"


async def test_an_untrusted_certificate_is_named(git_server: Any, tmp_path: Path) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    git_server.socket = context.wrap_socket(git_server.socket, server_side=True)
    with pytest.raises(SourceRefused) as caught:
        await Git(Options(roots=[])).fetch(f"https://127.0.0.1:{git_server.server_port}/x.git", "a" * 40, tmp_path / "job")
    assert caught.value.code == "source.tls"


async def test_cancelling_leaves_no_git_process(tmp_path: Path) -> None:
    """A host that accepts and says nothing: the fetch hangs until it is cancelled, and then is gone."""
    silent = await asyncio.start_server(lambda reader, writer: asyncio.sleep(60), "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    task = asyncio.create_task(
        Git(Options(roots=[], protocols=["http"])).fetch(f"http://127.0.0.1:{port}/x", "a" * 40, tmp_path / "job")
    )
    async with asyncio.timeout(30):
        while not processes(str(tmp_path / "job")):
            await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not processes(str(tmp_path / "job"))
    silent.close()


def processes(word: str) -> list[str]:
    """Command lines of processes whose working folder is this one."""
    found = []
    for pid in os.listdir("/proc"):
        try:
            if pid.isdigit() and os.readlink(f"/proc/{pid}/cwd") == word:
                found.append(Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace"))
        except OSError:
            continue
    return found
