"""Accounts: the first one, a password, links and tokens."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from shared.clock import Clock
from shared.database import Database

from gateway import audit
from gateway.access.door import Access, Actor
from gateway.access.passwords import digest
from gateway.domain import names
from gateway.errors import AdminNeeded, BadInput, NotFound
from gateway.settings import GatewaySettings
from gateway.store import people
from shared import ids

CLI = "this machine"


class People:
    """What concerns a person's own account, and what the start needs."""

    def __init__(self, database: Database, access: Access, settings: GatewaySettings, clock: Clock) -> None:
        self._database, self._access, self._settings, self._clock = database, access, settings, clock

    async def first_admin(self, organisation: str) -> None:
        """Make the organisation and its first account, unless they are there."""
        async with self._database.read() as tx:
            if await people.first_admin(tx, organisation) is not None:
                return
        password = self._settings.admin_password.get_secret_value()
        stored = await self._access.passwords.hashed(password) if password else None
        now, name = self._clock.now_ms(), self._settings.admin_name
        async with self._database.write() as tx:
            if await people.add_admin(tx, organisation, ids.new("usr"), name, stored, now):
                await audit.note(tx, organisation, now, category="user", action="made", actor="start", object=name)

    async def cli_token(self, organisation: str, file: Path) -> None:
        """Make the token file of the command line on this machine (mode 0600), unless it holds a token that works."""
        now = self._clock.now_ms()
        given = file.read_text().strip() if file.exists() else ""
        async with self._database.read() as tx:
            works = bool(given) and await people.by_token(tx, digest(given), now) is not None
            admin = await people.first_admin(tx, organisation)
        if works:
            file.chmod(0o600)
            return
        token = secrets.token_urlsafe(32)
        assert admin is not None
        async with self._database.write() as tx:
            await people.end_tokens(tx, organisation, CLI, now)
            await people.add_token(tx, digest(token), admin.id, organisation, CLI, now)
        beside = file.with_suffix(f".{os.getpid()}")
        beside.unlink(missing_ok=True)
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
            out.write(token + "\n")
        beside.replace(file)

    async def set_password(self, actor: Actor, password: str) -> None:
        """Set one's own password (12 to 1024 characters); ends one's other sessions. Raises BadInput."""
        if not 12 <= len(password) <= 1024:
            raise BadInput("password", "From 12 to 1024 characters.", field="password")
        stored = await self._access.passwords.hashed(password)
        now = self._clock.now_ms()
        async with self._database.write() as tx:
            await people.set_password(tx, actor.user_id, stored)
            await people.end_other_sessions(tx, actor.user_id, actor.session_id, now)
            await audit.note(
                tx, actor.organisation, now, category="user", action="password set", actor=actor.name, object=actor.name
            )

    async def replace_form_key(self, actor: Actor, *, at_once: bool) -> None:
        """Another key for the tokens of forms. `at_once`: open forms are refused from now on. Raises AdminNeeded."""
        if actor.role != "admin":
            raise AdminNeeded
        await self._access.forms.replace(at_once=at_once)
        async with self._database.write() as tx:
            await audit.note(
                tx, actor.organisation, self._clock.now_ms(), category="platform", action="form key replaced", actor=actor.name
            )

    async def make_token(self, actor: Actor, label: str, days: int | None) -> tuple[str, str, int | None]:
        """A token for a program: its id, its value (shown this once) and until when (epoch milliseconds; None: no end)."""
        label = names.text(label, field="label", longest=80)
        if not label or label == CLI:
            raise BadInput("label", "Say what it is for.", field="label")
        token, now = secrets.token_urlsafe(32), self._clock.now_ms()
        until = now + days * 86_400_000 if days else None
        async with self._database.write() as tx:
            await people.add_token(tx, digest(token), actor.user_id, actor.organisation, label, now, until)
            await audit.note(tx, actor.organisation, now, category="user", action="token made", actor=actor.name, object=label)
        return digest(token), token, until

    async def end_token(self, actor: Actor, token_id: str) -> None:
        """From now on it is refused. Raises NotFound."""
        now = self._clock.now_ms()
        async with self._database.write() as tx:
            label = await people.end_token(tx, actor.organisation, actor.user_id, token_id, now)
            if label is None:
                raise NotFound("token", token_id[:80])
            await audit.note(tx, actor.organisation, now, category="user", action="token ended", actor=actor.name, object=label)

    async def make_link(self, actor: Actor) -> tuple[str, int]:
        """A one-time sign-in link for oneself: its path and until when (epoch milliseconds)."""
        return await self._access.make_link(actor.user_id, actor.organisation, actor.name)
