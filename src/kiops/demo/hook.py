#!/usr/bin/env python3
"""A post-receive hook for a bare repository: tells KIOPS of every ref that was pushed, by a signed generic delivery.

Copy it to hooks/post-receive of the repository, executable, and put kiops-webhook.json beside it (mode 0600):

    {"url": "http://127.0.0.1:8640/api/v1/webhook/generic/ep_...", "secret": "..."}

Needs Python alone. What KIOPS answered is said to whoever pushed, and kept in kiops-webhook-last.json. docs/webhooks.md
describes the delivery.
"""

import hashlib
import hmac
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from pathlib import Path

MOST_COMMITS = 50
TRIES = 4


def git(*words):
    done = subprocess.run(["git", *words], check=True, capture_output=True)
    return done.stdout.decode("utf-8", "replace")


def is_zero(commit):
    return not commit.strip("0")


def changed(commit):
    """The paths that a commit added, modified and removed."""
    kinds = {"A": [], "M": [], "D": []}
    words = git("diff-tree", "--root", "--no-commit-id", "--name-status", "--no-renames", "-r", "-z", commit).split("\0")
    for kind, path in zip(words[0::2], words[1::2], strict=False):
        kinds.get(kind[:1], kinds["M"]).append(path)
    return {"added": kinds["A"], "modified": kinds["M"], "removed": kinds["D"]}


def described(commit):
    name, email, message = git("show", "-s", "--format=%an%x00%ae%x00%B", commit).split("\0", 2)
    return {"id": commit, "message": message.strip(), "author": {"name": name, "email": email}, **changed(commit)}


def is_ancestor(old, new):
    asked = ["git", "merge-base", "--is-ancestor", old, new]
    return subprocess.run(asked, check=False, capture_output=True).returncode == 0


def payload(old, new, ref):
    """The body of the delivery for one ref."""
    body = {"ref": ref, "before": old, "after": new, "pusher": {"name": os.environ.get("KIOPS_PUSHER") or pusher()}}
    if is_zero(new):
        return body
    commit = git("rev-parse", f"{new}^{{commit}}").strip()
    new_ref = is_zero(old)
    listed = [f"--max-count={MOST_COMMITS}", commit] if new_ref else [f"{old}..{commit}"]
    commits = git("rev-list", "--reverse", *listed).split()
    body["after"] = commit
    body["forced"] = not new_ref and not is_ancestor(old, commit)
    body["commit_count"] = len(commits)
    body["commits"] = [described(each) for each in commits[-MOST_COMMITS:]]
    return body


def pusher():
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""


def deliver(settings, body):
    """Send it; once more after a while when KIOPS cannot take it just now. Returns (status, answer, milliseconds)."""
    raw = json.dumps(body).encode()
    signature = "sha256=" + hmac.new(settings["secret"].encode(), raw, hashlib.sha256).hexdigest()
    headers = {
        "Content-Type": "application/json",
        "X-Kiops-Event": "push",
        "X-Kiops-Delivery": str(uuid.uuid4()),
        "X-Kiops-Signature": signature,
    }
    # No proxy: the endpoint is on this machine, or where the person put it.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    for attempt in range(TRIES):
        request = urllib.request.Request(settings["url"], raw, headers)
        began = time.monotonic()
        try:
            with opener.open(request, timeout=10) as answer:
                return answer.status, json.load(answer), (time.monotonic() - began) * 1000
        except urllib.error.HTTPError as error:
            told = error.read().decode("utf-8", "replace")
            if error.code != 503 or attempt == TRIES - 1:
                return error.code, _read(told), (time.monotonic() - began) * 1000
        except OSError as error:
            if attempt == TRIES - 1:
                return 0, {"detail": f"KIOPS does not answer: {error}"}, 0.0
        time.sleep(2**attempt)
    return 0, {}, 0.0


def _read(text):
    try:
        return json.loads(text)
    except ValueError:
        return {"detail": text[:200]}


def main():
    folder = Path(__file__).resolve().parent
    settings = json.loads((folder / "kiops-webhook.json").read_text())
    told = []
    for line in sys.stdin:
        old, new, ref = line.split()
        status, answer, took_ms = deliver(settings, payload(old, new, ref))
        told.append({"ref": ref, "status": status, "took_ms": took_ms, "answer": answer})
        words = answer.get("reason", {}).get("text") or answer.get("detail") or answer.get("title") or "no answer"
        print(f"KIOPS: {words} ({status}, {took_ms:.0f} ms)")
    (folder / "kiops-webhook-last.json").write_text(json.dumps(told))


if __name__ == "__main__":
    main()
