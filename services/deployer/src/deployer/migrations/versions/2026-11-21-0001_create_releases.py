"""Environments, requests, releases and how they went."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from shared.migrate import create_chassis_tables, drop_chassis_tables

revision = "2026-11-21-0001"
down_revision = None


def upgrade() -> None:
    create_chassis_tables()
    op.create_table(
        "services",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("organisation_id", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("deleted_at_ms", sa.BigInteger, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_services"),
    )
    op.create_table(
        "runtimes",
        sa.Column("organisation_id", sa.Text, nullable=False),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("reachable", sa.Boolean, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("organisation_id", "id", name="pk_runtimes"),
    )
    op.create_table(
        "runs",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("organisation_id", sa.Text, nullable=False),
        sa.Column("service_id", sa.Text, nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("service_name", sa.Text, nullable=False),
        sa.Column("begun_by", sa.Text, nullable=False),
        sa.Column("commit_id", sa.Text, nullable=False),
        sa.Column("environments", sa.JSON, nullable=False),
        sa.Column("ended_at_ms", sa.BigInteger, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_runs"),
    )
    op.create_table(
        "environments",
        sa.Column("service_id", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("organisation_id", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("runtime", sa.Text, nullable=False),
        sa.Column("container_port", sa.Integer, nullable=False),
        sa.Column("health_path", sa.Text, nullable=False),
        sa.Column("own_port", sa.Boolean, nullable=False),
        sa.Column("variables", sa.JSON, nullable=False),
        sa.Column("observe_seconds", sa.Integer, nullable=False),
        sa.Column("fence", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("last_number", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("newest_run", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("release_id", sa.Text, nullable=True),
        sa.Column("url", sa.Text, nullable=False, server_default=""),
        sa.Column("hold", sa.JSON, nullable=True),
        sa.PrimaryKeyConstraint("service_id", "name", name="pk_environments"),
    )
    op.create_table(
        "requests",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("organisation_id", sa.Text, nullable=False),
        sa.Column("service_id", sa.Text, nullable=False),
        sa.Column("run_id", sa.Text, nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("environment", sa.Text, nullable=False),
        sa.Column("environment_kind", sa.Text, nullable=False),
        sa.Column("cause", sa.Text, nullable=False),
        sa.Column("back_to", sa.Text, nullable=True),
        sa.Column("image", sa.Text, nullable=False),
        sa.Column("image_id", sa.Text, nullable=False),
        sa.Column("digest", sa.Text, nullable=True),
        sa.Column("commit_id", sa.Text, nullable=False),
        sa.Column("version", sa.Text, nullable=False),
        sa.Column("version_by_hand", sa.Boolean, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("decision_id", sa.Text, nullable=True),
        sa.Column("asked_at_ms", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_requests"),
        sa.UniqueConstraint("run_id", "environment", name="uq_requests_run_id_environment"),
    )
    op.create_index("ix_requests_queue", "requests", ["service_id", "environment", "state"])
    op.create_index("ix_requests_state", "requests", ["state", "asked_at_ms"])
    op.create_table(
        "releases",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("organisation_id", sa.Text, nullable=False),
        sa.Column("service_id", sa.Text, nullable=False),
        sa.Column("environment", sa.Text, nullable=False),
        sa.Column("environment_kind", sa.Text, nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("run_id", sa.Text, nullable=False),
        sa.Column("run_number", sa.BigInteger, nullable=False),
        sa.Column("request_id", sa.Text, nullable=False),
        sa.Column("decision_id", sa.Text, nullable=True),
        sa.Column("cause", sa.Text, nullable=False),
        sa.Column("runtime", sa.Text, nullable=False),
        sa.Column("service_name", sa.Text, nullable=False),
        sa.Column("image", sa.Text, nullable=False),
        sa.Column("image_id", sa.Text, nullable=False),
        sa.Column("digest", sa.Text, nullable=True),
        sa.Column("commit_id", sa.Text, nullable=False),
        sa.Column("version", sa.Text, nullable=False),
        sa.Column("version_by_hand", sa.Boolean, nullable=False),
        sa.Column("container_port", sa.Integer, nullable=False),
        sa.Column("health_path", sa.Text, nullable=False),
        sa.Column("own_port", sa.Boolean, nullable=False),
        sa.Column("variables", sa.JSON, nullable=False),
        sa.Column("observe_seconds", sa.Integer, nullable=False),
        sa.Column("fence", sa.BigInteger, nullable=False),
        sa.Column("origin_id", sa.Text, nullable=False),
        sa.Column("back_to", sa.Text, nullable=True),
        sa.Column("before_id", sa.Text, nullable=True),
        sa.Column("planned_at_ms", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_releases"),
        sa.UniqueConstraint("request_id", name="uq_releases_request_id"),
        sa.UniqueConstraint("service_id", "environment", "number", name="uq_releases_service_id_environment_number"),
    )
    op.create_table(
        "rollouts",
        sa.Column("release_id", sa.Text, nullable=False),
        sa.Column("organisation_id", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("started", sa.Boolean, nullable=False),
        sa.Column("served", sa.Boolean, nullable=False),
        sa.Column("heard_at_ms", sa.BigInteger, nullable=False),
        sa.Column("ready_at_ms", sa.BigInteger, nullable=True),
        sa.Column("code", sa.Text, nullable=False, server_default=""),
        sa.Column("reason", sa.Text, nullable=False, server_default=""),
        sa.PrimaryKeyConstraint("release_id", name="pk_rollouts"),
    )
    op.create_index("ix_rollouts_state", "rollouts", ["state", "heard_at_ms"])


def downgrade() -> None:
    for table in ("rollouts", "releases", "requests", "environments", "runs", "runtimes", "services"):
        op.drop_table(table)
    drop_chassis_tables()
