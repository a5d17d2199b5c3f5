"""Runtimes, targets, placements and entry ports."""

import sqlalchemy as sa
from alembic import op
from shared.migrate import create_chassis_tables, drop_chassis_tables

revision = "2026-11-21-0001"
down_revision = None


def upgrade() -> None:
    create_chassis_tables()
    op.create_table(
        "runtimes",
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
    op.create_table(
        "targets",
        sa.Column("organisation_id", sa.Text, primary_key=True),
        sa.Column("service", sa.Text, primary_key=True),
        sa.Column("environment", sa.Text, primary_key=True),
        sa.Column("runtime", sa.Text, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("fence", sa.BigInteger, nullable=False),
        sa.Column("release", sa.Text, nullable=True),
        sa.Column("release_number", sa.BigInteger, nullable=True),
        sa.Column("release_fence", sa.BigInteger, nullable=True),
        sa.Column("run", sa.Text, nullable=True),
        sa.Column("container", sa.Text, nullable=True),
        sa.Column("image_id", sa.Text, nullable=True),
        sa.Column("url", sa.Text, nullable=True),
        sa.Column("changed_at_ms", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("key", name="uq_targets_key"),
        sa.UniqueConstraint("host", name="uq_targets_host"),
    )
    op.create_table(
        "placements",
        sa.Column("release", sa.Text, primary_key=True),
        sa.Column("fence", sa.BigInteger, primary_key=True),
        sa.Column("organisation_id", sa.Text, nullable=False),
        sa.Column("service", sa.Text, nullable=False),
        sa.Column("environment", sa.Text, nullable=False),
        sa.Column("run", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("code", sa.Text, nullable=False, server_default=""),
        sa.Column("ordered_at_ms", sa.BigInteger, nullable=False),
        sa.Column("ended_at_ms", sa.BigInteger, nullable=True),
    )
    op.create_index("ix_placements_target", "placements", ["organisation_id", "service", "environment"])
    op.create_table(
        "entry_ports",
        sa.Column("runtime", sa.Text, primary_key=True),
        sa.Column("port", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("organisation_id", sa.Text, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("given_at_ms", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("key", name="uq_entry_ports_key"),
    )


def downgrade() -> None:
    for table in ("entry_ports", "placements", "targets", "runtimes"):
        op.drop_table(table)
    drop_chassis_tables()
