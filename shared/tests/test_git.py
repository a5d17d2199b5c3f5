"""Speaking to Git: which addresses reach it, what of this machine and of a credential does not, and what its complaints mean."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from shared.git import (
    Address,
    Credential,
    Hints,
    Options,
    SourceAway,
    SourceRefused,
    Workplace,
    check_commit,
    explain,
    read_address,
    read_credential,
    run_git,
)
from shared.git.failures import gives_no_single_commits
from shared.processes import Finished, run_child

ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "HOME": "/nonexistent",
    "GIT_CONFIG_NOSYSTEM": "1",
    **{f"GIT_{who}_{what}": value for who in ("AUTHOR", "COMMITTER") for what, value in (("NAME", "Ada"), ("EMAIL", "a@b.c"))},
}
PASSWORD = "/".join(["open", "ses?me"])


def git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", *words], cwd=folder, env=ENVIRONMENT, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with one commit, below a folder that is allowed."""
    folder = tmp_path / "allowed" / "shop"
    folder.mkdir(parents=True)
    git(folder, "init", "--quiet", "--initial-branch=trunk")
    git(folder, "commit", "--quiet", "--allow-empty", "-m", "one")
    return folder


def workplace(tmp_path: Path, address: Address, **options: Any) -> Workplace:
    folder = tmp_path / "place"
    folder.mkdir()
    return Workplace(Options(**{"roots": [], "timeout_seconds": 10, **options}), folder, address)


# -- addresses ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("address", "code"),
    [
        ("", "source.address_invalid"),
        ("-oProxyCommand=true", "source.address_invalid"),
        ("--upload-pack=touch /tmp/x", "source.address_invalid"),
        ("ext::sh -c 'touch /tmp/x'", "source.address_invalid"),
        ("ext::sh%20-c%20id", "source.address_invalid"),
        ("fd::17", "source.address_invalid"),
        ("https://host/a b.git", "source.address_invalid"),
        ("https://host/\x00", "source.address_invalid"),
        ("a\nb", "source.address_invalid"),
        ("/srv/a\nb", "source.address_invalid"),
        ("https:///nowhere", "source.address_invalid"),
        ("https://host:port/x", "source.address_invalid"),
        ("https://[1:2/x", "source.address_invalid"),
        ("https://host/" + "x" * 2000, "source.address_invalid"),
        ("ssh://-oProxyCommand=x/y", "source.address_invalid"),
        ("ssh://-oProxyCommand=x@host/y", "source.address_invalid"),
        ("git@-oProxyCommand=x:y", "source.address_invalid"),
        ("-x@host:y", "source.address_invalid"),
        ("relative/path", "source.address_invalid"),
        ("../relative", "source.address_invalid"),
        ("ftp://host/x.git", "source.protocol_refused"),
        ("git://host/x.git", "source.protocol_refused"),
        ("/etc", "source.path_not_allowed"),
        ("file:///root", "source.path_not_allowed"),
        ("file://host/srv/x", "source.path_not_allowed"),
    ],
)
def test_what_is_no_address_is_refused_before_git_sees_it(address: str, code: str, tmp_path: Path) -> None:
    with pytest.raises(SourceRefused) as caught:
        read_address(address, [tmp_path])
    assert caught.value.code == code and caught.value.advice


@given(st.text(max_size=60))
def test_whatever_is_entered_is_an_address_or_refused(text: str) -> None:
    try:
        address = read_address(text, [])
    except SourceRefused:
        return
    assert address.url.startswith((f"{address.protocol}://",)) and "::" not in address.url


def test_addresses_are_read_as_git_gets_them() -> None:
    assert read_address("git@host.example:team/shop.git", []) == Address("ssh://git@host.example/team/shop.git", "ssh")
    assert read_address("ssh://host:2222/x", []) == Address("ssh://git@host:2222/x", "ssh")
    assert read_address("https://HOST:8443/Team/x.git", []).url == "https://host:8443/Team/x.git"
    assert read_address("http://[2001:db8:0:0:0:0:0:1]:80/x", []).url == "http://[2001:db8:0:0:0:0:0:1]:80/x"


@pytest.mark.parametrize("scheme", ["https", "ssh"])
def test_a_credential_is_taken_out_of_an_address(scheme: str) -> None:
    address = read_address(f"{scheme}://ada:{PASSWORD.replace('/', '%2F').replace('?', '%3F')}@host:8443/x.git", [])
    assert address.credential == Credential("ada", PASSWORD)
    assert PASSWORD not in f"{address!r}{address.url}{address.shown}" and "%2F" not in address.url


