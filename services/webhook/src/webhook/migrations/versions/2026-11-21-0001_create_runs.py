"""Services, rules, endpoints, the delivery ledger, runs and steps."""

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
        sa.Column("repository_url", sa.Text, nullable=False),
        sa.Column("branch", sa.Text, nullable=False),
        sa.Column("credential", sa.Text, nullable=True),
        sa.Column("dockerfile", sa.Text, nullable=False),
        sa.Column("context", sa.Text, nullable=False),
        sa.Column("sample", sa.Boolean, nullable=False),
        sa.Column("last_number", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("deleted_at_ms", sa.BigInteger, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_services"),
    )
    op.create_table(
        "rules",
        sa.Column("service_id", sa.Text, nullable=False),
        sa.Column("organisation_id", sa.Text, nullable=False),
        sa.Column("branches", sa.JSON, nullable=False),
        sa.Column("tags", sa.JSON, nullable=False),
        sa.Column("environments", sa.JSON, nullable=False),
        sa.Column("supersede", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("service_id", name="pk_rules"),
        sa.ForeignKeyConstraint(["service_id"], ["services.id"], name="fk_rules_service_id_services"),
    )
    op.create_table(
        "endpoints",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("organisation_id", sa.Text, nullable=False),
        sa.Column("service_id", sa.Text, nullable=False),
        sa.Column("label", sa.Text, nullable=False),
        sa.Column("provider", sa.Text, nullable=False),
        sa.Column("sealed_secret", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("last_accepted_at_ms", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("created_at_ms", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_endpoints"),
        sa.ForeignKeyConstraint(["service_id"], ["services.id"], name="fk_endpoints_service_id_services"),
    )
    op.create_index("ix_endpoints_service_id", "endpoints", ["service_id"])
    op.create_table(
        "deliveries",
        sa.Column("id", sa.Text, nullable=False),
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
        sa.PrimaryKeyConstraint("id", name="pk_deliveries"),
        sa.UniqueConstraint("endpoint_id", "key", name="uq_deliveries_endpoint_id"),
    )
    op.create_index("ix_deliveries_ledger", "deliveries", ["service_id", "received_at_ms"])
    op.create_index("ix_deliveries_kept", "deliveries", ["endpoint_id", "verdict", "received_at_ms"])
    op.create_table(
        "runs",
        sa.Column("id", sa.Text, nullable=False),
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
        sa.PrimaryKeyConstraint("id", name="pk_runs"),
        sa.UniqueConstraint("service_id", "number", name="uq_runs_service_id"),
    )
    op.create_index("ix_runs_ref", "runs", ["service_id", "ref", "number"])
    op.create_index(
        "ix_runs_open",
        "runs",
        ["born_at_ms"],
        sqlite_where=sa.text("ended_at_ms IS NULL"),
        postgresql_where=sa.text("ended_at_ms IS NULL"),
    )
    op.create_table(
        "steps",
        sa.Column("run_id", sa.Text, nullable=False),
        sa.Column("step", sa.Text, nullable=False),
        sa.Column("part", sa.Text, nullable=False),
        sa.Column("organisation_id", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("code", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("heard_at_ms", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("run_id", "step", "part", name="pk_steps"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_steps_run_id_runs"),
    )


def downgrade() -> None:
    for table in ("steps", "runs", "deliveries", "endpoints", "rules", "services"):
        op.drop_table(table)
    drop_chassis_tables()
