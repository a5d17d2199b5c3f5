"""POSTs with an Idempotency-Key: the same request gets the first answer again, another one with that key is refused."""

import hashlib
import json
import re
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from shared.errors import KiopsError
from shared.http import PROBLEM, problem_of
from starlette.responses import JSONResponse

from gateway.errors import BadInput, KeyReused
from gateway.site import Site
from gateway.store import intents

_KEY = re.compile(r"[\x21-\x7e]{1,200}")


def route_class(site: Site) -> type[APIRoute]:
    """The class of routes whose POSTs know Idempotency-Key."""

    class IdempotentRoute(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            plain = super().get_route_handler()

            async def handler(request: Request) -> Response:
                key = request.headers.get("idempotency-key")
                if request.method != "POST" or key is None:
                    return await plain(request)
                if not _KEY.fullmatch(key):
                    raise BadInput("idempotency_key", "1 to 200 visible ASCII characters.", field="Idempotency-Key")
                return await _once(site, request, key, plain)

            return handler

    return IdempotentRoute


async def _once(site: Site, request: Request, key: str, plain: Callable[[Request], Coroutine[Any, Any, Response]]) -> Response:
    actor = await site.access.actor(request)
    digest = hashlib.sha256(
        b"\n".join((request.method.encode(), request.url.path.encode("utf-8", "surrogatepass"), await request.body()))
    ).hexdigest()
    async with site.owned.write() as tx:
        before = await intents.begin(tx, actor.organisation, actor.user_id, key, digest, site.clock.now_ms())
    if before is not None:
        if before.request_hash != digest:
            raise KeyReused(running=False)
        if before.status is None:
            raise KeyReused(running=True)
        replayed = {"Idempotency-Replayed": "true"}
        if before.status == 204:
            return Response(status_code=204, headers=replayed)
        return JSONResponse(before.body, before.status, replayed, PROBLEM if before.status >= 400 else "application/json")
    try:
        try:
            response = await plain(request)
        except KiopsError as error:
            if error.status >= 500 or error.status in (401, 403, 429):
                raise
            response = problem_of(error)
    except BaseException:
        # It came to nothing for a passing reason, or the caller left: the key can be used again.
        async with site.owned.write() as tx:
            await intents.give_back(tx, actor.user_id, key)
        raise
    async with site.owned.write() as tx:
        await intents.finish(tx, actor.user_id, key, response.status_code, json.loads(bytes(response.body) or b"null"))
    return response
