"""Talks to the gateway's /api/v1: on this machine with the data folder's token file, elsewhere after `kiops login`."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from kiops import folder
from kiops.setup import places
from kiops.terminal import Exit


class Problem(Exception):
    """What a command shows and how it ends: what happened, what to do, a stable code, the exit code."""

    def __init__(self, what: str, *, advice: str = "", code: str, exit_code: Exit) -> None:
        super().__init__(what)
        self.what, self.advice, self.code, self.exit_code = what, advice, code, exit_code


def remembered_logins() -> Path:
    """Where `kiops login` keeps address and token (mode 0600)."""
    base = os.environ.get("XDG_CONFIG_HOME") or places.user_home() / ".config"
    return Path(base) / "kiops" / "login.json"


def target() -> tuple[str, str]:
    """(address, token): $KIOPS_URL with $KIOPS_TOKEN or $KIOPS_TOKEN_FILE, this machine's own platform, else the last login."""
    if url := os.environ.get("KIOPS_URL"):
        file = os.environ.get("KIOPS_TOKEN_FILE")
        kept = Path(file).read_text().strip() if file and os.path.exists(file) else ""
        return url.rstrip("/"), os.environ.get("KIOPS_TOKEN") or kept
    root = folder.root()
    gateway = folder.served(root, ["gateway"]).get("gateway")
    if gateway and (token := folder.token(root)):
        return str(gateway["url"]), token
    try:
        saved = json.loads(remembered_logins().read_text())
        return str(saved["url"]), str(saved["token"])
    except (OSError, ValueError, KeyError):
        pass
    raise Problem("KIOPS does not run here", advice="./kiops up, or `kiops login ADDRESS` for another machine",
                  code="client.not_running", exit_code=Exit.AWAY)  # fmt: skip


class Client:
    """One command's requests. Raises Problem, its exit code by what the answer means."""

    def __init__(self, url: str = "", token: str = "", *, timeout_seconds: float = 30) -> None:
        import httpx

        if not url:
            url, token = target()
        self.url = url
        headers = {"Accept": "application/json", "User-Agent": "kiops"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        self._http = httpx.Client(base_url=url, headers=headers, timeout=timeout_seconds, trust_env=not _local(url))

    def get(self, path: str, **query: Any) -> Any:
        return self._call("GET", path, params={k: v for k, v in query.items() if v is not None})

    def post(self, path: str, body: Any = None) -> Any:
        return self._call("POST", path, json=body if body is not None else {})

    def put(self, path: str, body: Any) -> Any:
        return self._call("PUT", path, json=body)

    def delete(self, path: str) -> Any:
        return self._call("DELETE", path)

    def upload(self, path: str, file: Path, content_type: str) -> Any:
        """Sends a file as the body, without reading it whole into memory."""
        with file.open("rb") as content:
            headers = {"Content-Type": content_type, "Content-Length": str(file.stat().st_size)}
            return self._call("POST", path, content=content, headers=headers, timeout=600)

    def pages(self, path: str, *, limit: int, **query: Any) -> list[Any]:
        """Items of a list, page after page, until `limit`."""
        found: list[Any] = []
        cursor = None
        while len(found) < limit:
            page = self.get(path, limit=min(200, limit - len(found)), cursor=cursor, **query)
            found += page["items"]
            cursor = page.get("next")
            if not cursor:
                break
        return found[:limit]

    def text(self, path: str, *, accept: str) -> Iterator[str]:
        """A long answer, piece by piece."""
        import httpx

        try:
            with self._http.stream("GET", path, headers={"Accept": accept}, timeout=60) as answer:
                if answer.status_code >= 400:
                    answer.read()
                    raise _problem(answer)
                yield from answer.iter_text()
        except httpx.TransportError as problem:
            raise self._away(problem) from None

    def events(self, path: str, **query: Any) -> Iterator[tuple[str, Any]]:
        """Server-sent events of a path: (event's name, its data decoded from JSON where it is JSON)."""
        import httpx

        try:
            with self._http.stream("GET", path, params=query, headers={"Accept": "text/event-stream"}, timeout=None) as answer:
                if answer.status_code >= 400:
                    answer.read()
                    raise _problem(answer)
                name, data = "message", []
                for line in answer.iter_lines():
                    if line.startswith("event:"):
                        name = line[6:].strip()
                    elif line.startswith("data:"):
                        data.append(line[5:].removeprefix(" "))
                    elif line == "" and data:
                        text = "\n".join(data)
                        try:
                            yield name, json.loads(text)
                        except ValueError:
                            yield name, text
                        name, data = "message", []
        except httpx.TransportError as problem:
            raise self._away(problem) from None

    def _call(self, method: str, path: str, **how: Any) -> Any:
        import httpx

        try:
            answer = self._http.request(method, path, **how)
        except httpx.TransportError as problem:
            raise self._away(problem) from None
        if answer.status_code >= 400:
            raise _problem(answer)
        return answer.json() if answer.content else None

    def _away(self, problem: Exception) -> Problem:
        return Problem(
            f"KIOPS at {self.url} does not answer ({type(problem).__name__})", advice="kiops status; ./kiops up",
            code="client.away", exit_code=Exit.AWAY,
        )  # fmt: skip


def _local(url: str) -> bool:
    return urlsplit(url).hostname in ("127.0.0.1", "::1", "localhost")


def _problem(answer: Any) -> Problem:
    """A problem+json answer as a Problem."""
    try:
        said = answer.json()
    except ValueError:
        said = {}
    status = answer.status_code
    what = said.get("detail") or said.get("title") or f"the answer was HTTP {status}"
    advice, code = said.get("advice", ""), said.get("code") or f"http.{status}"
    if status == 401:
        advice = advice or "kiops login ADDRESS"
    if status in (502, 503, 504, 429):
        exit_code = Exit.AWAY
    elif status >= 500:
        exit_code = Exit.DEFECT
    else:
        exit_code = Exit.NO if status in (403, 409) else Exit.ASKED_WRONGLY
    return Problem(what, advice=advice, code=code, exit_code=exit_code)
