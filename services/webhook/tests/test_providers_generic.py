"""Our own payload: signature and meaning; pure."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from pathlib import Path
from typing import Any

import pytest
from webhook.errors import Refused, SignatureMissing, SignatureWrong
from webhook.providers import PROVIDERS, generic
from webhook.providers.push import MOST_PATHS, Ignored, Push

SECRET = b"correct horse"
A, B, ZERO = "a" * 40, "b" * 40, "0" * 40
DOCUMENT = Path(__file__).parents[3] / "docs" / "webhooks.md"


def body(**changes: Any) -> bytes:
    commit = {"id": B, "message": "Greet", "author": {"name": "Ada"}, "added": ["a.py"], "modified": [], "removed": []}
    values = {"ref": "refs/heads/main", "before": A, "after": B, "pusher": {"name": "Bob"}, "commits": [commit]}
    return json.dumps({key: value for key, value in (values | changes).items() if value != "left out"}).encode()


def read(raw: bytes, event: str = "push") -> Push | Ignored:
    return generic.normalise({"x-kiops-event": event}, raw)


def signed(raw: bytes) -> str:
    return "sha256=" + hmac.new(SECRET, raw, hashlib.sha256).hexdigest()


def refused(raw: bytes) -> str:
    with pytest.raises(Refused) as caught:
        read(raw)
    assert caught.value.status == 400
    return caught.value.code


# -- the signature -----------------------------------------------------------------------------------------------------
def test_the_right_signature_passes() -> None:
    generic.verify({"x-kiops-signature": signed(b"x")}, b"x", SECRET)


@pytest.mark.parametrize(
    "given",
    [
        "sha256=" + "0" * 64,
        signed(b"x")[7:],
        signed(b"x").upper(),
        signed(b"y"),
        "sha1=" + signed(b"x")[7:],
        "sha256=",
        "sha256=" + "é" * 64,
        "sha256=" + "٣" * 64,
        "ÿ",
    ],
)
def test_any_other_is_wrong_and_never_an_error_of_ours(given: str) -> None:
    with pytest.raises(SignatureWrong) as caught:
        generic.verify({"x-kiops-signature": given}, b"x", SECRET)
    assert caught.value.status == 401


@pytest.mark.parametrize("headers", [{}, {"x-kiops-signature": ""}])
def test_no_signature_is_told_apart(headers: dict[str, str]) -> None:
    with pytest.raises(SignatureMissing):
        generic.verify(headers, b"x", SECRET)


def test_the_comparison_takes_constant_time() -> None:
    source = Path(generic.__file__).read_text()
    assert "hmac.compare_digest(" in source
    assert not re.search(r"expected\s*[!=]=|[!=]=\s*expected", source)


# -- the payload -------------------------------------------------------------------------------------------------------
def test_a_push_is_read() -> None:
    push = read(body())
    assert push == Push(
        ref="refs/heads/main",
        commit=B,
        before=A,
        branch="main",
        author="Ada",
        message="Greet",
        pusher="Bob",
        commits=1,
        changed_paths=("a.py",),
        changed_count=1,
    )


def test_a_tag_is_read() -> None:
    push = read(body(ref="refs/tags/v1.0", before=ZERO))
    assert isinstance(push, Push)
    assert (push.tag, push.branch, push.before) == ("v1.0", "", "")


@pytest.mark.parametrize("name", ["feature/a/b", "ünïcödé/ветка", "名前", "émoji-🚀", "a" * 200])
def test_slashes_and_unicode_stay(name: str) -> None:
    push = read(body(ref=f"refs/heads/{name}"))
    assert isinstance(push, Push) and push.branch == name


def test_64_digits_are_a_commit_too() -> None:
    push = read(body(before="c" * 64, after="d" * 64))
    assert isinstance(push, Push) and push.commit == "d" * 64


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"after": ZERO}, "delivery.branch_deleted"),
        ({"after": "0" * 64}, "delivery.branch_deleted"),
        ({"after": ZERO, "ref": "refs/tags/v1"}, "delivery.tag_deleted"),
        ({"ref": "refs/notes/commits"}, "delivery.ref_kind"),
    ],
)
def test_what_is_understood_and_no_push_worth_a_run(changes: dict[str, str], code: str) -> None:
    found = read(body(**changes))
    assert isinstance(found, Ignored) and found.code == code


def test_other_events_are_understood() -> None:
    assert read(body(), "issue").code == "delivery.event_unknown"  # type: ignore[union-attr]
    assert read(b"{}", "ping").code == "delivery.ping"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"", "webhook.body_not_json"),
        (b"{", "webhook.body_not_json"),
        (b'{"a": NaN}', "webhook.body_not_json"),
        (b"[]", "webhook.body_no_object"),
        (b'"push"', "webhook.body_no_object"),
        (b"\xff\xfe{}", "webhook.body_not_utf8"),
        (b'{"a": "\\u0000"}', "webhook.body_nul"),
        (b'{"a": [{"\\u0000": 1}]}', "webhook.body_nul"),
        (b'{"a": "\x00"}', "webhook.body_not_json"),
        (b'{"a": "\\ud800"}', "webhook.body_surrogate"),
        (b'{"a": "\\udfff\\ud800"}', "webhook.body_surrogate"),
        (b'{"a": "\xed\xa0\x80"}', "webhook.body_not_utf8"),
        (b'{"a": ' + b"9" * 30 + b"}", "webhook.number_too_large"),
        (b'{"a": -' + b"9" * 5000 + b"}", "webhook.number_too_large"),
        (b'{"a": 9223372036854775808}', "webhook.number_too_large"),
        (b'{"a": 1e999}', "webhook.number_too_large"),
        (b"[" * 100_000, "webhook.body_too_deep"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "webhook.body_too_deep"),
        (body(ref="left out"), "webhook.ref_wrong"),
        (body(ref="main"), "webhook.ref_wrong"),
        (body(ref=7), "webhook.ref_wrong"),
        (body(ref="refs/heads/a b"), "webhook.ref_wrong"),
        (body(ref="refs/heads/a..b"), "webhook.ref_wrong"),
        (body(ref="refs/heads/"), "webhook.ref_wrong"),
        (body(ref="refs/heads/" + "x" * 1000), "webhook.ref_wrong"),
        (body(after="left out"), "webhook.commit_wrong"),
        (body(after="abc1234"), "webhook.commit_wrong"),
        (body(after="٣" * 40), "webhook.commit_wrong"),
        (body(after=["a"]), "webhook.commit_wrong"),
        (body(before="xyz"), "webhook.commit_wrong"),
        (body(commits={"a": 1}), "webhook.payload_wrong"),
        (body(commits=["a"]), "webhook.payload_wrong"),
        (body(commits=[{"added": "a.py"}]), "webhook.payload_wrong"),
        (body(commits=[{"added": [7]}]), "webhook.payload_wrong"),
    ],
)
def test_what_is_no_delivery_has_a_code(raw: bytes, code: str) -> None:
    assert refused(raw) == code


def test_escaped_characters_that_are_whole_are_welcome() -> None:
    raw = body().replace(b"Greet", b"\\ud83d\\ude80 \\\\u0000 \\\\ud800 9223372036854775807")
    push = read(raw)
    assert isinstance(push, Push) and push.message.startswith("🚀 \\u0000")


def test_optional_fields_may_be_missing_or_of_another_kind() -> None:
    push = read(body(before="left out", pusher="left out", commits="left out"))
    assert isinstance(push, Push) and (push.pusher, push.commits, push.changed_count) == ("", 0, None)
    odd = read(body(pusher=["x"], commits=[{"id": 7, "author": "x", "message": None}], commit_count=True))
    assert isinstance(odd, Push) and (odd.author, odd.message, odd.commits) == ("", "", 1)


@pytest.mark.parametrize("changes", [{"before": ZERO}, {"forced": True}, {"commit_count": 30}, {"commits": []}], ids=str)
def test_a_payload_that_cannot_tell_all_changed_files_says_so(changes: dict[str, Any]) -> None:
    push = read(body(**changes))
    assert isinstance(push, Push) and push.changed_count is None


def test_changed_files_come_from_all_commits_and_kinds_once() -> None:
    commits = [
        {"id": A, "added": ["a"], "modified": ["b"], "removed": ["c"]},
        {"id": B, "added": ["d"], "modified": ["a"], "removed": [], "renamed": ["e"]},
    ]
    push = read(body(commits=commits))
    assert isinstance(push, Push)
    assert (push.changed_paths, push.changed_count) == (("a", "b", "c", "d", "e"), 5)


def test_10_000_changed_files_are_counted_and_the_first_are_kept() -> None:
    files = [f"src/module_{number:05}/file.py" for number in range(10_000)]
    push = read(body(commits=[{"id": B, "added": files}]))
    assert isinstance(push, Push)
    assert push.changed_count == 10_000
    assert len(push.changed_paths) == MOST_PATHS
    long = read(body(commits=[{"id": B, "added": ["é" * 2000 + name for name in files[:300]]}]))
    assert isinstance(long, Push)
    assert sum(len(path.encode()) for path in long.changed_paths) <= 60_000


@pytest.mark.parametrize("given", ["x" * 201, "é", "a\x7fb"])
def test_an_id_that_is_none_is_refused(given: str) -> None:
    with pytest.raises(Refused):
        generic.delivery_id({"x-kiops-delivery": given})


def test_a_provider_has_three_functions() -> None:
    for module in PROVIDERS.values():
        assert all(callable(getattr(module, name)) for name in ("delivery_id", "verify", "normalise"))


def test_the_example_in_the_document_is_a_push_with_the_signature_it_shows() -> None:
    text = DOCUMENT.read_text()
    example = re.search(r"```json\n(\{.*?\n\})\n```", text, re.DOTALL)
    assert example
    push = read(example[1].encode())
    assert isinstance(push, Push) and push.changed_count is not None
