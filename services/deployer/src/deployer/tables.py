"""What the deployer owns: environments, requests, releases and how they went."""

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
    sa.Column("deleted_at_ms", sa.BigInteger, nullable=True),
)

runtimes = sa.Table(
    "runtimes",
    metadata,
    sa.Column("organisation_id", sa.Text, primary_key=True),
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("reachable", sa.Boolean, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
)

runs = sa.Table(
    "runs",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("organisation_id", sa.Text, nullable=False),
    sa.Column("service_id", sa.Text, nullable=False),
    sa.Column("number", sa.BigInteger, nullable=False),
    sa.Column("service_name", sa.Text, nullable=False),
    sa.Column("begun_by", sa.Text, nullable=False),
    sa.Column("commit_id", sa.Text, nullable=False),
    sa.Column("environments", sa.JSON, nullable=False),
    sa.Column("ended_at_ms", sa.BigInteger, nullable=True),
)

# `fence` grows with every order; `last_number` is that of the newest release; `newest_run` that of the newest run put in place;
# `hold` is {"number", "commits"} after a rollback.
environments = sa.Table(
    "environments",
    metadata,
    sa.Column("service_id", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
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
)

# `state` as in domain.queue, then ready, failed, blocked or cancelled.
requests = sa.Table(
    "requests",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
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
    sa.UniqueConstraint("run_id", "environment"),
    sa.Index("ix_requests_queue", "service_id", "environment", "state"),
    sa.Index("ix_requests_state", "state", "asked_at_ms"),
)

# Written once and never changed: what runs, and why it may.
releases = sa.Table(
    "releases",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("organisation_id", sa.Text, nullable=False),
    sa.Column("service_id", sa.Text, nullable=False),
    sa.Column("environment", sa.Text, nullable=False),
    sa.Column("environment_kind", sa.Text, nullable=False),
    sa.Column("number", sa.BigInteger, nullable=False),
    sa.Column("run_id", sa.Text, nullable=False),
    sa.Column("run_number", sa.BigInteger, nullable=False),
    sa.Column("request_id", sa.Text, nullable=False, unique=True),
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
    sa.UniqueConstraint("service_id", "environment", "number"),
)

# How a release went. `state` is placing, ready, settled, unhealthy, failed or gone; `heard_at_ms` the runtime's last sign.
rollouts = sa.Table(
    "rollouts",
    metadata,
    sa.Column("release_id", sa.Text, primary_key=True),
    sa.Column("organisation_id", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("started", sa.Boolean, nullable=False),
    sa.Column("served", sa.Boolean, nullable=False),
    sa.Column("heard_at_ms", sa.BigInteger, nullable=False),
    sa.Column("ready_at_ms", sa.BigInteger, nullable=True),
    sa.Column("code", sa.Text, nullable=False, server_default=""),
    sa.Column("reason", sa.Text, nullable=False, server_default=""),
    sa.Index("ix_rollouts_state", "state", "heard_at_ms"),
)
