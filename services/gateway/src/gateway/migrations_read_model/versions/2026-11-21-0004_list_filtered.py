"""Indexes for lists of a long history that are filtered: rare states, branches, triggers and people are found, not searched for.

Those that hold the filtered columns beside the order take the place of those that only had the order: a filter without an index of
its own is then answered from the index alone, row after row, without looking up each row.
"""

import sqlalchemy as sa
from alembic import op

revision = "2026-11-21-0004"
down_revision = "2026-11-21-0003"


def upgrade() -> None:
    op.create_index("ix_runs_service_list", "runs", ["service_id", "born_at_ms", "id", "state", "branch", "trigger"])
    op.create_index("ix_runs_branch_list", "runs", ["organisation_id", "branch", "born_at_ms", "id", "state", "trigger"])
    op.create_index("ix_runs_trigger_list", "runs", ["organisation_id", "trigger", "born_at_ms", "id", "state"])
    op.create_index("ix_builds_state_list", "builds", ["organisation_id", "state", "id"])
    op.create_index("ix_builds_service_list", "builds", ["service_id", "id", "state"])
    op.create_index("ix_releases_service_list", "releases", ["service_id", "id", "environment"])
    op.create_index("ix_audit_category", "audit", ["organisation_id", "category", "sequence"])
    op.create_index("ix_audit_actor", "audit", ["organisation_id", "actor", "sequence"])
    op.drop_index("ix_runs_service_born", "runs")
    op.drop_index("ix_builds_service_newest", "builds")
    op.drop_index("ix_releases_service_newest", "releases")
    # No list of releases is asked for without a service; the audit's order has an index with the organisation.
    op.drop_index("ix_releases_newest", "releases")
    op.drop_index("ix_audit_sequence", "audit")
    _tell_planner()


def _tell_planner() -> None:
    """SQLite takes an index that it has no figures of for a small one. It has figures once a read model was made anew."""
    bind = op.get_bind()
    if bind.dialect.name == "sqlite" and bind.execute(sa.text("select 1 from sqlite_master where name = 'sqlite_stat1'")).first():
        for table in ("runs", "builds", "releases", "audit"):
            op.execute(f"analyze {table}")


def downgrade() -> None:
    op.create_index("ix_audit_sequence", "audit", ["sequence"])
    op.create_index("ix_releases_newest", "releases", ["organisation_id", "id"])
    op.create_index("ix_releases_service_newest", "releases", ["service_id", "id"])
    op.create_index("ix_builds_service_newest", "builds", ["service_id", "id"])
    op.create_index("ix_runs_service_born", "runs", ["service_id", "born_at_ms", "id"])
    op.drop_index("ix_audit_actor", "audit")
    op.drop_index("ix_audit_category", "audit")
    op.drop_index("ix_releases_service_list", "releases")
    op.drop_index("ix_builds_service_list", "builds")
    op.drop_index("ix_builds_state_list", "builds")
    op.drop_index("ix_runs_trigger_list", "runs")
    op.drop_index("ix_runs_branch_list", "runs")
    op.drop_index("ix_runs_service_list", "runs")
