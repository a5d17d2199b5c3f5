"""To which of our keys an endpoint's secret is sealed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "2026-11-21-0002"
down_revision = "2026-11-21-0001"


def upgrade() -> None:
    op.add_column("endpoints", sa.Column("sealed_to", sa.Text, nullable=False, server_default=""))


def downgrade() -> None:
    op.drop_column("endpoints", "sealed_to")
