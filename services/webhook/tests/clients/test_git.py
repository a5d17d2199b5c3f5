"""`git ls-remote` against real repositories: over a path, and over HTTP with a password."""

from __future__ import annotations

import base64
import os
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from shared.errors import KiopsError, Rejected, Unavailable
from shared.git import Credential, Hints, Options
from shared.processes import Finished
from webhook.clients.git import Git, read_refs

ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "HOME": "/nonexistent",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "Ada",
    "GIT_AUTHOR_EMAIL": "ada@example.org",
    "GIT_COMMITTER_NAME": "Ada",
    "GIT_COMMITTER_EMAIL": "ada@example.org",
}


def run(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", *words], cwd=folder, env=ENVIRONMENT, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A bare repository with branches trunk and feature/ünïcödé, a light tag and an annotated one."""
    work, bare = tmp_path / "work", tmp_path / "allowed" / "shop.git"
    work.mkdir()
    run(work, "init", "--quiet", "--initial-branch=trunk")
    run(work, "commit", "--quiet", "--allow-empty", "-m", "one")
    run(work, "tag", "light")
    run(work, "tag", "-a", "v1.0", "-m", "first")
    run(work, "branch", "feature/ünïcödé")
    run(tmp_path, "clone", "--quiet", "--bare", str(work), str(bare))
    run(bare, "update-server-info")
    return bare


def git(tmp_path: Path, **changes: Any) -> Git:
    given = {"roots": [tmp_path / "allowed"], "timeout_seconds": 10, "hints": Hints("WEBHOOK_SOURCE_ROOTS")}
    return Git(Options(**(given | changes)))


async def test_branches_tags_and_the_default_branch_are_seen(repository: Path, tmp_path: Path) -> None:
    commit = run(repository, "rev-parse", "trunk")
    refs = await git(tmp_path).list_refs(str(repository))
    assert refs.default_branch == "trunk"
    assert refs.branches == {"trunk": commit, "feature/ünïcödé": commit}
    assert refs.tags == {"light": commit, "v1.0": commit}, "an annotated tag is peeled to its commit"


async def test_a_file_address_is_read_too(repository: Path, tmp_path: Path) -> None:
    assert (await git(tmp_path).list_refs(f"file://{repository}")).default_branch == "trunk"


async def test_a_path_outside_the_allowed_folders_is_refused_also_behind_a_link(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "allowed" / "link").symlink_to(tmp_path / "work")
    for path in (tmp_path / "work", tmp_path / "allowed" / "link", tmp_path / "allowed" / ".." / "work"):
        with pytest.raises(Rejected) as caught:
            await git(tmp_path).list_refs(str(path))
        assert caught.value.code == "source.path_not_allowed"
        assert "WEBHOOK_SOURCE_ROOTS" in caught.value.advice


async def test_a_repository_that_is_gone_is_told(tmp_path: Path) -> None:
    (tmp_path / "allowed" / "empty").mkdir(parents=True)
    for name in ("nothing", "empty"):
        with pytest.raises(Rejected) as caught:
            await git(tmp_path).list_refs(str(tmp_path / "allowed" / name))
        assert caught.value.code == "source.not_found"


async def test_an_empty_repository_shows_nothing(tmp_path: Path) -> None:
    (tmp_path / "allowed").mkdir()
    run(tmp_path / "allowed", "init", "--quiet", "--bare", "new.git")
    refs = await git(tmp_path).list_refs(str(tmp_path / "allowed" / "new.git"))
    assert (refs.branches, refs.tags) == ({}, {})


async def test_a_password_in_an_address_is_refused_and_not_repeated(tmp_path: Path) -> None:
    password = "".join(["ses", "ame"])
    for address in (f"https://ada:{password}@host/x.git", f"ssh://git:{password}@host/x.git"):
        with pytest.raises(Rejected) as caught:
            await git(tmp_path).list_refs(address)
        assert caught.value.code == "source.password_in_address" and caught.value.advice
        assert password not in f"{caught.value} {caught.value.detail}"


# -- over HTTP ---------------------------------------------------------------------------------------------------------
class Host(BaseHTTPRequestHandler):
    """A Git host of the simplest kind: files of a bare repository, behind a password."""

    root: Path
    wanted = "Basic " + base64.b64encode(b"ada:open sesame").decode()
    seen: list[str]
    status = 0

    def do_GET(self) -> None:
        self.seen.append(self.path)
        if self.status:
            self.send_error(self.status)
            return
        if self.headers.get("Authorization") != self.wanted:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="git"')
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        path = self.root / self.path.split("?")[0].lstrip("/")
        if not path.is_file():
            self.send_error(404)
            return
        data = path.read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.fixture
def host(repository: Path) -> Iterator[tuple[str, type[Host]]]:
    kind = type("OneHost", (Host,), {"root": repository.parent, "seen": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), kind)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/shop.git", kind
    server.shutdown()
    server.server_close()


async def test_a_credential_opens_a_private_repository(host: tuple[str, type[Host]], tmp_path: Path) -> None:
    refs = await git(tmp_path).list_refs(host[0], Credential("ada", "open sesame"))
    assert "trunk" in refs.branches


@pytest.mark.parametrize("credential", [None, Credential("ada", "wrong word")])
async def test_a_refused_credential_is_told_and_not_shown(
    host: tuple[str, type[Host]], tmp_path: Path, credential: Credential | None
) -> None:
    with pytest.raises(Rejected) as caught:
        await git(tmp_path).list_refs(host[0], credential)
    assert caught.value.code == "source.credential_refused"
    assert "wrong word" not in str(caught.value) + str(caught.value.detail) + repr(credential)


@pytest.mark.parametrize(
    ("status", "code"), [(403, "source.credential_refused"), (404, "source.not_found"), (502, "source.unreachable")]
)
async def test_what_the_host_answers_has_a_code(host: tuple[str, type[Host]], tmp_path: Path, status: int, code: str) -> None:
    host[1].status = status
    with pytest.raises(KiopsError) as caught:
        await git(tmp_path).list_refs(host[0])
    assert caught.value.code == code


async def test_a_host_that_is_away_is_not_the_persons_fault(tmp_path: Path) -> None:
    with pytest.raises(Unavailable) as caught:
        await git(tmp_path).list_refs("http://127.0.0.1:9/x.git")
    assert caught.value.code == "source.unreachable"


async def test_a_host_that_never_answers_is_given_up(tmp_path: Path) -> None:
    import socket

    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with pytest.raises(Unavailable) as caught:
            await git(tmp_path, timeout_seconds=0.5).list_refs(f"http://127.0.0.1:{silent.getsockname()[1]}/x.git")
    assert caught.value.code == "source.unreachable"


async def test_the_credential_is_on_no_command_line(tmp_path: Path) -> None:
    called: list[Any] = []

    async def child(argv: list[str], **options: Any) -> Finished:
        called.append((argv, options))
        return Finished(0, b"", b"")

    await git(tmp_path, child=child).list_refs("https://host/x.git", Credential("ada", "open sesame"))
    ((argv, options),) = called
    assert not any("sesame" in word for word in argv)
    assert options["env"]["KIOPS_GIT_PASSWORD"] == "open sesame"
    assert not Path(options["cwd"]).exists(), "its folder is gone afterwards"


def test_a_listing_that_is_none_shows_nothing() -> None:
    refs = read_refs("nonsense\nref: refs/heads/main\tHEAD\n" + "a" * 40 + "\trefs/pull/7/head\n")
    assert (refs.branches, refs.tags, refs.default_branch) == ({}, {}, "main")
