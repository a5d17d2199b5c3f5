"""Services, runs, scans with their areas, and findings."""

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
        sa.Column("branch", sa.Text, nullable=False),
        sa.Column("sample", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_services"),
    )
    op.create_table(
        "runs",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("organisation_id", sa.Text, nullable=False),
        sa.Column("service", sa.Text, nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("commit_id", sa.Text, nullable=False),
        sa.Column("branch", sa.Text, nullable=False),
        sa.Column("repository_url", sa.Text, nullable=False),
        sa.Column("credential", sa.Text, nullable=True),
        sa.Column("dockerfile", sa.Text, nullable=False),
        sa.Column("sample", sa.Boolean, nullable=False),
        sa.Column("made_at_ms", sa.BigInteger, nullable=False),
        sa.Column("stopped", sa.Text, nullable=False, server_default=""),
        sa.Column("ended_at_ms", sa.BigInteger, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_runs"),
    )
    op.create_index("ix_runs_service", "runs", ["service"])
    op.create_table(
        "scans",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("organisation_id", sa.Text, nullable=False),
        sa.Column("service", sa.Text, nullable=False),
        sa.Column("run", sa.Text, nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("commit_id", sa.Text, nullable=False),
        sa.Column("image_id", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("queued_at_ms", sa.BigInteger, nullable=False),
        sa.Column("started_at_ms", sa.BigInteger, nullable=True),
        sa.Column("ended_at_ms", sa.BigInteger, nullable=True),
        sa.Column("log", sa.Text, nullable=True),
        sa.UniqueConstraint("run", "kind", "image_id", name="uq_scans_run"),
        sa.PrimaryKeyConstraint("id", name="pk_scans"),
    )
    op.create_index("ix_scans_run", "scans", ["run"])
    op.create_table(
        "scan_areas",
        sa.Column("scan", sa.Text, nullable=False),
        sa.Column("area", sa.Text, nullable=False),
        sa.Column("organisation_id", sa.Text, nullable=False),
        sa.Column("service", sa.Text, nullable=False),
        sa.Column("branch", sa.Text, nullable=False),
        sa.Column("run", sa.Text, nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("code", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("engines", sa.JSON, nullable=False),
        sa.Column("coverage", sa.JSON, nullable=False),
        sa.Column("counts", sa.JSON, nullable=False),
        sa.Column("findings_total", sa.Integer, nullable=False),
        sa.Column("data_date", sa.Text, nullable=True),
        sa.Column("sample_data", sa.Boolean, nullable=False),
        sa.Column("report", sa.Text, nullable=True),
        sa.Column("sbom", sa.Text, nullable=True),
        sa.Column("duration_ms", sa.BigInteger, nullable=False),
        sa.Column("ended_at_ms", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("scan", "area", name="pk_scan_areas"),
    )
    op.create_table(
        "findings",
        sa.Column("service", sa.Text, nullable=False),
        sa.Column("branch", sa.Text, nullable=False),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("organisation_id", sa.Text, nullable=False),
        sa.Column("area", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("rule", sa.Text, nullable=False),
        sa.Column("severity", sa.Text, nullable=False),
        sa.Column("confidence", sa.Text, nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("line", sa.Integer, nullable=True),
        sa.Column("commit_id", sa.Text, nullable=False),
        sa.Column("package", sa.Text, nullable=False),
        sa.Column("installed", sa.Text, nullable=False),
        sa.Column("fix", sa.Text, nullable=False),
        sa.Column("licence", sa.Text, nullable=False),
        sa.Column("triage", sa.Text, nullable=False, server_default=""),
        sa.Column("first_seen_run", sa.Text, nullable=False),
        sa.Column("first_seen_number", sa.BigInteger, nullable=False),
        sa.Column("first_seen_at_ms", sa.BigInteger, nullable=False),
        sa.Column("last_seen_run", sa.Text, nullable=False),
        sa.Column("last_seen_number", sa.BigInteger, nullable=False),
        sa.Column("last_seen_at_ms", sa.BigInteger, nullable=False),
        sa.Column("fixed_at_ms", sa.BigInteger, nullable=True),
        sa.Column("reopened", sa.Integer, nullable=False, server_default="0"),
        sa.PrimaryKeyConstraint("service", "branch", "id", name="pk_findings"),
    )
    op.create_index("ix_scan_areas_newest", "scan_areas", ["service", "branch", "area", "number"])
    op.create_index("ix_findings_open", "findings", ["service", "branch", "area", "state"])


def downgrade() -> None:
    op.drop_table("findings")
    op.drop_table("scan_areas")
    op.drop_table("scans")
    op.drop_table("runs")
    op.drop_table("services")
    drop_chassis_tables()
