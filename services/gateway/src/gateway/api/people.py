"""Sign-in for programs, links, the audit, and how the platform is."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from gateway import audit
from gateway.api import models as m
from gateway.api.depends import Cursor, Limit, Who
from gateway.api.paging import decode, page
from gateway.site import Site
from gateway.store import audits, people, runs
from gateway.store.lists import Shown
from gateway.tables import read_model

_AUDIT = Shown(read_model.audit, m.AuditOut.model_fields)


def routes(site: Site, router: APIRouter) -> None:
    access = site.access

    @router.post("/sessions", tags=["people"], status_code=201, response_model=m.MeOut)
    async def sign_in(request: Request, response: Response, body: m.SignInIn) -> Any:
        """Sign in with a password. Sets the session's cookie; `csrf` goes with every changing request as X-CSRF-Token."""
        session = await access.sign_in(body.name, body.password, request)
        access.keep(session, response)
        return session.actor

    @router.post("/sessions/end", tags=["people"], status_code=204)
    async def sign_out(actor: Who) -> Response:
        """End this session."""
        response = Response(status_code=204)
        await access.sign_out(actor, response)
        return response

    @router.get("/me", tags=["people"], response_model=m.MeOut)
    async def me(actor: Who) -> Any:
        """Who is asking."""
        return actor

    @router.put("/me/password", tags=["people"], status_code=204)
    async def set_password(actor: Who, body: m.PasswordIn) -> Response:
        """Set one's own password; ends one's other sessions."""
        await site.handlers.people.set_password(actor, body.password)
        return Response(status_code=204)

    @router.post("/form-key", tags=["platform"], status_code=204)
    async def replace_form_key(
        actor: Who,
        at_once: Annotated[bool, Query(description="Refuse forms that are open now; else they are taken for a day")] = False,
    ) -> Response:
        """Another key for the tokens (CSRF) that pages put into forms."""
        await site.handlers.people.replace_form_key(actor, at_once=at_once)
        return Response(status_code=204)

    @router.post("/login-links", tags=["people"], status_code=201, response_model=m.LinkOut)
    async def make_link(actor: Who) -> Any:
        """A sign-in link for oneself: once, 15 minutes."""
        path, until = await site.handlers.people.make_link(actor)
        return {"path": path, "url": site.base_url + path, "expires_at_ms": until}

    @router.get("/tokens", tags=["people"], response_model=m.Page[m.TokenOut])
    async def list_tokens(actor: Who) -> Any:
        """One's own tokens that work; their values are stored nowhere."""
        async with site.owned.read() as tx:
            rows = await people.tokens_of(tx, actor.user_id, site.clock.now_ms())
        return {"items": [m.TokenOut.model_validate(row) for row in rows]}

    @router.post("/tokens", tags=["people"], status_code=201, response_model=m.NewTokenOut)
    async def make_token(actor: Who, body: m.TokenIn) -> Any:
        """A token for a program, such as the command line on another machine."""
        name, token, until = await site.handlers.people.make_token(actor, body.label, body.days)
        return {"id": name, "token": token, "expires_at_ms": until}

    @router.delete("/tokens/{token}", tags=["people"], status_code=204)
    async def end_token(actor: Who, token: str) -> Response:
        """By its id. From now on it is refused."""
        await site.handlers.people.end_token(actor, token)
        return Response(status_code=204)

    @router.get("/audit", tags=["audit"], response_model=m.Page[m.AuditOut])
    async def list_audit(
        actor: Who, category: str = "", by: Annotated[str, Query(max_length=200)] = "", cursor: Cursor = "", limit: Limit = 50
    ) -> Any:
        """Who did what, newest first."""
        key = decode(cursor, int)
        async with site.read.read() as tx:
            rows = await audits.listed(
                tx, _AUDIT, actor.organisation, category=category, actor=by, before=key[0] if key else None, limit=limit + 1
            )
        return page(_AUDIT, rows, limit, "sequence")

    @router.get("/audit/chain", tags=["audit"], response_model=m.ChainOut)
    async def check_chain(actor: Who) -> Any:
        """Check every hash of the audit chain: an edited or removed row is found."""
        async with site.owned.read() as tx:
            head = await audits.head(tx, actor.organisation)
            rows = await audits.chain(tx, actor.organisation)
        number, digest = (head.number, head.hash) if head else (0, audit.START)
        return await asyncio.to_thread(audit.verify, rows, number, digest)

    @router.get("/status", tags=["platform"], response_model=m.StatusOut)
    async def status(actor: Who) -> Any:
        """Whether each service of this process is ready, and the memory of all our processes."""
        platform = site.host.platform
        assert platform is not None
        failing = await platform.failing()
        rss, pss = await asyncio.to_thread(platform.memory_mb)
        async with site.read.read() as tx:
            unfinished = await runs.unfinished(tx, actor.organisation)
        return {
            "ready": not failing,
            "settled": not failing and await platform.settled(),
            "url": site.base_url,
            "services": {
                name: {
                    "ready": name not in failing,
                    "failing": failing.get(name, {}),
                    "stream_code": each.strange_stream()[0],
                    "instances": await each.instances(),
                }
                for name, each in platform.services.items()
            },
            "runs_unfinished": unfinished,
            "rss_mb": rss,
            "pss_mb": pss,
        }
