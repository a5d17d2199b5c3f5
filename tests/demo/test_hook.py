"""The post-receive hook, run by git itself, against a listener that takes what webhook takes."""

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
from webhook.providers import generic
from webhook.providers.push import Ignored, Push

from kiops.demo.repository import Repository, RepositoryError
from kiops.sample import files

SECRET = "a secret of this test"


class Listener:
    """Reads deliveries with webhook's own provider and answers as it would."""

    def __init__(self) -> None:
        self.heard: list[Push | Ignored] = []
        self.answers: list[tuple[int, dict[str, Any]]] = []
        listener = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                generic.verify(headers, body, SECRET.encode())
                assert generic.delivery_id(headers)
                listener.heard.append(generic.normalise(headers, body))
                number = len(listener.heard)
                accepted = {"delivery": "dlv", "run": {"id": f"run_{number}", "number": number}, "reason": {"text": "run"}}
                status, answer = listener.answers.pop(0) if listener.answers else (202, accepted)
                raw = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

            def log_message(self, *arguments: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/api/v1/webhook/generic/ep_1"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def listener() -> Iterator[Listener]:
    made = Listener()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def repository(tmp_path: Path, listener: Listener) -> Repository:
    made = Repository(tmp_path / "demo")
    made.prepare()
    made.install_hook(listener.url, SECRET)
    return made


def commit(repository: Repository, version: files.Version, *, amend: bool = False) -> str:
    return repository.commit(version, base_image="base:1", wheel=None, amend=amend)


def git(repository: Repository, *words: str) -> str:
    environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1"}
    environment |= {f"GIT_{who}_{what}": "x@y" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    done = subprocess.run(["git", *words], cwd=repository.work, env=environment, check=True, capture_output=True, text=True)
    return done.stdout + done.stderr


@pytest.mark.slow
def test_three_pushes_are_told_as_they_were(repository: Repository, listener: Listener) -> None:
    first = commit(repository, files.FIRST)
    pushed = repository.push(first)
    assert (pushed.run, pushed.number) == ("run_1", 1)
    second = commit(repository, files.SECOND)
    repository.push(second)
    third = commit(repository, files.THIRD, amend=True)
    repository.push(third, force=True)

    one, two, three = listener.heard
    assert isinstance(one, Push) and isinstance(two, Push) and isinstance(three, Push)
    assert [each.commit for each in (one, two, three)] == [first, second, third]
    assert (one.branch, one.before, one.commits, one.changed_count) == ("main", "", 1, None)
    assert (two.before, two.commits, two.forced) == (first, 1, False)
    assert two.changed_paths == ("greeting.py", "prices.py")
    assert (three.before, three.forced, three.changed_count) == (second, True, None)
    assert three.message == "Read the key from the environment"
    assert (three.author, three.pusher) == ("Sample Developer", "Sample Developer")


def test_the_planted_key_is_in_the_second_commit_alone_and_each_time_another(repository: Repository) -> None:
    commit(repository, files.FIRST)
    commit(repository, files.SECOND)
    path = repository.line_of_key().split(":")[0]
    before = (repository.work / path).read_text()
    commit(repository, files.THIRD, amend=True)
    assert "AK" + "IA" not in (repository.work / path).read_text()
    assert files.planted_key() not in before
    with pytest.raises(RepositoryError):
        repository.line_of_key()


def test_no_key_lies_in_the_products_own_source() -> None:
    folder = Path(files.__file__).parent
    for file in folder.rglob("*"):
        if file.is_file() and file.suffix in (".py", ".txt", ".md", ""):
            assert "AK" + "IA" not in file.read_text(), file


@pytest.mark.slow
def test_tags_and_deleted_refs_are_told(repository: Repository, listener: Listener) -> None:
    head = commit(repository, files.FIRST)
    git(repository, "tag", "-a", "v1", "-m", "first")
    git(repository, "push", "origin", "HEAD:refs/heads/topic/ü", "v1")
    git(repository, "push", "origin", ":refs/heads/topic/ü", ":v1")
    made = [each for each in listener.heard if isinstance(each, Push)]
    assert {(each.branch, each.tag) for each in made} == {("topic/ü", ""), ("", "v1")}
    assert {each.commit for each in made} == {head}, "an annotated tag is told by its commit"
    gone = [each.code for each in listener.heard if isinstance(each, Ignored)]
    assert sorted(gone) == ["delivery.branch_deleted", "delivery.tag_deleted"]


@pytest.mark.slow
def test_what_cannot_be_taken_just_now_is_sent_again(repository: Repository, listener: Listener) -> None:
    listener.answers.append((503, {"code": "database.away"}))
    assert repository.push(commit(repository, files.FIRST)).number == 2


def test_a_refusal_is_said_to_who_pushed(repository: Repository, listener: Listener) -> None:
    listener.answers.append((404, {"code": "webhook.endpoint_unknown", "detail": "there is no webhook endpoint"}))
    with pytest.raises(RepositoryError, match="there is no webhook endpoint"):
        repository.push(commit(repository, files.FIRST))


@pytest.mark.slow
def test_the_push_succeeds_while_nobody_listens(repository: Repository, listener: Listener) -> None:
    listener.server.shutdown()
    listener.server.server_close()
    commit(repository, files.FIRST)
    said = git(repository, "push", "origin", "HEAD:refs/heads/main")
    assert "KIOPS does not answer" in said


def test_the_secret_beside_the_hook_is_for_us_alone(repository: Repository) -> None:
    hooks = repository.bare / "hooks"
    assert (hooks / "kiops-webhook.json").stat().st_mode & 0o077 == 0
    assert SECRET not in (hooks / "post-receive").read_text()
