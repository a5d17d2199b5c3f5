"""A run knows the trace it belongs to. Runs of before have none."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "2026-11-21-0002"
down_revision = "2026-11-21-0001"


def upgrade() -> None:
    op.add_column("runs", sa.Column("trace_id", sa.Text, nullable=False, server_default=""))


def downgrade() -> None:
    op.drop_column("runs", "trace_id")
