"""The operator-proxy's tables: what its runtimes are, and what was put where."""

from __future__ import annotations

import sqlalchemy as sa
from shared.tables import NAMING, chassis_tables

metadata = sa.MetaData(naming_convention=NAMING)
chassis_tables(metadata)

runtimes = sa.Table(
    "runtimes",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("organisation_id", sa.Text, nullable=False),
    sa.Column("label", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("reachable", sa.Boolean, nullable=False),
    sa.Column("version", sa.Text, nullable=False),
    sa.Column("abilities", sa.JSON, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("changed_at_ms", sa.BigInteger, nullable=False),
)

targets = sa.Table(
    "targets",
    metadata,
    sa.Column("organisation_id", sa.Text, primary_key=True),
    sa.Column("service", sa.Text, primary_key=True),
    sa.Column("environment", sa.Text, primary_key=True),
    sa.Column("runtime", sa.Text, nullable=False),
    sa.Column("key", sa.Text, nullable=False, unique=True),
    sa.Column("host", sa.Text, nullable=False, unique=True),
    # The largest fence obeyed: what an order must not be below.
    sa.Column("fence", sa.BigInteger, nullable=False),
    # What serves now; null before the first switch and after the target was removed.
    sa.Column("release", sa.Text, nullable=True),
    sa.Column("release_number", sa.BigInteger, nullable=True),
    sa.Column("release_fence", sa.BigInteger, nullable=True),
    sa.Column("run", sa.Text, nullable=True),
    sa.Column("container", sa.Text, nullable=True),
    sa.Column("image_id", sa.Text, nullable=True),
    sa.Column("url", sa.Text, nullable=True),
    sa.Column("changed_at_ms", sa.BigInteger, nullable=False),
)

placements = sa.Table(
    "placements",
    metadata,
    sa.Column("release", sa.Text, primary_key=True),
    sa.Column("fence", sa.BigInteger, primary_key=True),
    sa.Column("organisation_id", sa.Text, nullable=False),
    sa.Column("service", sa.Text, nullable=False),
    sa.Column("environment", sa.Text, nullable=False),
    sa.Column("run", sa.Text, nullable=False),
    # Open while a job puts the release in place; then "placed" or "failed".
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("code", sa.Text, nullable=False, server_default=""),
    sa.Column("ordered_at_ms", sa.BigInteger, nullable=False),
    sa.Column("ended_at_ms", sa.BigInteger, nullable=True),
    sa.Index("ix_placements_target", "organisation_id", "service", "environment"),
)

entry_ports = sa.Table(
    "entry_ports",
    metadata,
    sa.Column("runtime", sa.Text, primary_key=True),
    sa.Column("port", sa.Integer, primary_key=True),
    sa.Column("organisation_id", sa.Text, nullable=False),
    sa.Column("key", sa.Text, nullable=False, unique=True),
    sa.Column("given_at_ms", sa.BigInteger, nullable=False),
)
