"""The door: turns a request into an Actor, a password or link into a session, and refuses forms that are not ours."""

from __future__ import annotations

import ipaddress
import secrets
from dataclasses import dataclass

from shared.clock import Clock
from shared.database import Database
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import Response

from gateway import audit
from gateway.access.csrf import FormKeys
from gateway.access.limits import Limits
from gateway.access.passwords import Passwords, digest
from gateway.errors import CsrfMissing, LinkUsed, SignInNeeded, SignInRefused
from gateway.settings import GatewaySettings
from gateway.store import people

SESSION_COOKIE = "kiops_session"
VISIT_COOKIE = "kiops_visit"
_SAFE = {"GET", "HEAD", "OPTIONS"}
# A session's last use is written at most this often: reading a page should not cost a write.
_SEEN_EVERY_MS = 60_000


@dataclass(frozen=True, slots=True)
class Actor:
    """Who asks. `via` is session or token; `csrf` is what a form of this session must send back (empty for tokens)."""

    user_id: str
    name: str
    label: str
    organisation: str
    role: str
    via: str
    session_id: str = ""
    csrf: str = ""


@dataclass(frozen=True, slots=True)
class Session:
    """A session that just began: the cookie's value, and until when in seconds."""

    token: str
    max_age_seconds: int
    actor: Actor


