"""The chassis' own tables, which every service has on its own metadata: outbox, position, inbox, parked, dead letters, jobs."""

from __future__ import annotations

import sqlalchemy as sa

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}

# SQLite numbers rows by itself only for INTEGER, PostgreSQL wants BIGINT for a table that grows for ever.
Serial = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def outbox_tables(metadata: sa.MetaData) -> None:
    """What a database needs that announces: the outbox and the lease of its relay."""
    sa.Table(
        "outbox",
        metadata,
        sa.Column("position", Serial, primary_key=True, autoincrement=True),
        sa.Column("id", sa.Text, nullable=False, unique=True),
        sa.Column("organisation_id", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("headers", sa.JSON, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("sent", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("created_at_ms", sa.BigInteger, nullable=False),
    )
    sa.Index(
        "ix_outbox_unsent",
        metadata.tables["outbox"].c.position,
        sqlite_where=sa.text("sent = 0"),
        postgresql_where=sa.text("sent = false"),
    )
    sa.Table(
        "lease",
        metadata,
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("organisation_id", sa.Text, nullable=False, server_default="_"),
        sa.Column("holder", sa.Text, nullable=False),
        sa.Column("token", sa.BigInteger, nullable=False),
        sa.Column("until_ms", sa.BigInteger, nullable=False),
    )


def inbox_tables(metadata: sa.MetaData) -> None:
    """What a database needs that hears: the position, seen ids, messages that wait for a retry, and those given up."""
    sa.Table(
        "stream_position",
        metadata,
        sa.Column("durable", sa.Text, primary_key=True),
        sa.Column("organisation_id", sa.Text, nullable=False, server_default="_"),
        sa.Column("stream_created", sa.Text, nullable=False),
        sa.Column("position", sa.BigInteger, nullable=False),
    )
    sa.Table(
        "inbox",
        metadata,
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("organisation_id", sa.Text, nullable=False),
        sa.Column("position", sa.BigInteger, nullable=False, index=True),
    )
    for name in ("parked", "dead_letter"):
        sa.Table(
            name,
            metadata,
            sa.Column("id", sa.Text, primary_key=True),
            sa.Column("organisation_id", sa.Text, nullable=False),
            sa.Column("key", sa.Text, nullable=False, index=True),
            sa.Column("position", sa.BigInteger, nullable=False, index=True),
            sa.Column("subject", sa.Text, nullable=False),
            sa.Column("headers", sa.JSON, nullable=False),
            sa.Column("body", sa.Text, nullable=False),
            sa.Column("stored_at_ms", sa.BigInteger, nullable=False),
            sa.Column("attempts", sa.Integer, nullable=False),
            sa.Column("due_at_ms", sa.BigInteger, nullable=False),
            sa.Column("code", sa.Text, nullable=False),
            sa.Column("error", sa.Text, nullable=False),
        )


def job_tables(metadata: sa.MetaData) -> None:
    """Long work: a row per job with its lease, fencing token and deadline. `state` is queued, running or ended."""
    job = sa.Table(
        "job",
        metadata,
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("organisation_id", sa.Text, nullable=False),
        sa.Column("number", Serial, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("run", sa.Text, nullable=False, index=True),
        sa.Column("payload", sa.JSON, nullable=False),
        sa.Column("context", sa.JSON, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False, server_default=""),
        sa.Column("token", sa.Integer, nullable=False, server_default="0"),
        sa.Column("failures", sa.Integer, nullable=False, server_default="0"),
        sa.Column("holder", sa.Text, nullable=False, server_default=""),
        sa.Column("lease_until_ms", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("deadline_seconds", sa.Integer, nullable=False),
        sa.Column("running_ms", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("not_before_ms", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("cancel", sa.Text, nullable=False, server_default=""),
        sa.Column("created_at_ms", sa.BigInteger, nullable=False),
        sa.Column("ended_at_ms", sa.BigInteger, nullable=True),
    )
    sa.Index(
        "ix_job_open",
        job.c.kind,
        job.c.number,
        sqlite_where=sa.text("state <> 'ended'"),
        postgresql_where=sa.text("state <> 'ended'"),
    )


def chassis_tables(metadata: sa.MetaData) -> None:
    """All of them: what a service that announces, hears and works needs."""
    outbox_tables(metadata)
    inbox_tables(metadata)
    job_tables(metadata)
