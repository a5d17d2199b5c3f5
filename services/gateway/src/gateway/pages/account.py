"""Sign in, by password or one-time link; sign out; one's own account."""

from __future__ import annotations

from fastapi import APIRouter
from shared.errors import Rejected
from starlette.requests import Request
from starlette.responses import Response

from gateway.contexts.frame import Field
from gateway.contexts.people import AccountPage, SignInPage
from gateway.errors import BadInput, CsrfMissing, LinkUsed, SignInRefused, TooManyTries
from gateway.pages.door import Pages

HOME = "/dashboard"


def inside(address: str) -> str:
    """Where to go after sign-in: a page of ours, never another place."""
    ours = address.startswith("/") and not address.startswith(("//", "/\\")) and "\n" not in address
    return address[:500] if ours else HOME


def routes(pages: Pages) -> APIRouter:
    router = pages.router()
    access = pages.site.access

    def sign_in_page(request: Request, name: str, go_to: str, problem: str, wrong: str, status: int) -> Response:
        probe = Response()
        csrf = access.visit(request, probe)
        page = SignInPage(pages.nobody(request, csrf), Field(name), Field("", wrong), go_to, problem)
        response = pages.show(request, "people/sign_in.html", page, status)
        response.headers["set-cookie"] = probe.headers["set-cookie"]
        return response

    @router.get("/")
    async def home() -> Response:
        return pages.go(HOME)

    @router.get("/sign-in")
    async def sign_in(request: Request) -> Response:
        go_to = inside(request.query_params.get("go_to", HOME))
        if await access.find(request):
            return pages.go(go_to)
        return sign_in_page(request, "", go_to, "", "", 200)

    @router.post("/sign-in")
    async def signed_in(request: Request) -> Response:
        name, go_to = "", HOME
        try:
            fields = await access.sign_in_form(request)
            name, go_to = str(fields.get("name", ""))[:200], inside(str(fields.get("go_to", HOME)))
            session = await access.sign_in(name, str(fields.get("password", "")), request)
        except SignInRefused:
            return sign_in_page(request, name, go_to, "", "Name and password do not fit together.", 401)
        except TooManyTries as error:
            response = sign_in_page(request, name, go_to, f"{error.message} {error.advice}", "", 429)
            response.headers["retry-after"] = str(error.retry_after_seconds)
            return response
        except CsrfMissing:
            return sign_in_page(request, name, go_to, "This form was too old. Enter both again.", "", 403)
        response = pages.go(go_to)
        access.keep(session, response)
        return response

    @router.get("/login/{link}")
    async def redeem(link: str, request: Request) -> Response:
        try:
            session = await access.redeem(link, request)
        except LinkUsed as error:
            return sign_in_page(request, "", HOME, f"{error.message} {error.advice}", "", 401)
        response = pages.go(HOME)
        access.keep(session, response)
        return response

    @router.post("/sign-out")
    async def sign_out(request: Request) -> Response:
        actor, _ = await pages.form(request)
        response = pages.go("/sign-in")
        await access.sign_out(actor, response)
        return response

    @router.get("/account")
    async def account(request: Request) -> Response:
        actor = await pages.actor(request)
        async with pages.read() as tx:
            page = AccountPage(await pages.frame(request, actor, tx), Field())
        return pages.show(request, "people/account.html", page)

    @router.post("/account/password")
    async def password(request: Request) -> Response:
        actor, fields = await pages.form(request)
        try:
            await pages.site.handlers.people.set_password(actor, fields.get("new", ""))
        except (BadInput, Rejected) as error:
            async with pages.read() as tx:
                page = AccountPage(await pages.frame(request, actor, tx), Field("", error.message))
            return pages.show(request, "people/account.html", page, 422)
        return pages.go("/account", "password")

    return router