def test_a_token_in_the_place_of_a_user_or_in_a_query_is_not_shown() -> None:
    token = "_".join(["glpat", "x" * 20])
    address = read_address(f"https://{token}@host/x.git", [])
    assert address.url == "https://host/x.git" and address.user == token and token not in repr(address)
    assert token not in read_address(f"https://host/x.git?private_token={token}", []).shown


def test_protocols_are_an_allow_list() -> None:
    for text in ("http://host/x.git", "git@host:x", "/srv/x"):
        with pytest.raises(SourceRefused) as caught:
            read_address(text, [Path("/srv")], protocols=["https"], hints=Hints(protocols="SHOP_PROTOCOLS"))
        assert caught.value.code == "source.protocol_refused" and "SHOP_PROTOCOLS" in caught.value.advice
    with pytest.raises(SourceRefused):
        read_address("ext://host/x", [], protocols=["ext"])


def test_paths_outside_the_allowed_folders_are_refused_also_behind_links(repository: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    git(tmp_path, "clone", "--quiet", str(repository), str(outside))
    allowed = repository.parent
    (allowed / "link").symlink_to(outside)
    (allowed / "inner").mkdir()
    (allowed / "inner" / ".git").symlink_to(outside / ".git")
    (allowed / "named").mkdir()
    (allowed / "named" / ".git").write_text(f"gitdir: {outside}/.git\n")
    places = [outside, allowed / "link", allowed / ".." / "outside", allowed / "inner", allowed / "named", f"{allowed}2"]
    for place in (*map(str, places), f"file://{outside}", f"file://{allowed}/../outside"):
        with pytest.raises(SourceRefused) as caught:
            read_address(place, [allowed], hints=Hints(roots="SHOP_ROOTS"))
        assert caught.value.code == "source.path_not_allowed", place
        assert "SHOP_ROOTS" in caught.value.advice
    assert read_address(str(repository), [allowed]).url == f"file://{repository}"
    assert read_address(f"file://{repository}", [allowed]).protocol == "file"


def test_a_root_may_be_a_link_itself_and_a_path_may_have_blanks(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "root").symlink_to(repository.parent)
    assert read_address(str(tmp_path / "root" / "shop"), [tmp_path / "root"]).url == f"file://{repository}"
    (repository.parent / "my shop").mkdir()
    assert read_address(str(repository.parent / "my shop"), [repository.parent]).url.endswith("/my shop")
    with pytest.raises(SourceRefused) as caught:
        read_address(str(repository.parent / "gone"), [repository.parent])
    assert caught.value.code == "source.not_found"


def test_a_commit_is_named_in_full() -> None:
    for commit in ("a" * 40, "0" * 64):
        check_commit(commit)
    for wrong in ("", "main", "a" * 39, "A" * 40, "--all", "a" * 40 + "\n"):
        with pytest.raises(SourceRefused) as caught:
            check_commit(wrong)
        assert caught.value.code == "source.commit_invalid"


def test_what_the_gateway_seals_is_understood() -> None:
    assert read_credential('{"username": "ada", "password": "x"}') == Credential("ada", "x")
    assert read_credential('{"username": "u", "password": null}') == Credential("u")
    for token in ("just-a-token", "12345"):
        assert read_credential(token) == Credential(password=token)
    key = "-----BEGIN" + " OPENSSH PRIVATE KEY-----\nx\n"
    assert read_credential(json.dumps({"username": "git", "password": key})) == Credential("git", private_key=key)
    assert key not in repr(read_credential(json.dumps({"private_key": key})))


# -- calling git -------------------------------------------------------------------------------------------------------
async def test_git_answers_and_this_machines_configuration_takes_no_part(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / ".gitconfig").write_text(f'[url "file:///nowhere/"]\n\tinsteadOf = "file://{tmp_path}/"\n')
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(home / ".gitconfig"))
    place = workplace(tmp_path, read_address(str(repository), [repository.parent]))
    told = await run_git(place, "ls-remote", "--", place.address.url)
    assert git(repository, "rev-parse", "trunk") in told.out.decode()
    assert b"insteadof" not in (await run_git(place, "config", "--list")).out.lower()


async def test_a_repository_of_another_user_is_read(repository: Path, tmp_path: Path) -> None:
    """Git refuses those by itself; the allowed folders have decided."""
    place = workplace(tmp_path, read_address(str(repository), [repository.parent]))
    place.env["GIT_TEST_ASSUME_DIFFERENT_OWNER"] = "1"
    assert (await run_git(place, "ls-remote", "--", place.address.url)).code == 0
    (place.folder / "gitconfig").write_text("")
    refused = await run_git(place, "ls-remote", "--", place.address.url, check=False)
    assert b"dubious ownership" in refused.err, "git has seen another owner before, too"


