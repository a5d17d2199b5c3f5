"""The headers that every answer of the gateway carries. No inline script, no inline style, nothing from elsewhere."""

from __future__ import annotations

from shared.http import problem
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)

SECURITY = {
    "content-security-policy": CSP,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=()",
    "x-frame-options": "DENY",
}


class SecurityHeaders:
    """ASGI middleware. What an answer says of itself (a stricter cache rule) is left alone."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY.items():
                    headers.setdefault(name, value)
                if not scope["path"].startswith("/static/"):
                    headers.setdefault("cache-control", "no-store")
            await send(message)

        await self.app(scope, receive, with_headers)


class BodyLimit:
    """ASGI middleware: refuses a body over the limit (413) and an address with U+0000 (400), before anybody reads them.

    Deliveries of Git hosts (`/api/v1/webhook/`) have a limit of their own.
    """

    def __init__(self, app: ASGIApp, most_bytes: int) -> None:
        self.app, self.most = app, most_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(("/api/v1/webhook/", "/-/")):
            await self.app(scope, receive, send)
            return
        if "\0" in scope["path"] or b"%00" in scope.get("query_string", b""):
            refusal = problem(400, "request.characters", "The address contains U+0000.")
            await refusal(scope, receive, send)
            return
        too_large = problem(413, "request.too_large", f"The body has more than {self.most} bytes.", most_bytes=self.most)
        said = dict(scope["headers"]).get(b"content-length", b"0")
        if said.isdigit() and int(said) > self.most:
            await too_large(scope, receive, send)
            return
        taken, exceeded, answered = 0, False, False

        async def counted() -> Message:
            nonlocal taken, exceeded
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > self.most:
                exceeded = True
                raise HTTPException(413, "The body is too large.")
            return message

        async def noted(message: Message) -> None:
            nonlocal answered
            if not exceeded:
                await send(message)
            elif not answered:
                # Whatever the reader of the body made of it: the answer is this one.
                answered = True
                await too_large(scope, receive, send)

        await self.app(scope, counted, noted)
