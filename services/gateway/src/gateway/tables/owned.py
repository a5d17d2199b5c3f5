"""What only the gateway knows: people, sessions, credentials (ciphertext), the catalogue, intents, the audit chain.

Never rebuilt from facts. Tokens of sessions, links and programs are stored as SHA-256 only.
"""

from __future__ import annotations

import sqlalchemy as sa
from shared.tables import NAMING, outbox_tables

metadata = sa.MetaData(naming_convention=NAMING)
outbox_tables(metadata)


def _organisation() -> sa.Column:
    return sa.Column("organisation_id", sa.Text, nullable=False)


def _text(name: str) -> sa.Column:
    return sa.Column(name, sa.Text, nullable=False, default="", server_default="")


def _time(name: str, *, required: bool = False) -> sa.Column:
    return sa.Column(name, sa.BigInteger, nullable=not required)


organisations = sa.Table(
    "organisations",
    metadata,
    sa.Column("organisation_id", sa.Text, primary_key=True),
    _text("name"),
    _time("created_at_ms", required=True),
)

users = sa.Table(
    "users",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    # The organisation in which the account was made; where a person may act is in `memberships`.
    _organisation(),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    _text("label"),
    # argon2id in its own text form; None: signs in by link only.
    sa.Column("password", sa.Text),
    _time("created_at_ms", required=True),
    _time("disabled_at_ms"),
    _time("signed_in_at_ms"),
)

memberships = sa.Table(
    "memberships",
    metadata,
    sa.Column("user_id", sa.Text, primary_key=True),
    sa.Column("organisation_id", sa.Text, primary_key=True),
    # There is one role so far: admin.
    sa.Column("role", sa.Text, nullable=False),
    _time("created_at_ms", required=True),
)

sessions = sa.Table(
    "sessions",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    _organisation(),
    sa.Column("user_id", sa.Text, nullable=False, index=True),
    _text("address"),
    _text("agent"),
    _time("created_at_ms", required=True),
    _time("seen_at_ms", required=True),
    _time("expires_at_ms", required=True),
    _time("ended_at_ms"),
)

login_links = sa.Table(
    "login_links",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    _organisation(),
    sa.Column("user_id", sa.Text, nullable=False),
    _time("created_at_ms", required=True),
    _time("expires_at_ms", required=True),
    _time("used_at_ms"),
)

tokens = sa.Table(
    "tokens",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    _organisation(),
    sa.Column("user_id", sa.Text, nullable=False),
    # What it is called by people; "this machine" for the token file of the command line.
    _text("label"),
    _time("created_at_ms", required=True),
    _time("expires_at_ms"),
    _time("ended_at_ms"),
)

# Values that replicas must share and no message carries, such as the key of the CSRF tokens.
keys = sa.Table(
    "keys",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    _organisation(),
    sa.Column("value", sa.Text, nullable=False),
    _time("created_at_ms", required=True),
)

catalogue = sa.Table(
    "catalogue",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    _organisation(),
    sa.Column("name", sa.Text, nullable=False),
    _text("description"),
    _text("repository_url"),
    _text("branch"),
    _text("dockerfile"),
    _text("context"),
    sa.Column("sample", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("credential_id", sa.Text),
    _text("created_by"),
    _time("created_at_ms", required=True),
    _time("changed_at_ms", required=True),
)
sa.Index("uq_catalogue_name", catalogue.c.organisation_id, catalogue.c.name, unique=True)

# One row per credential and service that may open it.
credentials = sa.Table(
    "credentials",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("recipient", sa.Text, primary_key=True),
    _organisation(),
    sa.Column("service_id", sa.Text, nullable=False),
    # base64 of a libsodium sealed box; the gateway has no key that opens it.
    sa.Column("sealed", sa.Text, nullable=False),
    # The id of that key (shared.sealing.key_id); empty of rows from before there were ids.
    sa.Column("sealed_to", sa.Text, nullable=False, server_default=""),
    _time("created_at_ms", required=True),
)

intents = sa.Table(
    "intents",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    _organisation(),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("order_type", sa.Text, nullable=False),
    sa.Column("service_id", sa.Text, nullable=False),
    sa.Column("body", sa.JSON, nullable=False),
    # asked, accepted or refused. Asked for long means: not answered yet, never refused.
    sa.Column("state", sa.Text, nullable=False),
    _text("code"),
    _text("reason"),
    _text("advice"),
    sa.Column("data", sa.JSON, nullable=False, default=dict),
    _time("asked_at_ms", required=True),
    _time("answered_at_ms"),
)

# Answers to POSTs with an Idempotency-Key, so that a repeat gets the first answer again.
idempotency = sa.Table(
    "idempotency",
    metadata,
    sa.Column("actor", sa.Text, primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    _organisation(),
    sa.Column("request_hash", sa.Text, nullable=False),
    # None while the first request is still being answered.
    sa.Column("status", sa.Integer),
    sa.Column("body", sa.JSON),
    _time("created_at_ms", required=True),
)

audit_heads = sa.Table(
    "audit_heads",
    metadata,
    sa.Column("organisation_id", sa.Text, primary_key=True),
    sa.Column("number", sa.BigInteger, nullable=False),
    sa.Column("hash", sa.Text, nullable=False),
)

audit_rows = sa.Table(
    "audit_rows",
    metadata,
    sa.Column("organisation_id", sa.Text, primary_key=True),
    sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
    _time("at_ms", required=True),
    _text("category"),
    _text("action"),
    _text("actor"),
    _text("object"),
    _text("outcome"),
    _text("detail"),
    # SHA-256 over the row before's hash and this row's values.
    sa.Column("before", sa.Text, nullable=False),
    sa.Column("hash", sa.Text, nullable=False),
)
