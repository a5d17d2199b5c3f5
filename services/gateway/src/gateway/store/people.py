"""Accounts, sessions, links and tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from shared.database import Tx

from gateway.store.lists import kept
from gateway.tables.owned import keys, login_links, memberships, organisations, sessions, tokens, users
from shared import ids

FORM_KEY = "csrf"
"""The newest key of forms' tokens; a former one's name has an id behind a point."""


def _person(*columns: Any) -> sa.Select:
    return (
        sa.select(users.c.id.label("user_id"), users.c.name, users.c.label, memberships.c.role, *columns)
        .join(memberships, memberships.c.user_id == users.c.id)
        .where(users.c.disabled_at_ms.is_(None))
    )


def _by_session() -> sa.Select:
    at = (sessions.c.user_id == users.c.id) & (sessions.c.organisation_id == memberships.c.organisation_id)
    return (
        _person(sessions.c.organisation_id, sessions.c.seen_at_ms)
        .join(sessions, at)
        .where(sessions.c.id == sa.bindparam("id"), sessions.c.ended_at_ms.is_(None))
        .where(sessions.c.expires_at_ms > sa.bindparam("now"))
    )


def _by_token() -> sa.Select:
    at = (tokens.c.user_id == users.c.id) & (tokens.c.organisation_id == memberships.c.organisation_id)
    return (
        _person(tokens.c.organisation_id)
        .join(tokens, at)
        .where(tokens.c.id == sa.bindparam("id"), tokens.c.ended_at_ms.is_(None))
        .where(sa.or_(tokens.c.expires_at_ms.is_(None), tokens.c.expires_at_ms > sa.bindparam("now")))
    )


async def by_session(tx: Tx, session_id: str, now_ms: int) -> sa.Row[Any] | None:
    """Every request of a browser asks this."""
    return await tx.one(kept(tx, ("by session",), _by_session), {"id": session_id, "now": now_ms})


async def by_token(tx: Tx, token_id: str, now_ms: int) -> sa.Row[Any] | None:
    """Every request of a program asks this."""
    return await tx.one(kept(tx, ("by token",), _by_token), {"id": token_id, "now": now_ms})


async def by_name(tx: Tx, name: str) -> sa.Row[Any] | None:
    return await tx.one(sa.select(users).where(users.c.name == name, users.c.disabled_at_ms.is_(None)))


async def first_admin(tx: Tx, organisation: str) -> sa.Row[Any] | None:
    """The oldest account with the admin role of an organisation."""
    return await tx.one(
        sa.select(users)
        .join(memberships, memberships.c.user_id == users.c.id)
        .where(
            memberships.c.organisation_id == organisation,
            memberships.c.role == "admin",
            users.c.disabled_at_ms.is_(None),
        )
        .order_by(users.c.created_at_ms, users.c.id)
    )


async def add_admin(tx: Tx, organisation: str, user_id: str, name: str, password: str | None, now_ms: int) -> bool:
    """The organisation and its first account. False when another process was quicker."""
    await tx.insert_new(organisations, {"organisation_id": organisation, "name": organisation, "created_at_ms": now_ms})
    new = await tx.insert_new(
        users,
        {
            "id": user_id,
            "organisation_id": organisation,
            "name": name,
            "label": name,
            "password": password,
            "created_at_ms": now_ms,
        },
    )
    if new:
        await tx.insert_new(
            memberships,
            {"user_id": user_id, "organisation_id": organisation, "role": "admin", "created_at_ms": now_ms},
        )
    return new


async def set_password(tx: Tx, user_id: str, password: str) -> None:
    await tx.execute(users.update().where(users.c.id == user_id).values(password=password))


async def add_session(tx: Tx, **values: Any) -> None:
    await tx.execute(sessions.insert().values(**values))
    await tx.execute(users.update().where(users.c.id == values["user_id"]).values(signed_in_at_ms=values["created_at_ms"]))


async def touch_session(tx: Tx, session_id: str, now_ms: int, expires_at_ms: int) -> None:
    await tx.execute(sessions.update().where(sessions.c.id == session_id).values(seen_at_ms=now_ms, expires_at_ms=expires_at_ms))


async def end_session(tx: Tx, session_id: str, now_ms: int) -> None:
    await tx.execute(
        sessions.update().where(sessions.c.id == session_id, sessions.c.ended_at_ms.is_(None)).values(ended_at_ms=now_ms)
    )


async def end_other_sessions(tx: Tx, user_id: str, session_id: str, now_ms: int) -> None:
    """End all sessions of a person but this one."""
    await tx.execute(
        sessions.update()
        .where(sessions.c.user_id == user_id, sessions.c.id != session_id, sessions.c.ended_at_ms.is_(None))
        .values(ended_at_ms=now_ms)
    )


async def add_link(tx: Tx, link_id: str, user_id: str, organisation: str, now_ms: int, until_ms: int) -> None:
    await tx.execute(
        login_links.insert().values(
            id=link_id,
            organisation_id=organisation,
            user_id=user_id,
            created_at_ms=now_ms,
            expires_at_ms=until_ms,
        )
    )


async def use_link(tx: Tx, link_id: str, now_ms: int) -> sa.Row[Any] | None:
    """Mark a link as used and return it; None when it is used, too old or unknown. One statement decides, so once only."""
    used = await tx.execute(
        login_links.update()
        .where(
            login_links.c.id == link_id,
            login_links.c.used_at_ms.is_(None),
            login_links.c.expires_at_ms > now_ms,
        )
        .values(used_at_ms=now_ms)
    )
    if used.rowcount == 0:
        return None
    return await tx.one(sa.select(login_links).where(login_links.c.id == link_id))


async def add_token(
    tx: Tx, token_id: str, user_id: str, organisation: str, label: str, now_ms: int, until_ms: int | None = None
) -> None:
    await tx.insert_new(
        tokens,
        {
            "id": token_id,
            "organisation_id": organisation,
            "user_id": user_id,
            "label": label,
            "created_at_ms": now_ms,
            "expires_at_ms": until_ms,
        },
    )


async def end_tokens(tx: Tx, organisation: str, label: str, now_ms: int, but: str = "") -> None:
    """End the tokens with this label, but one."""
    await tx.execute(
        tokens.update()
        .where(
            tokens.c.organisation_id == organisation,
            tokens.c.label == label,
            tokens.c.id != but,
            tokens.c.ended_at_ms.is_(None),
        )
        .values(ended_at_ms=now_ms)
    )


async def tokens_of(tx: Tx, user_id: str, now_ms: int) -> Sequence[sa.Row[Any]]:
    """Tokens of a person that work, newest first."""
    return await tx.all(
        sa.select(tokens)
        .where(
            tokens.c.user_id == user_id,
            tokens.c.ended_at_ms.is_(None),
            sa.or_(tokens.c.expires_at_ms.is_(None), tokens.c.expires_at_ms > now_ms),
        )
        .order_by(tokens.c.created_at_ms.desc(), tokens.c.id)
    )


async def end_token(tx: Tx, organisation: str, user_id: str, token_id: str, now_ms: int) -> str | None:
    """End one token of a person. Returns what it was called, None when there is no such one."""
    mine = sa.and_(
        tokens.c.organisation_id == organisation,
        tokens.c.user_id == user_id,
        tokens.c.id == token_id,
        tokens.c.ended_at_ms.is_(None),
    )
    label = await tx.scalar(sa.select(tokens.c.label).where(mine))
    if label is not None:
        await tx.execute(tokens.update().where(mine).values(ended_at_ms=now_ms))
    return label


async def first_form_key(tx: Tx, organisation: str, fresh: str, now_ms: int) -> None:
    """The key of forms' tokens, unless another instance has made one."""
    await tx.insert_new(keys, {"name": FORM_KEY, "organisation_id": organisation, "value": fresh, "created_at_ms": now_ms})


