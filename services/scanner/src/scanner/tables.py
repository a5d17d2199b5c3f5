"""The scanner's tables."""

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
    sa.Column("branch", sa.Text, nullable=False),
    sa.Column("sample", sa.Boolean, nullable=False),
)

runs = sa.Table(
    "runs",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("organisation_id", sa.Text, nullable=False),
    sa.Column("service", sa.Text, nullable=False, index=True),
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
)

scans = sa.Table(
    "scans",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("organisation_id", sa.Text, nullable=False),
    sa.Column("service", sa.Text, nullable=False),
    sa.Column("run", sa.Text, nullable=False, index=True),
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
)

scan_areas = sa.Table(
    "scan_areas",
    metadata,
    sa.Column("scan", sa.Text, primary_key=True),
    sa.Column("area", sa.Text, primary_key=True),
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
)
sa.Index("ix_scan_areas_newest", scan_areas.c.service, scan_areas.c.branch, scan_areas.c.area, scan_areas.c.number)

findings = sa.Table(
    "findings",
    metadata,
    sa.Column("service", sa.Text, primary_key=True),
    sa.Column("branch", sa.Text, primary_key=True),
    sa.Column("id", sa.Text, primary_key=True),
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
)
sa.Index("ix_findings_open", findings.c.service, findings.c.branch, findings.c.area, findings.c.state)
