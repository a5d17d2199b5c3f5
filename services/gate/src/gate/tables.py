"""What the gate owns: the evidence it was told, the questions it was asked, its decisions."""

from __future__ import annotations

import sqlalchemy as sa
from shared.tables import NAMING, chassis_tables

metadata = sa.MetaData(naming_convention=NAMING)
chassis_tables(metadata)

# `tested_at_ms`: when a deploy to an environment that is not production first became ready.
services = sa.Table(
    "services",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("organisation_id", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("tested_at_ms", sa.BigInteger, nullable=True),
    sa.Column("deleted_at_ms", sa.BigInteger, nullable=True),
)

runs = sa.Table(
    "runs",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("organisation_id", sa.Text, nullable=False),
    sa.Column("service_id", sa.Text, nullable=False),
    sa.Column("number", sa.BigInteger, nullable=False),
    sa.Column("service_name", sa.Text, nullable=False),
    sa.Column("commit_id", sa.Text, nullable=False),
    sa.Column("plan", sa.JSON, nullable=False),
    sa.Column("image_id", sa.Text, nullable=False, server_default=""),
    sa.Column("ended_at_ms", sa.BigInteger, nullable=True),
)

# One row per run and area: the last that was heard. `state` as in domain.document.Evidence.
evidence = sa.Table(
    "evidence",
    metadata,
    sa.Column("run_id", sa.Text, primary_key=True),
    sa.Column("area", sa.Text, primary_key=True),
    sa.Column("organisation_id", sa.Text, nullable=False),
    sa.Column("service_id", sa.Text, nullable=False),
    sa.Column("commit_id", sa.Text, nullable=False),
    sa.Column("image_id", sa.Text, nullable=False),
    sa.Column("scan_id", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("code", sa.Text, nullable=False),
    sa.Column("advice", sa.Text, nullable=False),
    sa.Column("heard_at_ms", sa.BigInteger, nullable=False),
    sa.Column("finished_at_ms", sa.BigInteger, nullable=True),
    sa.Column("data_date", sa.Text, nullable=True),
    sa.Column("sample_data", sa.Boolean, nullable=False),
    sa.Column("counts", sa.JSON, nullable=False),
    sa.Column("coverage", sa.JSON, nullable=False),
    sa.Column("engines", sa.JSON, nullable=False),
    sa.Column("findings", sa.JSON, nullable=False),
    sa.Column("findings_total", sa.BigInteger, nullable=False),
    sa.Column("report", sa.Text, nullable=True),
    sa.Index("ix_evidence_commit", "service_id", "commit_id"),
    sa.Index("ix_evidence_image", "service_id", "image_id"),
)

# A deploy request, or a run that goes nowhere and is judged for information (then the id is the run's and `request_id` NULL).
# `state` is waiting, asked, decided or withdrawn; `asked_at_ms` NULL until the waiting time begins to run.
questions = sa.Table(
    "questions",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("organisation_id", sa.Text, nullable=False),
    sa.Column("service_id", sa.Text, nullable=False),
    sa.Column("run_id", sa.Text, nullable=False, index=True),
    sa.Column("number", sa.BigInteger, nullable=False),
    sa.Column("request_id", sa.Text, nullable=True),
    sa.Column("environment", sa.Text, nullable=False),
    sa.Column("environment_kind", sa.Text, nullable=False),
    sa.Column("purpose", sa.Text, nullable=False),
    sa.Column("image_id", sa.Text, nullable=False),
    sa.Column("digest", sa.Text, nullable=True),
    sa.Column("commit_id", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("asked_at_ms", sa.BigInteger, nullable=True),
    sa.Index("ix_questions_open", "state", "asked_at_ms"),
)

decisions = sa.Table(
    "decisions",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("organisation_id", sa.Text, nullable=False),
    sa.Column("service_id", sa.Text, nullable=False),
    sa.Column("run_id", sa.Text, nullable=False, index=True),
    sa.Column("question_id", sa.Text, nullable=False, unique=True),
    sa.Column("environment", sa.Text, nullable=False),
    sa.Column("image_id", sa.Text, nullable=False),
    sa.Column("verdict", sa.Text, nullable=False),
    sa.Column("sentence", sa.Text, nullable=False),
    sa.Column("answer", sa.JSON, nullable=False),
    sa.Column("input", sa.Text, nullable=True),
    sa.Column("input_hash", sa.Text, nullable=False),
    sa.Column("policy", sa.Text, nullable=False),
    sa.Column("policy_hash", sa.Text, nullable=False),
    sa.Column("engine", sa.Text, nullable=False),
    sa.Column("duration_ms", sa.BigInteger, nullable=False),
    sa.Column("decided_at_ms", sa.BigInteger, nullable=False),
    sa.Column("holds_until_ms", sa.BigInteger, nullable=False),
    sa.Index("ix_decisions_served", "service_id", "environment", "image_id"),
)