async def test_git_itself_takes_no_other_protocol(repository: Path, tmp_path: Path) -> None:
    """The environment is the second wall: should another address reach git, it is refused there."""
    place = workplace(tmp_path, read_address(str(repository), [repository.parent]))
    stamp = tmp_path / "stamp"
    for url in (f"ext::touch {stamp}", "http://127.0.0.1:9/x"):
        done = await run_git(place, "ls-remote", "--", url, check=False)
        assert done.code != 0 and place.meaning(done).code == "source.protocol_refused"
    assert not stamp.exists()


async def test_a_folder_without_a_repository_is_not_found(tmp_path: Path) -> None:
    (tmp_path / "no such file").mkdir()
    place = workplace(tmp_path, read_address(str(tmp_path / "no such file"), [tmp_path]))
    with pytest.raises(SourceRefused) as caught:
        await run_git(place, "ls-remote", "--", place.address.url)
    assert caught.value.code == "source.not_found" and caught.value.advice


async def test_a_missing_program_is_named(tmp_path: Path) -> None:
    place = workplace(tmp_path, Address("https://host/x", "https"), program="/nowhere/git")
    with pytest.raises(SourceRefused) as caught:
        await run_git(place, "version")
    assert caught.value.code == "source.git_missing"


class Host(BaseHTTPRequestHandler):
    """A Git host that answers everything with one status, and wants a password for 401. It remembers what was shown to it."""

    seen: list[str]
    status = 401

    def do_GET(self) -> None:
        self.seen.append(self.headers.get("Authorization", ""))
        self.send_response(self.status)
        if self.status == 401:
            self.send_header("WWW-Authenticate", 'Basic realm="git"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.fixture
def host() -> Iterator[tuple[str, type[Host]]]:
    kind = type("OneHost", (Host,), {"seen": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), kind)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}/x.git", kind
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("in_address", [True, False])
async def test_a_password_reaches_the_host_and_no_command_line_message_or_configuration(
    host: tuple[str, type[Host]], tmp_path: Path, in_address: bool
) -> None:
    lines: list[str] = []

    async def watched(argv: list[str], **options: Any) -> Finished:
        lines.append(" ".join(map(str, argv)))
        return await run_child(argv, **options)

    encoded = PASSWORD.replace("/", "%2F").replace("?", "%3F")
    address = read_address(f"http://ada:{encoded}@{host[0]}" if in_address else f"http://ada@{host[0]}", [])
    place = workplace(tmp_path, address, child=watched)
    place.trust(None if in_address else Credential(password=PASSWORD))
    with pytest.raises(SourceRefused) as caught:
        await run_git(place, "ls-remote", "--", address.url)
    assert caught.value.code == "source.credential_refused"
    assert any(seen.startswith("Basic ") for seen in host[1].seen), "it was shown to the host"
    files = "".join(path.read_text() for path in place.folder.iterdir())
    shown = f"{caught.value} {caught.value.advice} {caught.value.detail} {lines} {files}"
    assert PASSWORD not in shown and encoded not in shown and "ada" not in shown


async def test_a_password_that_git_repeats_is_masked(tmp_path: Path) -> None:
    program = tmp_path / "git"
    program.write_text('#!/bin/sh\necho "fatal: $KIOPS_GIT_PASSWORD at https://ada:$KIOPS_GIT_PASSWORD@host/x" >&2\nexit 128\n')
    program.chmod(0o755)
    place = workplace(tmp_path, Address("https://host/x", "https"), program=str(program))
    place.trust(Credential("ada", PASSWORD))
    with pytest.raises(SourceRefused) as caught:
        await run_git(place, "fetch")
    shown = f"{caught.value} {caught.value.detail}"
    assert caught.value.code == "source.failed" and PASSWORD not in shown and "ada" not in shown and "•••" in shown


@pytest.mark.parametrize(
    ("status", "code"), [(403, "source.credential_refused"), (404, "source.not_found"), (502, "source.unreachable")]
)
async def test_what_the_host_answers_has_a_code(host: tuple[str, type[Host]], tmp_path: Path, status: int, code: str) -> None:
    host[1].status = status
    place = workplace(tmp_path, read_address(f"http://{host[0]}", []))
    with pytest.raises((SourceRefused, SourceAway)) as caught:
        await run_git(place, "ls-remote", "--", place.address.url)
    assert caught.value.code == code and isinstance(caught.value, SourceAway) == (code == "source.unreachable")


