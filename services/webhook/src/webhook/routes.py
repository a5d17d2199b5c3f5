"""Door: HTTP. Mounted at /api/v1/webhook: Git hosts deliver here."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from shared.context import current
from shared.errors import Unavailable
from shared.http import problem
from shared.turns import turns

from webhook.errors import Refused, body_too_large, not_json_type
from webhook.handlers import Handlers, Receipt
from webhook.settings import WebhookSettings


class Plain(APIRoute):
    """A route whose function takes the path's parts and the request as they are: half of what a short answer costs is saved."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        call: Callable[..., Coroutine[Any, Any, Response]] = self.endpoint

        async def handler(request: Request) -> Response:
            return await call(**request.path_params, request=request)

        return handler


def routes(handlers: Handlers, settings: WebhookSettings) -> APIRouter:
    """One route: a delivery in, 202 with what became of it."""
    router = APIRouter(tags=["webhook"], route_class=Plain)

    @router.post(
        "/{provider}/{endpoint}",
        status_code=202,
        summary="Take a delivery of a Git host",
        response_description="`delivery`, `run` ({id, number} or null), `reason` ({code, text}), `repeated`",
        responses={
            400: {"description": "Signed, but no delivery: not JSON, no ref, a character no text has"},
            401: {"description": "Signature missing or wrong"},
            404: {"description": "No such endpoint"},
            413: {"description": "Body too large"},
            415: {"description": "Content type is not JSON"},
            503: {"description": "Could not be stored; send it again after Retry-After"},
        },
    )
    async def deliver(provider: str, endpoint: str, request: Request) -> Response:
        try:
            found = await handlers.deliveries.endpoint(provider, endpoint)
            kind = request.headers.get("content-type", "")
            if kind.partition(";")[0].strip().lower() != "application/json":
                raise not_json_type(kind)
            body = await read_body(request, settings.max_body_bytes)
            with turns.first():
                receipt = await handlers.deliveries.receive(found, request.headers, body, current.get().traceparent)
        except Refused as error:
            return problem(error.status, error.code, error.message, error.advice, **error.detail)
        except Unavailable as error:
            error.detail.setdefault("retry_after_seconds", settings.retry_after_seconds)
            raise
        return JSONResponse(answer(receipt), status_code=202)

    return router


async def read_body(request: Request, limit: int) -> bytes:
    """The body, given up as soon as it is longer than the limit. Raises Refused (413)."""
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared[:20]) > limit:
        raise body_too_large(limit)
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise body_too_large(limit)
        chunks.append(chunk)
    return b"".join(chunks)


def answer(receipt: Receipt) -> dict[str, object]:
    """What the sender reads."""
    return {
        "delivery": receipt.delivery,
        "run": {"id": receipt.run, "number": receipt.number} if receipt.run else None,
        "reason": {"code": receipt.code, "text": receipt.text},
        "repeated": receipt.repeated,
    }
