"""The gateway's API, as the demo uses it: every call an ordinary one that anybody with a token could make."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx

API = "/api/v1"


class Refused(Exception):
    """The API said no: its sentence, code and advice."""

    def __init__(self, status: int, problem: dict[str, Any]) -> None:
        self.status, self.code = status, str(problem.get("code") or f"http.{status}")
        self.advice = str(problem.get("advice") or "")
        super().__init__(str(problem.get("detail") or problem.get("title") or f"HTTP {status}"))


class Api:
    """One session with the API. Raises Refused, httpx.TransportError."""

    def __init__(self, url: str, token: str, *, transport: httpx.AsyncBaseTransport | None = None) -> None:
        headers = {"Authorization": f"Bearer {token}", "User-Agent": "kiops-demo"}
        self.url = url.rstrip("/")
        self._http = httpx.AsyncClient(base_url=self.url + API, headers=headers, timeout=30, trust_env=False, transport=transport)

    async def close(self) -> None:
        await self._http.aclose()

    async def get(self, path: str, **query: Any) -> Any:
        return await self._call("GET", path, params=query)

    async def post(self, path: str, body: Any = None) -> Any:
        return await self._call("POST", path, json=body if body is not None else {})

    async def put(self, path: str, body: Any) -> Any:
        return await self._call("PUT", path, json=body)

    async def find(self, path: str) -> Any | None:
        """What is there, None when nothing is."""
        try:
            return await self.get(path)
        except Refused as error:
            if error.status == 404:
                return None
            raise

    async def _call(self, method: str, path: str, **how: Any) -> Any:
        answer = await self._http.request(method, path, **how)
        if answer.status_code >= 400:
            try:
                problem = answer.json()
            except ValueError:
                problem = {}
            raise Refused(answer.status_code, problem if isinstance(problem, dict) else {})
        return answer.json() if answer.content else None

    async def changes(self, path: str, *, at_least_every: float = 1.0) -> AsyncIterator[None]:
        """Yields whenever the event stream at `path` says something, and now and then without."""
        heard = asyncio.Event()

        async def listen() -> None:
            while True:
                with contextlib.suppress(httpx.HTTPError):
                    async with self._http.stream("GET", path, timeout=None) as answer:
                        if answer.status_code >= 400:
                            return
                        async for line in answer.aiter_lines():
                            if line.startswith("event:"):
                                heard.set()
                await asyncio.sleep(0.5)

        task = asyncio.create_task(listen())
        try:
            while True:
                yield
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(at_least_every):
                        await heard.wait()
                heard.clear()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def one_line(value: Any) -> str:
    """Something of the API in a line, for a message about what is not as it must be."""
    return json.dumps(value, default=str)[:300]
