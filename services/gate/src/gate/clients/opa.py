"""Rego in an OPA server, by REST. https://www.openpolicyagent.org/docs/rest-api"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gate.clients.bundle import Bundle
from gate.errors import EngineProblem

if TYPE_CHECKING:
    import httpx

MARK = "kiops_gate_bundle"


class OpaServer:
    """An OPA server that we give the bundle to. A server that restarted has forgotten it, so its mark is looked at first."""

    def __init__(self, url: str, *, wall_seconds: float = 10, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self.url, self.wall_seconds = url.rstrip("/"), wall_seconds
        self.name = "OPA server"
        self._transport = transport
        self._client: httpx.AsyncClient | None = None

    def _http(self) -> httpx.AsyncClient:
        if self._client is None:
            import httpx

            self._client = httpx.AsyncClient(base_url=self.url, timeout=self.wall_seconds, transport=self._transport)
        return self._client

    async def ask(self, bundle: Bundle, document: dict[str, Any]) -> Any:
        """What the bundle's entry rule says of the document. Raises EngineProblem."""
        marked = await self._call("GET", f"/v1/data/{MARK}")
        if marked.get("result") != bundle.hash:
            await self._give(bundle)
        path = bundle.entry.replace(".", "/")
        # Without this a failing built-in is merely undefined here, and an error in the embedded engine.
        reply = await self._call("POST", f"/v1/{path}?strict-builtin-errors=true", json={"input": document})
        if "result" not in reply:
            raise EngineProblem("policy.undefined", "the policy says nothing about this input")
        return reply["result"]

    async def check(self) -> None:
        """Raises EngineProblem `policy.away` unless the server says that it is healthy."""
        await self._call("GET", "/health")

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    async def _give(self, bundle: Bundle) -> None:
        for name, text in sorted(bundle.modules.items()):
            await self._call("PUT", f"/v1/policies/kiops/{name}", content=text, headers={"content-type": "text/plain"})
        for root, value in bundle.data.items():
            await self._call("PUT", f"/v1/data/{root}", json=value)
        await self._call("PUT", f"/v1/data/{MARK}", json=bundle.hash)

    async def _call(self, method: str, path: str, **more: Any) -> dict[str, Any]:
        import httpx

        try:
            reply = await self._http().request(method, path, **more)
        except httpx.TimeoutException as error:
            raise EngineProblem("policy.timeout", f"OPA did not answer within {self.wall_seconds:g} s") from error
        except httpx.HTTPError as error:
            raise EngineProblem("policy.away", f"OPA does not answer: {type(error).__name__}") from error
        if reply.status_code >= 400:
            raise EngineProblem("policy.error", f"OPA said {reply.status_code}: {reply.text[:500]}")
        if not reply.content:
            return {}
        try:
            body = reply.json()
        except ValueError as error:
            raise EngineProblem("policy.wrong_shape", "OPA's answer is not JSON") from error
        if not isinstance(body, dict):
            raise EngineProblem("policy.wrong_shape", "OPA's answer is not an object")
        return body