async def test_a_host_that_never_answers_is_given_up(tmp_path: Path) -> None:
    import socket

    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = read_address(f"http://127.0.0.1:{silent.getsockname()[1]}/x.git", [])
        place = workplace(tmp_path, address, timeout_seconds=0.5, hints=Hints(timeout="SHOP_SECONDS"))
        with pytest.raises(SourceAway) as caught:
            await run_git(place, "ls-remote", "--", address.url)
    assert caught.value.code == "source.unreachable" and "SHOP_SECONDS" in caught.value.advice


async def test_a_key_lies_in_a_file_that_only_its_owner_reads(tmp_path: Path) -> None:
    key = "-----BEGIN" + " OPENSSH PRIVATE KEY-----\nx"
    hosts = tmp_path / "a folder" / "100%" / "known_hosts"
    place = workplace(tmp_path, read_address("git@host:x", []), known_hosts=hosts)
    place.trust(Credential("git", private_key=key))
    file = place.folder / "key"
    assert file.stat().st_mode & 0o777 == 0o600 and file.read_text() == key + "\n"
    command = place.env["GIT_SSH_COMMAND"]
    assert key not in command and str(file) in command
    told = subprocess.run(
        ["sh", "-c", f"{command} -G host"], capture_output=True, text=True, check=True, env={"PATH": os.environ["PATH"]}
    ).stdout.lower()
    for wanted in ("batchmode yes", "stricthostkeychecking accept-new", "identitiesonly yes", "identityagent none"):
        assert wanted in told
    assert str(file).lower() in told and str(hosts).lower() in told.replace("%%", "%")


# -- what git says -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("fatal: write error: No space left on device", "source.disk_full"),
        ("error: unable to write file z\nfatal: sha1 file 'index.lock' write error. Out of diskspace", "source.disk_full"),
        ("Host key verification failed.\nfatal: Could not read from remote repository.", "source.host_key_changed"),
        ("fatal: unable to access 'x': server certificate verification failed. CAfile: none", "source.tls"),
        ("fatal: unable to access 'x': gnutls_handshake() failed", "source.tls"),
        ("fatal: unable to access 'x': Could not resolve host: h", "source.unreachable"),
        ("ssh: connect to host h port 22: Connection timed out", "source.unreachable"),
        ("fatal: the remote end hung up unexpectedly", "source.unreachable"),
        ("Connection closed by 192.0.2.1 port 22\nfatal: Could not read from remote repository.", "source.unreachable"),
        ("git@h: Permission denied (publickey).\nfatal: Could not read from remote repository.", "source.credential_refused"),
        ("fatal: could not read Username for 'https://h': terminal prompts disabled", "source.credential_refused"),
        ("fatal: remote error: upload-pack: not our ref " + "d" * 40 + "\nfatal: the remote end hung up", "source.commit_gone"),
        ("ERROR: Repository not found.\nfatal: Could not read from remote repository.", "source.not_found"),
        ("fatal: transport 'ext' not allowed", "source.protocol_refused"),
        ("fatal: something new", "source.failed"),
        ("", "source.failed"),
    ],
)
def test_what_git_says_has_a_code_and_an_advice(said: str, code: str) -> None:
    error = explain(said, "https://h/x")
    assert error.code == code and error.advice and "https://h/x" in error.message


def test_a_repositorys_name_is_no_complaint() -> None:
    """Its address is left out of git's words before they are read."""
    url = "https://host/certificate-timed out.git"
    assert explain(f"fatal: repository '{url}/' not found", url).code == "source.not_found"
    assert explain("fatal: '/srv/access denied' does not exist", "file:///srv/access denied").code == "source.not_found"


def test_an_advice_names_the_services_own_setting() -> None:
    assert "SHOP_CA" in explain("SSL certificate problem: x", "https://h/x", hints=Hints(ca_file="SHOP_CA")).advice


def test_users_in_addresses_of_gits_words_are_left_out() -> None:
    error = explain("fatal: odd https://ada:sesame@h/x", "https://h/x")
    assert "sesame" not in f"{error} {error.detail}" and "https://h/x" in error.message


def test_a_server_that_gives_no_single_commits_is_told_apart() -> None:
    assert gives_no_single_commits("error: Server does not allow request for unadvertised object " + "d" * 40)
    assert not gives_no_single_commits("fatal: repository 'x' not found")
