"""The tables of this service: what it knows of services, endpoints and rules; the delivery ledger; runs and their steps."""

from __future__ import annotations

import sqlalchemy as sa
from shared.tables import NAMING, chassis_tables

metadata = sa.MetaData(naming_convention=NAMING)
chassis_tables(metadata)

services = sa.Table(
    "services",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("organisation_id", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("repository_url", sa.Text, nullable=False),
    sa.Column("branch", sa.Text, nullable=False),
    sa.Column("credential", sa.Text, nullable=True),
    sa.Column("dockerfile", sa.Text, nullable=False),
    sa.Column("context", sa.Text, nullable=False),
    sa.Column("sample", sa.Boolean, nullable=False),
    sa.Column("last_number", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("deleted_at_ms", sa.BigInteger, nullable=True),
)

# One row per service.
rules = sa.Table(
    "rules",
    metadata,
    sa.Column("service_id", sa.Text, sa.ForeignKey("services.id"), primary_key=True),
    sa.Column("organisation_id", sa.Text, nullable=False),
    sa.Column("branches", sa.JSON, nullable=False),
    sa.Column("tags", sa.JSON, nullable=False),
    sa.Column("environments", sa.JSON, nullable=False),
    sa.Column("supersede", sa.Boolean, nullable=False),
)

endpoints = sa.Table(
    "endpoints",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("organisation_id", sa.Text, nullable=False),
    sa.Column("service_id", sa.Text, sa.ForeignKey("services.id"), nullable=False, index=True),
    sa.Column("label", sa.Text, nullable=False),
    sa.Column("provider", sa.Text, nullable=False),
    sa.Column("sealed_secret", sa.Text, nullable=False),
    # The id of our key that it is sealed to (shared.sealing.key_id); empty of rows from before there were ids.
    sa.Column("sealed_to", sa.Text, nullable=False, server_default=""),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("last_accepted_at_ms", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("created_at_ms", sa.BigInteger, nullable=False),
)

# The ledger. `key` tells a repeat: the sender's id, else content hash and minute; NULL for what was refused, so that nobody
# without the secret can take an id away. `verdict` is run, ignored, refused (signed, but no delivery) or unsigned.
deliveries = sa.Table(
    "deliveries",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("organisation_id", sa.Text, nullable=False),
    sa.Column("service_id", sa.Text, nullable=False),
    sa.Column("endpoint_id", sa.Text, nullable=False),
    sa.Column("key", sa.Text, nullable=True),
    sa.Column("received_at_ms", sa.BigInteger, nullable=False),
    sa.Column("verdict", sa.Text, nullable=False),
    sa.Column("code", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("ref", sa.Text, nullable=False),
    sa.Column("commit_id", sa.Text, nullable=False),
    sa.Column("run_id", sa.Text, nullable=True),
    sa.Column("headers", sa.JSON, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=True),
    sa.Column("body_bytes", sa.Integer, nullable=False),
    sa.UniqueConstraint("endpoint_id", "key"),
    sa.Index("ix_deliveries_ledger", "service_id", "received_at_ms"),
    sa.Index("ix_deliveries_kept", "endpoint_id", "verdict", "received_at_ms"),
)

runs = sa.Table(
    "runs",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("organisation_id", sa.Text, nullable=False),
    sa.Column("service_id", sa.Text, nullable=False),
    sa.Column("number", sa.BigInteger, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("began_by", sa.Text, nullable=False),
    sa.Column("executor", sa.Text, nullable=False),
    sa.Column("cause", sa.Text, nullable=False),
    sa.Column("ref", sa.Text, nullable=False),
    sa.Column("before_id", sa.Text, nullable=False),
    sa.Column("commit_id", sa.Text, nullable=False),
    sa.Column("plan", sa.JSON, nullable=False),
    sa.Column("environments", sa.JSON, nullable=False),
    sa.Column("version", sa.Text, nullable=True),
    sa.Column("release_id", sa.Text, nullable=True),
    sa.Column("delivery_id", sa.Text, nullable=True),
    sa.Column("switching", sa.Boolean, nullable=False),
    sa.Column("born_at_ms", sa.BigInteger, nullable=False),
    sa.Column("heard_at_ms", sa.BigInteger, nullable=False),
    sa.Column("ended_at_ms", sa.BigInteger, nullable=True),
    sa.Column("outcome_step", sa.Text, nullable=True),
    sa.Column("outcome_code", sa.Text, nullable=False, server_default=""),
    sa.Column("outcome_reason", sa.Text, nullable=False, server_default=""),
    sa.UniqueConstraint("service_id", "number"),
    sa.Index("ix_runs_ref", "service_id", "ref", "number"),
    sa.Index(
        "ix_runs_open",
        "born_at_ms",
        sqlite_where=sa.text("ended_at_ms IS NULL"),
        postgresql_where=sa.text("ended_at_ms IS NULL"),
    ),
)

# A part of a step that was heard of; a part without a row waits. `part` is an area, an environment, or empty.
steps = sa.Table(
    "steps",
    metadata,
    sa.Column("run_id", sa.Text, sa.ForeignKey("runs.id"), primary_key=True),
    sa.Column("step", sa.Text, primary_key=True),
    sa.Column("part", sa.Text, primary_key=True),
    sa.Column("organisation_id", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("code", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("heard_at_ms", sa.BigInteger, nullable=False),
)
