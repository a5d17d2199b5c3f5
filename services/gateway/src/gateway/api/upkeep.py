"""Messages that could not be handled, and a stream that is not the known one."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Response

from gateway.api import models as m
from gateway.api.depends import Limit, Who
from gateway.site import Site

Holder = Annotated[str, Path(max_length=40, description="The service that could not handle it")]
Letter = Annotated[str, Path(max_length=200)]


def routes(site: Site, router: APIRouter) -> None:
    upkeep = site.handlers.upkeep

    @router.get("/dead-letters", tags=["platform"], response_model=m.DeadLettersOut)
    async def list_dead_letters(actor: Who, limit: Limit = 50) -> Any:
        """Messages that a service could not handle, oldest first, at most `limit` of each service."""
        found = await upkeep.letters(actor, limit=limit)
        return {
            "items": [_letter(service, row) for service, row in found.rows],
            "total": found.total,
            "silent": found.silent,
        }

    @router.get("/dead-letters/{holder}/{letter}", tags=["platform"], response_model=m.DeadLetterWholeOut)
    async def show_dead_letter(actor: Who, holder: Holder, letter: Letter) -> Any:
        """One with its headers and body."""
        return _letter(holder, await upkeep.letter(actor, holder, letter))

    @router.post("/dead-letters/{holder}/{letter}/replay", tags=["platform"], status_code=204)
    async def replay_dead_letter(actor: Who, holder: Holder, letter: Letter) -> Response:
        """Have the service try it again now. When it fails again it comes back here."""
        await upkeep.settle(actor, holder, letter, "replay")
        return Response(status_code=204)

    @router.post("/dead-letters/{holder}/{letter}/dismiss", tags=["platform"], status_code=204)
    async def dismiss_dead_letter(actor: Who, holder: Holder, letter: Letter) -> Response:
        """Let it be. It is not tried again, and no longer shown."""
        await upkeep.settle(actor, holder, letter, "dismiss")
        return Response(status_code=204)

    @router.post("/stream/accept", tags=["platform"], response_model=m.StreamAcceptedOut)
    async def accept_stream(actor: Who) -> Any:
        """Take the bus's stream for what it is now, after the one that the databases know was lost for good. Every service reads it
        from its beginning, passes over what it has heard, and publishes again what it said in the last 24 hours."""
        return {"items": await upkeep.accept_stream(actor)}

    @router.post("/sealing/renew", tags=["platform"], response_model=m.SealingRenewedOut)
    async def renew_sealing(actor: Who) -> Any:
        """Have every service seal again, with its newest key, the secrets that are sealed to a former key of its."""
        done = await upkeep.renew_sealing(actor)
        items = [{"service": service, "code": each.error, "reason": each.detail, **each.model_dump()} for service, each in done]
        return {"items": items}


def _letter(service: str, row: Any) -> dict[str, Any]:
    return {"holder": service, **row.model_dump()}
