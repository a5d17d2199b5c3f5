"""Create services, builds and releases."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from shared.migrate import create_chassis_tables, drop_chassis_tables

revision = "2026-11-21-0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    create_chassis_tables()
    op.create_table(
        "services",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("organisation_id", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("deleted_at_ms", sa.BigInteger),
    )
    op.create_table(
        "builds",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("organisation_id", sa.Text, nullable=False),
        sa.Column("service_id", sa.Text, nullable=False),
        sa.Column("service_name", sa.Text, nullable=False),
        sa.Column("run_id", sa.Text, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("commit", sa.Text, nullable=False),
        sa.Column("ref", sa.Text, nullable=False),
        sa.Column("version", sa.Text, nullable=False),
        sa.Column("version_by_hand", sa.Boolean, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False, server_default="0"),
        sa.Column("image", sa.Text),
        sa.Column("image_id", sa.Text),
        sa.Column("digest", sa.Text),
        sa.Column("image_removed_at_ms", sa.BigInteger),
        sa.Column("base_image", sa.Text, nullable=False, server_default=""),
        sa.Column("size_bytes", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("steps", sa.Integer, nullable=False, server_default="0"),
        sa.Column("steps_cached", sa.Integer, nullable=False, server_default="0"),
        sa.Column("stage", sa.Text, nullable=False, server_default=""),
        sa.Column("code", sa.Text, nullable=False, server_default=""),
        sa.Column("reason", sa.Text, nullable=False, server_default=""),
        sa.Column("advice", sa.Text, nullable=False, server_default=""),
        sa.Column("stages_ms", sa.JSON, nullable=False),
        sa.Column("duration_ms", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("log", sa.Text),
        sa.Column("log_lines", sa.Integer, nullable=False, server_default="0"),
        sa.Column("queued_at_ms", sa.BigInteger, nullable=False),
        sa.Column("started_at_ms", sa.BigInteger),
        sa.Column("ended_at_ms", sa.BigInteger),
        sa.UniqueConstraint("run_id", name="uq_builds_run_id"),
    )
    op.create_index("ix_builds_service_id_version", "builds", ["service_id", "version"])
    op.create_index("ix_builds_service_id_queued_at_ms", "builds", ["service_id", "queued_at_ms"])
    op.create_index(
        "ix_builds_open",
        "builds",
        ["service_id"],
        sqlite_where=sa.text("ended_at_ms is null"),
        postgresql_where=sa.text("ended_at_ms is null"),
    )
    op.create_table(
        "releases",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("organisation_id", sa.Text, nullable=False),
        sa.Column("service_id", sa.Text, nullable=False),
        sa.Column("environment_id", sa.Text, nullable=False),
        sa.Column("image_id", sa.Text, nullable=False),
        sa.Column("ready_at_ms", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_releases_service_id_environment_id", "releases", ["service_id", "environment_id"])


def downgrade() -> None:
    for table in ("releases", "builds", "services"):
        op.drop_table(table)
    drop_chassis_tables()
