"""Indexes for lists of a long history: the page that is shown is read, not everything that could be on it."""

import sqlalchemy as sa
from alembic import op

revision = "2026-11-21-0003"
down_revision = "2026-11-21-0002"

_NOT_ENDED = "state in ('pending', 'running', 'held', 'other')"
_MOVING = "ended_at_ms is null"


def upgrade() -> None:
    op.create_index("ix_runs_service_born", "runs", ["service_id", "born_at_ms", "id"])
    op.create_index("ix_runs_service_branch", "runs", ["service_id", "branch", "number", "state"])
    op.create_index("ix_runs_state_born", "runs", ["organisation_id", "state", "born_at_ms", "id"])
    op.create_index(
        "ix_runs_open", "runs", ["organisation_id"], sqlite_where=sa.text(_NOT_ENDED), postgresql_where=sa.text(_NOT_ENDED)
    )
    op.create_index("ix_builds_newest", "builds", ["organisation_id", "id"])
    op.create_index("ix_builds_service_newest", "builds", ["service_id", "id"])
    op.create_index("ix_builds_service_state", "builds", ["service_id", "state", "number"])
    op.create_index("ix_decisions_newest", "decisions", ["organisation_id", "id"])
    op.create_index("ix_decisions_service_newest", "decisions", ["service_id", "id"])
    op.create_index("ix_releases_newest", "releases", ["organisation_id", "id"])
    op.create_index("ix_releases_service_newest", "releases", ["service_id", "id"])
    op.create_index(
        "ix_deploys_moving", "deploys", ["service_id"], sqlite_where=sa.text(_MOVING), postgresql_where=sa.text(_MOVING)
    )
    op.create_index("ix_audit_newest", "audit", ["organisation_id", "sequence"])


def downgrade() -> None:
    op.drop_index("ix_audit_newest", "audit")
    op.drop_index("ix_deploys_moving", "deploys")
    op.drop_index("ix_releases_service_newest", "releases")
    op.drop_index("ix_releases_newest", "releases")
    op.drop_index("ix_decisions_service_newest", "decisions")
    op.drop_index("ix_decisions_newest", "decisions")
    op.drop_index("ix_builds_service_state", "builds")
    op.drop_index("ix_builds_service_newest", "builds")
    op.drop_index("ix_builds_newest", "builds")
    op.drop_index("ix_runs_open", "runs")
    op.drop_index("ix_runs_state_born", "runs")
    op.drop_index("ix_runs_service_branch", "runs")
    op.drop_index("ix_runs_service_born", "runs")
