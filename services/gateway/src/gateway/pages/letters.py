"""Messages that could not be handled: what, where, why; try again or let be."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote, unquote

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from gateway.contexts.letters import LetterRow, LettersPage
from gateway.errors import NotFound
from gateway.pages.door import Pages

HERE = "/dead-letters"


def row(holder: str, letter: Any, whole: Any = None) -> LetterRow:
    name = f"{HERE}/{holder}/{quote(letter.id, safe='')}"
    more: dict[str, Any] = {}
    if whole is not None:
        headers = tuple(sorted((key, unquote(value)) for key, value in whole.headers.items()))
        more = {"subject": whole.subject, "body": shaped(whole.body), "headers": headers}
    return LetterRow(
        holder=holder,
        id=letter.id,
        type=letter.type,
        href=name if whole is None else HERE,
        code=letter.code,
        error=letter.error,
        attempts=letter.attempts,
        at_ms=letter.given_up_at_ms,
        run=f"/search?q={quote(letter.run)}" if letter.run else "",
        open=whole is not None,
        **more,
    )


def shaped(body: str) -> str:
    """A body as people read it: JSON with its lines, anything else as it came."""
    try:
        return json.dumps(json.loads(body), indent=2, ensure_ascii=False)
    except ValueError:
        return body


def routes(pages: Pages) -> APIRouter:
    router = pages.router()
    upkeep = pages.site.handlers.upkeep

    async def show(request: Request, opened: tuple[str, str] | None = None) -> Response:
        actor = await pages.actor(request)
        found = await upkeep.letters(actor)
        whole = await upkeep.letter(actor, *opened) if opened else None
        rows = [row(holder, each, whole if (holder, each.id) == opened else None) for holder, each in found.rows]
        if opened and not any(each.open for each in rows):
            rows.insert(0, row(opened[0], whole, whole))
        async with pages.read() as tx:
            page = LettersPage(await pages.frame(request, actor, tx), tuple(rows), found.total, found.silent)
        return pages.show(request, "people/letters.html", page)

    @router.get(HERE)
    async def letters(request: Request) -> Response:
        return await show(request)

    @router.get(HERE + "/{holder}/{letter:path}")
    async def letter(request: Request, holder: str, letter: str) -> Response:
        return await show(request, (holder, letter))

    async def settle(request: Request, holder: str, letter: str, verb: str, said: str) -> Response:
        actor, _ = await pages.form(request)
        try:
            await upkeep.settle(actor, holder, letter, verb)
        except NotFound:
            return pages.go(HERE)  # somebody was faster
        await upkeep.look(actor.organisation)
        return pages.go(HERE, said)

    @router.post(HERE + "/{holder}/{letter}/replay")
    async def replay(request: Request, holder: str, letter: str) -> Response:
        return await settle(request, holder, letter, "replay", "replayed")

    @router.post(HERE + "/{holder}/{letter}/dismiss")
    async def dismiss(request: Request, holder: str, letter: str) -> Response:
        return await settle(request, holder, letter, "dismiss", "dismissed")

    return router
