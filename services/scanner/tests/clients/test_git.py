"""Fetching real repositories: the whole history of one commit, and each way in which that fails."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from scanner.clients.git import Git
from shared.git import Credential, Options, SourceAway, SourceRefused


async def test_the_commit_with_all_its_history_and_its_files(repository: Any, tmp_path: Path) -> None:
    repository.commit({"a.txt": "1\n"})
    second = repository.commit({"ünï/b c.txt": "2\n"})
    repository.commit({"later.txt": "3\n"})
    source = await Git(Options(roots=[tmp_path])).fetch(str(repository.folder), second, tmp_path / "to")
    assert (source.commits, source.files, source.shallow) == (2, 2, False)
    assert (source.tree / "ünï" / "b c.txt").read_text() == "2\n" and not (source.tree / "later.txt").exists()


async def test_a_link_in_the_tree_leads_nowhere(repository: Any, tmp_path: Path) -> None:
    (repository.folder / "link").symlink_to("/etc/passwd")
    tip = repository.commit({"a.txt": "1\n"})
    source = await Git(Options(roots=[tmp_path])).fetch(str(repository.folder), tip, tmp_path / "to")
    assert not (source.tree / "link").is_symlink() and (source.tree / "link").read_text() == "/etc/passwd"


async def test_a_commit_that_was_pushed_over_is_named(repository: Any, tmp_path: Path) -> None:
    repository.commit({"a.txt": "1\n"})
    with pytest.raises(SourceRefused) as raised:
        await Git(Options(roots=[tmp_path])).fetch(str(repository.folder), "1" * 40, tmp_path / "to")
    assert raised.value.code == "source.commit_gone"


async def test_a_repository_that_is_gone(tmp_path: Path) -> None:
    with pytest.raises(SourceRefused) as raised:
        await Git(Options(roots=[tmp_path])).fetch(str(tmp_path / "gone.git"), "1" * 40, tmp_path / "to")
    assert raised.value.code == "source.not_found" and raised.value.advice


async def test_a_host_that_does_not_answer_is_tried_again_later(tmp_path: Path) -> None:
    with pytest.raises(SourceAway) as raised:
        await Git(Options(roots=[])).fetch("http://127.0.0.1:9/x.git", "1" * 40, tmp_path / "to")
    assert raised.value.code == "source.unreachable"


async def test_an_address_that_may_not_be_read_never_reaches_git(repository: Any, tmp_path: Path) -> None:
    with pytest.raises(SourceRefused) as raised:
        await Git(Options(roots=[tmp_path / "allowed"])).fetch(str(repository.folder), "1" * 40, tmp_path / "to")
    assert raised.value.code == "source.path_not_allowed" and not (tmp_path / "to").exists()


async def test_a_password_is_in_no_command_line_and_no_error(tmp_path: Path) -> None:
    password = "".join(["pa", "ss", "/w?rd"])
    seen = tmp_path / "seen"
    program = tmp_path / "git"
    program.write_text(
        f'#!/bin/sh\necho "$@" >> {seen}\ncase "$*" in *fetch*) echo "fatal: $KIOPS_GIT_PASSWORD" >&2; exit 128;; esac\n'
    )
    program.chmod(0o755)
    git = Git(Options(roots=[], program=str(program)))
    with pytest.raises(SourceRefused) as raised:
        await git.fetch("https://git.example.org/x.git", "1" * 40, tmp_path / "to", credential=Credential("ada", password))
    assert password not in seen.read_text() and "fetch" in seen.read_text()
    assert password not in f"{raised.value} {raised.value.detail}" and "•••" in str(raised.value)


async def test_a_repository_over_http_that_knows_no_protocol_is_fetched_whole(repository: Any, tmp_path: Path) -> None:
    """A plain file server cannot hand out single commits."""
    import http.server
    import threading

    tip = repository.commit({"a.txt": "1\n"})
    bare = tmp_path / "www" / "x.git"
    subprocess.run(["git", "clone", "--quiet", "--bare", str(repository.folder), str(bare)], check=True)
    subprocess.run(["git", "-C", str(bare), "update-server-info"], check=True)

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, directory=str(tmp_path / "www"))

        def log_message(self, *arguments: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        source = await Git(Options(roots=[])).fetch(f"http://127.0.0.1:{server.server_port}/x.git", tip, tmp_path / "to")
    finally:
        server.shutdown()
    assert source.files == 1 and source.commits == 1
