"""Our own documented payload (docs/webhooks.md), for any Git host that can run a hook: signed with HMAC-SHA256."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from typing import Any

from webhook.errors import Refused, SignatureMissing, SignatureWrong
from webhook.providers.payload import parse, text_of
from webhook.providers.push import Ignored, Push, checked_commit, checked_ref, is_zero, shown_paths

SIGNATURE = "x-kiops-signature"
DELIVERY = "x-kiops-delivery"
EVENT = "x-kiops-event"


def delivery_id(headers: Mapping[str, str]) -> str:
    """The sender's id of this delivery, "" when it gives none."""
    given = headers.get(DELIVERY, "").strip()
    if len(given) > 200 or not given.isascii() or not given.isprintable():
        raise Refused(
            "webhook.delivery_id_wrong",
            "X-Kiops-Delivery is no id: at most 200 printable ASCII characters",
            "Send a UUID, or leave the header out.",
        )
    return given


def verify(headers: Mapping[str, str], body: bytes, secret: bytes) -> None:
    """Compare `sha256=<hex>` in constant time. Bytes on both sides, since text that is not ASCII cannot be compared so."""
    given = headers.get(SIGNATURE)
    if not given:
        raise SignatureMissing("X-Kiops-Signature")
    expected = "sha256=" + hmac.new(secret, body, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(expected.encode(), given.strip().encode("utf-8", "surrogateescape")):
        raise SignatureWrong()


def normalise(headers: Mapping[str, str], body: bytes) -> Push | Ignored:
    """A push, or why it is none. Raises Refused for what is no delivery of this format."""
    event = headers.get(EVENT, "push").strip().lower()
    payload = parse(body)
    if event == "ping":
        return Ignored("delivery.ping", "a ping: the address and the secret are right")
    if event != "push":
        return Ignored("delivery.event_unknown", f"the event {event[:40]!r} is not acted on; push is")
    ref = checked_ref(payload.get("ref"))
    after = checked_commit(payload.get("after"), "after")
    before = checked_commit(payload["before"], "before") if payload.get("before") is not None else ""
    branch = ref.removeprefix("refs/heads/") if ref.startswith("refs/heads/") else ""
    tag = ref.removeprefix("refs/tags/") if ref.startswith("refs/tags/") else ""
    if is_zero(after):
        if tag:
            return Ignored("delivery.tag_deleted", f"tag {tag} was deleted", ref)
        return Ignored("delivery.branch_deleted", f"branch {branch or ref} was deleted", ref)
    if not branch and not tag:
        return Ignored("delivery.ref_kind", f"{ref} is neither a branch nor a tag", ref, after)

    commits = _commits(payload)
    head = next((commit for commit in commits if commit.get("id") == after), commits[-1] if commits else {})
    paths = sorted({path for commit in commits for path in _paths(commit)})
    total = payload.get("commit_count", len(commits))
    forced = payload.get("forced") is True
    new = not before or is_zero(before)
    knows = bool(commits) and total == len(commits) and not forced and not new
    return Push(
        ref=ref,
        commit=after,
        before="" if new else before,
        branch=branch,
        tag=tag,
        author=text_of(_object(head.get("author")).get("name"), 200),
        message=text_of(head.get("message"), 2000),
        pusher=text_of(_object(payload.get("pusher")).get("name"), 200),
        commits=total if isinstance(total, int) and not isinstance(total, bool) and total >= 0 else len(commits),
        forced=forced,
        changed_paths=shown_paths(paths),
        changed_count=len(paths) if knows else None,
    )


def _commits(payload: dict[str, Any]) -> list[dict[str, Any]]:
    commits = payload.get("commits") or []
    if not isinstance(commits, list) or not all(isinstance(commit, dict) for commit in commits):
        raise Refused("webhook.payload_wrong", "`commits` is no list of objects", "docs/webhooks.md has an example.")
    return commits


def _paths(commit: dict[str, Any]) -> list[str]:
    paths: list[str] = []
    for field in ("added", "modified", "removed", "renamed"):
        given = commit.get(field) or []
        if not isinstance(given, list) or not all(isinstance(path, str) for path in given):
            raise Refused("webhook.payload_wrong", f"`commits[].{field}` is no list of paths", "docs/webhooks.md has an example.")
        paths.extend(given)
    return paths


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
