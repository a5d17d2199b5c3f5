"""The container engine, as far as the demo needs it: look for an image, pull, import, remove. Plain HTTP over its socket."""

from __future__ import annotations

import http.client
import json
import os
import socket
import time
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote, urlencode, urlsplit

DEFAULT_SOCKET = "/var/run/docker.sock"


class EngineError(Exception):
    """The engine is away, or refused; says why."""


class _Unix(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("engine", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Engine:
    """One engine, found as the services find theirs: DOCKER_HOST, else the system's socket."""

    def __init__(self, address: str = "") -> None:
        self.address = address or os.environ.get("DOCKER_HOST") or f"unix://{DEFAULT_SOCKET}"

    @property
    def socket(self) -> Path:
        """The socket's path; the default one when the engine is reached otherwise."""
        return Path(self.address.removeprefix("unix://") if self.address.startswith("unix://") else DEFAULT_SOCKET)

    def image(self, name: str) -> dict[str, Any] | None:
        """What the engine knows of an image, None when it has none."""
        status, body = self._call("GET", f"/images/{quote(name, safe=':/@')}/json")
        return json.loads(body) if status == 200 else None

    def images(self, label: str) -> list[dict[str, Any]]:
        """Images with this label (`name` or `name=value`)."""
        query = urlencode({"filters": json.dumps({"label": [label]})})
        status, body = self._call("GET", f"/images/json?{query}")
        return json.loads(body) if status == 200 else []

    def containers(self, label: str) -> list[dict[str, Any]]:
        """Containers with this label, running or not."""
        query = urlencode({"all": "1", "filters": json.dumps({"label": [label]})})
        status, body = self._call("GET", f"/containers/json?{query}")
        return json.loads(body) if status == 200 else []

    def remove_image(self, name: str) -> bool:
        """Whether it was removed; not while a container or another image needs it."""
        status, _ = self._call("DELETE", f"/images/{quote(name, safe=':/@')}?force=true")
        return status == 200

    def pull(self, name: str, *, first_word_seconds: float, seconds: float) -> None:
        """Pull an image. Raises EngineError: refused, nothing heard of the registry in time, not done in time."""
        repository, _, tag = name.partition(":")
        connection = self._connection(first_word_seconds)
        began = time.monotonic()
        try:
            connection.request("POST", f"/images/create?{urlencode({'fromImage': repository, 'tag': tag})}")
            answer = connection.getresponse()
            if answer.status != 200:
                raise EngineError(_said(answer.read()))
            if connection.sock:
                connection.sock.settimeout(30)
            for line in answer:
                told = json.loads(line)
                if "error" in told:
                    raise EngineError(_short(str(told["error"])))
                if time.monotonic() - began > seconds:
                    raise EngineError(f"not here after {seconds:.0f} s")
        except TimeoutError:
            raise EngineError("the registry does not answer") from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise EngineError(f"{type(error).__name__}") from None
        finally:
            connection.close()
        if self.image(name) is None:
            raise EngineError("the registry did not give it")

    def import_image(self, name: str, archive: IO[bytes], size: int, changes: list[str]) -> None:
        """Make an image of one layer from a tar archive. Raises EngineError."""
        repository, _, tag = name.partition(":")
        query = [("fromSrc", "-"), ("repo", repository), ("tag", tag), *(("changes", change) for change in changes)]
        connection = self._connection(120)
        try:
            headers = {"Content-Type": "application/x-tar", "Content-Length": str(size)}
            connection.request("POST", f"/images/create?{urlencode(query)}", archive, headers)
            answer = connection.getresponse()
            said = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise EngineError(f"{type(error).__name__}: {error}") from None
        finally:
            connection.close()
        if answer.status != 200 or b'"error"' in said:
            raise EngineError(_said(said))

    def _call(self, method: str, path: str) -> tuple[int, bytes]:
        connection = self._connection(60)
        try:
            connection.request(method, path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise EngineError(f"the engine at {self.address} does not answer: {error}") from None
        finally:
            connection.close()

    def _connection(self, timeout: float) -> http.client.HTTPConnection:
        if self.address.startswith("unix://"):
            return _Unix(self.address.removeprefix("unix://"), timeout)
        parts = urlsplit(self.address)
        return http.client.HTTPConnection(parts.hostname or "127.0.0.1", parts.port or 2375, timeout=timeout)


def _said(body: bytes) -> str:
    try:
        return _short(str(json.loads(body.splitlines()[-1] if body else b"{}").get("message", "it says nothing")))
    except (ValueError, AttributeError):
        return _short(body.decode("utf-8", "replace"))


def _short(text: str) -> str:
    """The part of the engine's words that says why, without addresses of mirrors."""
    for sign, meaning in (
        ("no such host", "the registry's name is not known here"),
        ("connection refused", "the registry refused the connection"),
        ("timeout", "the registry does not answer"),
        ("deadline", "the registry does not answer"),
        ("no route", "there is no way to the registry"),
        ("unreachable", "there is no way to the registry"),
        ("certificate", "the registry's certificate is not trusted"),
        ("toomanyrequests", "the registry wants fewer requests"),
    ):
        if sign in text.lower():
            return meaning
    return " ".join(text.split())[:120]