class Access:
    """Sign-in, sessions, tokens and CSRF. Everything it stores is in the owned database."""

    def __init__(self, database: Database, settings: GatewaySettings, clock: Clock, forms: FormKeys, organisation: str) -> None:
        self._database, self._settings, self._clock, self.forms = database, settings, clock, forms
        # Where a try with a name that nobody has is written down.
        self._organisation = organisation
        self.passwords = Passwords(settings.password_memory_kib)
        self._limits = Limits(clock, settings.sign_in_tries, settings.sign_in_window_seconds)

    # -- who asks ----------------------------------------------------------------------------------------------------
    async def actor(self, request: Request) -> Actor:
        """The person or program behind a request. Raises SignInNeeded; CsrfMissing when a cookie's request changes something
        without the session's token in the header X-CSRF-Token (forms: see `form`)."""
        found = await self.find(request)
        if found is None:
            raise SignInNeeded
        if found.via == "session" and request.method not in _SAFE:
            given = request.headers.get("x-csrf-token", "") or request.scope.get("kiops.form_csrf", "")
            if not await self.forms.right(found.session_id, given):
                raise CsrfMissing
        return found

    async def find(self, request: Request) -> Actor | None:
        """The same, None when nobody is signed in; looks at no CSRF token. Cached on the request."""
        if "kiops.actor" not in request.scope:
            request.scope["kiops.actor"] = await self._find(request)
        return request.scope["kiops.actor"]

    async def _find(self, request: Request) -> Actor | None:
        now = self._clock.now_ms()
        scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and bearer:
            async with self._database.read() as tx:
                row = await people.by_token(tx, digest(bearer.strip()), now)
            return Actor(row.user_id, row.name, row.label, row.organisation_id, row.role, "token") if row else None
        cookie = request.cookies.get(SESSION_COOKIE, "")
        if not cookie:
            return None
        session_id = digest(cookie)
        await self.forms.look_now_and_then()
        async with self._database.read() as tx:
            row = await people.by_session(tx, session_id, now)
        if row is None:
            return None
        if row.seen_at_ms < now - _SEEN_EVERY_MS:
            async with self._database.write() as tx:
                await people.touch_session(tx, session_id, now, now + self._settings.session_hours * 3_600_000)
        return self._session_actor(row, session_id)

    def _session_actor(self, row: object, session_id: str) -> Actor:
        return Actor(
            row.user_id,  # type: ignore[attr-defined]
            row.name,  # type: ignore[attr-defined]
            row.label,  # type: ignore[attr-defined]
            row.organisation_id,  # type: ignore[attr-defined]
            row.role,  # type: ignore[attr-defined]
            "session",
            session_id,
            self.forms.token(session_id),
        )

    # -- forms -------------------------------------------------------------------------------------------------------
    async def form(self, request: Request) -> tuple[Actor, FormData]:
        """Who sent a form, and its fields. The field `csrf` (or the header X-CSRF-Token) must be the session's."""
        fields = await request.form(max_files=0, max_fields=400)
        request.scope["kiops.form_csrf"] = str(fields.get("csrf", ""))
        return await self.actor(request), fields

    def visit(self, request: Request, response: Response) -> str:
        """The CSRF token of the sign-in form, bound to a random cookie that this sets."""
        value = request.cookies.get(VISIT_COOKIE, "") or secrets.token_urlsafe(24)
        self._cookie(response, VISIT_COOKIE, value, 3600, strict=True)
        return self.forms.token("visit:" + value)

    async def sign_in_form(self, request: Request) -> FormData:
        """The fields of the sign-in form; its field `csrf` must be that of `visit`. Raises CsrfMissing."""
        fields = await request.form(max_files=0, max_fields=10)
        value = request.cookies.get(VISIT_COOKIE, "")
        if not value or not await self.forms.right("visit:" + value, str(fields.get("csrf", ""))):
            raise CsrfMissing
        return fields

    # -- in and out --------------------------------------------------------------------------------------------------
    async def sign_in(self, name: str, password: str, request: Request) -> Session:
        """A session for the right password. Raises SignInRefused, or TooManyTries after some wrong ones."""
        name = name.strip()[:200]
        keys = (f"{self.address(request)} {name.casefold()}",)
        self._limits.check(keys)
        async with self._database.read() as tx:
            user = await people.by_name(tx, name)
        if not await self.passwords.match(user.password if user else None, password[:1024]):
            self._limits.failed(keys)
            async with self._database.write() as tx:
                await audit.note(
                    tx,
                    user.organisation_id if user else self._organisation,
                    self._clock.now_ms(),
                    category="sign-in",
                    action="password",
                    actor=name[:80] if user else "unknown",
                    outcome="refused",
                    detail=f"from {self.address(request)}",
                )
            raise SignInRefused
        self._limits.forget(keys)
        assert user is not None
        return await self._begin(user.id, user.organisation_id, request, "password")

    async def redeem(self, link: str, request: Request) -> Session:
        """A session for a one-time link's token. Raises LinkUsed."""
        now = self._clock.now_ms()
        async with self._database.write() as tx:
            row = await people.use_link(tx, digest(link), now)
        if row is None:
            raise LinkUsed
        return await self._begin(row.user_id, row.organisation_id, request, "link")

    async def make_link(self, user_id: str, organisation: str, by: str) -> tuple[str, int]:
        """A one-time sign-in link: the path that redeems it, and until when in epoch milliseconds."""
        link, now = secrets.token_urlsafe(32), self._clock.now_ms()
        until = now + self._settings.link_minutes * 60_000
        async with self._database.write() as tx:
            await people.add_link(tx, digest(link), user_id, organisation, now, until)
            await audit.note(tx, organisation, now, category="sign-in", action="link made", actor=by)
        return f"/login/{link}", until

    async def sign_out(self, actor: Actor, response: Response) -> None:
        """End the session in the database, and its cookie."""
        now = self._clock.now_ms()
        async with self._database.write() as tx:
            await people.end_session(tx, actor.session_id, now)
            await audit.note(tx, actor.organisation, now, category="sign-in", action="signed out", actor=actor.name)
        response.delete_cookie(SESSION_COOKIE, path="/")

    def keep(self, session: Session, response: Response) -> None:
        """Put the session's cookie on an answer."""
        self._cookie(response, SESSION_COOKIE, session.token, session.max_age_seconds)

    async def _begin(self, user_id: str, organisation: str, request: Request, how: str) -> Session:
        token, now = secrets.token_urlsafe(32), self._clock.now_ms()
        seconds = self._settings.session_hours * 3600
        async with self._database.write() as tx:
            await people.add_session(
                tx,
                id=digest(token),
                user_id=user_id,
                organisation_id=organisation,
                address=self.address(request),
                agent=request.headers.get("user-agent", "")[:200],
                created_at_ms=now,
                seen_at_ms=now,
                expires_at_ms=now + seconds * 1000,
            )
            row = await people.by_session(tx, digest(token), now)
            if row is None:  # disabled between the two
                raise SignInRefused
            await audit.note(
                tx,
                organisation,
                now,
                category="sign-in",
                action=how,
                actor=row.name,
                detail=f"from {self.address(request)}",
            )
        return Session(token, seconds, self._session_actor(row, digest(token)))

    def _cookie(self, response: Response, name: str, value: str, seconds: int, *, strict: bool = False) -> None:
        response.set_cookie(
            name,
            value,
            max_age=seconds,
            path="/",
            httponly=True,
            samesite="strict" if strict else "lax",
            secure=self._settings.secure_cookies,
        )

    def address(self, request: Request) -> str:
        """Where a request comes from; behind a trusted proxy what that says."""
        peer = request.client.host if request.client else "unknown"
        if self._trusts(peer):
            forwarded = request.headers.get("x-forwarded-for", "")
            return forwarded.rsplit(",", 1)[-1].strip()[:80] or peer
        return peer

    def _trusts(self, peer: str) -> bool:
        try:
            address = ipaddress.ip_address(peer)
        except ValueError:  # no address: a unix socket
            return False
        return any(address in network for network in self._settings.trusted_networks)