async def form_keys(tx: Tx, since_ms: int) -> list[str]:
    """The keys of forms' tokens, which replicas share: the newest, then those replaced since then; empty when there is none."""
    newest = await tx.scalar(sa.select(keys.c.value).where(keys.c.name == FORM_KEY))
    former = sa.select(keys.c.value).where(keys.c.name.like(f"{FORM_KEY}.%"), keys.c.created_at_ms > since_ms)
    return [newest, *(row.value for row in await tx.all(former.order_by(keys.c.created_at_ms.desc())))] if newest else []


async def replace_form_key(tx: Tx, organisation: str, fresh: str, now_ms: int, *, keep: bool) -> None:
    """`fresh` is the newest; what was that is kept as a former one, with the time, or all former ones go."""
    before = await tx.scalar(sa.select(keys.c.value).where(keys.c.name == FORM_KEY))
    if not keep:
        await tx.execute(keys.delete().where(keys.c.name.like(f"{FORM_KEY}.%")))
    elif before is not None:
        row = {"name": f"{FORM_KEY}.{ids.uuid7()}", "organisation_id": organisation, "value": before, "created_at_ms": now_ms}
        await tx.execute(keys.insert().values(row))
    row = {"name": FORM_KEY, "organisation_id": organisation, "value": fresh, "created_at_ms": now_ms}
    await tx.upsert(keys, row, ["name"])


async def purge(tx: Tx, now_ms: int) -> None:
    """Remove sessions and links that ended a day ago."""
    day = now_ms - 86_400_000
    await tx.execute(sessions.delete().where(sa.or_(sessions.c.expires_at_ms < day, sessions.c.ended_at_ms < day)))
    await tx.execute(login_links.delete().where(login_links.c.expires_at_ms < day))
