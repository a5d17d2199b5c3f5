"""The read model: what pages and the API show. Every row is made by a projection of facts and can be made again.

Times are epoch milliseconds taken from the stream's timestamps; durations (`*_ms` without `_at`) are the facts' own, of
monotonic clocks. States are the codes of `shared.words` unless a column says otherwise.
"""

from __future__ import annotations

import sqlalchemy as sa
from shared.tables import NAMING, inbox_tables, outbox_tables

metadata = sa.MetaData(naming_convention=NAMING)
outbox_tables(metadata)
inbox_tables(metadata)


def _organisation() -> sa.Column:
    return sa.Column("organisation_id", sa.Text, nullable=False)


def _text(name: str) -> sa.Column:
    return sa.Column(name, sa.Text, nullable=False, default="", server_default="")


def _flag(name: str) -> sa.Column:
    return sa.Column(name, sa.Boolean, nullable=False, default=False, server_default=sa.false())


def _count(name: str) -> sa.Column:
    return sa.Column(name, sa.Integer, nullable=False, default=0, server_default="0")


def _time(name: str) -> sa.Column:
    return sa.Column(name, sa.BigInteger)


services = sa.Table(
    "services",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    _organisation(),
    sa.Column("name", sa.Text, nullable=False, index=True),
    _text("description"),
    _text("repository_url"),
    _text("branch"),
    _text("dockerfile"),
    _text("context"),
    _flag("has_credential"),
    _flag("sample"),
    # The roll-up over environments and the last run, a code of words.ServiceState, and the environment it comes from.
    sa.Column("state", sa.Text, nullable=False, default="registered"),
    _text("state_environment"),
    _text("state_text"),
    # What serves, of the environment that counts most (production first, then the one deployed last).
    _text("deployed_environment"),
    _text("deployed_version"),
    _flag("deployed_by_hand"),
    _text("deployed_commit"),
    _text("deployed_image"),
    _text("deployed_image_id"),
    sa.Column("deployed_digest", sa.Text),
    _text("deployed_url"),
    sa.Column("deployed_release_id", sa.Text),
    sa.Column("deployed_release_number", sa.Integer),
    sa.Column("deployed_run_number", sa.Integer),
    _time("deployed_at_ms"),
    # Risk of the last scans with proof, over the areas sast, sca, secrets, iac and image.
    _count("risk_critical"),
    _count("risk_high"),
    _count("risk_medium"),
    _count("risk_low"),
    # known: everything asked for was read; part: an area failed, was partial or had no data; none: never scanned.
    sa.Column("risk_state", sa.Text, nullable=False, default="none"),
    sa.Column("risk_run_id", sa.Text),
    sa.Column("last_run_id", sa.Text),
    sa.Column("last_run_number", sa.Integer),
    sa.Column("last_run_state", sa.Text),
    _time("last_run_at_ms"),
    _time("registered_at_ms"),
    _time("changed_at_ms"),
    _time("deleted_at_ms"),
)

rules = sa.Table(
    "rules",
    metadata,
    sa.Column("service_id", sa.Text, primary_key=True),
    _organisation(),
    sa.Column("branches", sa.JSON, nullable=False, default=list),
    sa.Column("tags", sa.JSON, nullable=False, default=list),
    sa.Column("environments", sa.JSON, nullable=False, default=list),
    _flag("supersede"),
    _time("changed_at_ms"),
)

runtimes = sa.Table(
    "runtimes",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    _organisation(),
    _text("label"),
    _text("kind"),
    _flag("reachable"),
    _text("version"),
    sa.Column("abilities", sa.JSON, nullable=False, default=list),
    _text("reason"),
    _time("changed_at_ms"),
)

environments = sa.Table(
    "environments",
    metadata,
    sa.Column("service_id", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    _organisation(),
    sa.Column("kind", sa.Text, nullable=False, default="not_production"),
    _text("runtime"),
    _count("container_port"),
    _text("health_path"),
    _count("entry_port"),
    _text("url"),
    # registered, deploying, running, degraded, stopped, deploy_failed, blocked: of this environment alone.
    sa.Column("state", sa.Text, nullable=False, default="registered"),
    _text("state_text"),
    # What serves here now.
    sa.Column("release_id", sa.Text),
    sa.Column("release_number", sa.Integer),
    _text("version"),
    _flag("by_hand"),
    _text("commit"),
    _text("image"),
    _text("image_id"),
    sa.Column("digest", sa.Text),
    sa.Column("run_id", sa.Text),
    sa.Column("run_number", sa.Integer),
    _text("executor"),
    _text("trigger"),
    _text("container"),
    _time("since_ms"),
    # The last verdict for this environment, and the deploy that moves or moved last.
    _text("verdict"),
    sa.Column("decision_id", sa.Text),
    sa.Column("deploy_id", sa.Text),
    _time("changed_at_ms"),
)

runs = sa.Table(
    "runs",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    _organisation(),
    sa.Column("service_id", sa.Text, nullable=False),
    _text("service_name"),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("trigger", sa.Text, nullable=False),
    _text("executor"),
    _text("cause"),
    _text("ref"),
    _text("branch"),
    _text("tag"),
    _text("commit"),
    _text("author"),
    _text("message"),
    _text("provider"),
    sa.Column("delivery_id", sa.Text),
    _text("rule"),
    sa.Column("changed_count", sa.Integer),
    _flag("sample"),
    sa.Column("plan", sa.JSON, nullable=False, default=list),
    sa.Column("environments", sa.JSON, nullable=False, default=list),
    # The release a rollback or re-deploy goes to.
    sa.Column("release_id", sa.Text),
    _text("version"),
    _flag("by_hand"),
    _text("image"),
    _text("image_id"),
    sa.Column("digest", sa.Text),
    # Worst verdict of the run's decisions: pass, warn, block, or empty.
    _text("verdict"),
    # {step: state} over all environments, in the order of the plan: what the pips of a table row need.
    sa.Column("steps", sa.JSON, nullable=False, default=dict),
    # One line that says where the run stands ("Building", "Waits for the scans"), and why it ended.
    _text("state_text"),
    sa.Column("ended_step", sa.Text),
    _text("code"),
    _text("reason"),
    sa.Column("superseded_by_id", sa.Text),
    sa.Column("superseded_by_number", sa.Integer),
    _text("cancelled_by"),
    # The trace that the run's first message belongs to, 32 hexadecimal digits.
    _text("trace_id"),
    _time("born_at_ms"),
    _time("started_at_ms"),
    _time("deployed_at_ms"),
    _time("finished_at_ms"),
    sa.UniqueConstraint("service_id", "number"),
)
sa.Index("ix_runs_born", runs.c.organisation_id, runs.c.born_at_ms, runs.c.id)
sa.Index("ix_runs_service_state", runs.c.service_id, runs.c.state, runs.c.number)
# What a list is filtered by stands behind its order: rows that do not fit are passed over in the index.
sa.Index("ix_runs_service_list", runs.c.service_id, runs.c.born_at_ms, runs.c.id, runs.c.state, runs.c.branch, runs.c.trigger)
sa.Index("ix_runs_branch_list", runs.c.organisation_id, runs.c.branch, runs.c.born_at_ms, runs.c.id, runs.c.state, runs.c.trigger)
sa.Index("ix_runs_trigger_list", runs.c.organisation_id, runs.c.trigger, runs.c.born_at_ms, runs.c.id, runs.c.state)
sa.Index("ix_runs_service_branch", runs.c.service_id, runs.c.branch, runs.c.number, runs.c.state)
sa.Index("ix_runs_state_born", runs.c.organisation_id, runs.c.state, runs.c.born_at_ms, runs.c.id)
_NOT_ENDED = sa.text("state in ('pending', 'running', 'held', 'other')")
sa.Index("ix_runs_open", runs.c.organisation_id, sqlite_where=_NOT_ENDED, postgresql_where=_NOT_ENDED)

run_steps = sa.Table(
    "run_steps",
    metadata,
    sa.Column("run_id", sa.Text, primary_key=True),
    sa.Column("step", sa.Text, primary_key=True),
    # Empty for steps that a run has once; gate, deploy and operate have a row per environment.
    sa.Column("environment", sa.Text, primary_key=True, default=""),
    _organisation(),
    sa.Column("service_id", sa.Text, nullable=False),
    _count("position"),
    sa.Column("state", sa.Text, nullable=False),
    _text("text"),
    _text("code"),
    _text("advice"),
    # What a step in the state waiting waits for, in words; empty when it does not wait.
    _text("waits_for"),
    _time("queued_at_ms"),
    _time("started_at_ms"),
    _time("ended_at_ms"),
    sa.Column("duration_ms", sa.BigInteger),
    _count("attempt"),
    # {"clone": 3000, ...}: the parts of the step in milliseconds, where the fact tells them.
    sa.Column("stages_ms", sa.JSON, nullable=False, default=dict),
)
sa.Index("ix_run_steps_history", run_steps.c.service_id, run_steps.c.step, run_steps.c.ended_at_ms)

run_waits = sa.Table(
    "run_waits",
    metadata,
    sa.Column("run_id", sa.Text, primary_key=True),
    sa.Column("step", sa.Text, primary_key=True),
    sa.Column("environment", sa.Text, primary_key=True, default=""),
    sa.Column("started_at_ms", sa.BigInteger, primary_key=True),
    _organisation(),
    _time("ended_at_ms"),
    # A sentence part: "for a build slot: shop-web #239 is ahead".
    _text("what"),
)

builds = sa.Table(
    "builds",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    _organisation(),
    sa.Column("service_id", sa.Text, nullable=False),
    sa.Column("run_id", sa.Text, nullable=False, index=True),
    sa.Column("number", sa.Integer, nullable=False),
    # queued, running, success, failed, cancelled.
    sa.Column("state", sa.Text, nullable=False),
    _text("commit"),
    _text("version"),
    _flag("by_hand"),
    _text("image"),
    _text("image_id"),
    sa.Column("digest", sa.Text),
    sa.Column("size_bytes", sa.BigInteger),
    _count("steps"),
    _count("steps_cached"),
    _count("files"),
    sa.Column("stages_ms", sa.JSON, nullable=False, default=dict),
    sa.Column("duration_ms", sa.BigInteger),
    _text("base_image"),
    # Object reference of the finished log, None while it is live.
    sa.Column("log", sa.Text),
    _count("log_lines"),
    _text("waits_for"),
    _text("stage"),
    _text("code"),
    _text("reason"),
    _text("advice"),
    _count("attempt"),
    _time("queued_at_ms"),
    _time("started_at_ms"),
    _time("ended_at_ms"),
)
sa.Index("ix_builds_service", builds.c.service_id, builds.c.number)
sa.Index("ix_builds_newest", builds.c.organisation_id, builds.c.id)
sa.Index("ix_builds_service_list", builds.c.service_id, builds.c.id, builds.c.state)
sa.Index("ix_builds_state_list", builds.c.organisation_id, builds.c.state, builds.c.id)
sa.Index("ix_builds_service_state", builds.c.service_id, builds.c.state, builds.c.number)

scans = sa.Table(
    "scans",
    metadata,
    sa.Column("run_id", sa.Text, primary_key=True),
    sa.Column("area", sa.Text, primary_key=True),
    _organisation(),
    sa.Column("service_id", sa.Text, nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("scan_id", sa.Text, nullable=False),
    # queued, running, cancelled, or a code of words.ScanState.
    sa.Column("state", sa.Text, nullable=False),
    _text("reason"),
    _text("code"),
    _text("advice"),
    # [{"name","version","exit_code","rules","data_date","sample_data","problem"}]
    sa.Column("engines", sa.JSON, nullable=False, default=list),
    # {"files": 3, "commits": 1, "packages": 63}
    sa.Column("coverage", sa.JSON, nullable=False, default=dict),
    # {"critical": 0, "high": 2, ...}
    sa.Column("counts", sa.JSON, nullable=False, default=dict),
    _count("findings_total"),
    sa.Column("data_date", sa.Text),
    _flag("sample_data"),
    sa.Column("duration_ms", sa.BigInteger),
    # Object reference of the full report.
    sa.Column("report", sa.Text),
    _text("commit"),
    _text("image_id"),
    _count("attempt"),
    _time("queued_at_ms"),
    _time("started_at_ms"),
    _time("ended_at_ms"),
)

service_areas = sa.Table(
    "service_areas",
    metadata,
    sa.Column("service_id", sa.Text, primary_key=True),
    sa.Column("area", sa.Text, primary_key=True),
    _organisation(),
    # The last scan of the area, whatever came of it, and the last one with proof (completed or partial).
    sa.Column("last_run_id", sa.Text),
    sa.Column("last_state", sa.Text),
    sa.Column("proof_run_id", sa.Text),
    sa.Column("proof_number", sa.Integer),
    sa.Column("counts", sa.JSON, nullable=False, default=dict),
    _time("proof_at_ms"),
    _time("last_at_ms"),
)

findings = sa.Table(
    "findings",
    metadata,
    sa.Column("run_id", sa.Text, primary_key=True),
    sa.Column("area", sa.Text, primary_key=True),
    sa.Column("finding_id", sa.Text, primary_key=True),
    _organisation(),
    sa.Column("service_id", sa.Text, nullable=False),
    _text("rule"),
    sa.Column("severity", sa.Text, nullable=False),
    # 0 critical to 4 info: the order in which lists show them.
    _count("rank"),
    _text("title"),
    _text("path"),
    sa.Column("line", sa.Integer),
    _text("commit"),
    _text("package"),
    _text("installed"),
    _text("fix"),
    _text("confidence"),
    _text("licence"),
    _text("triage"),
    # new: not seen in an earlier run of the service; existing; reopened: it was fixed in between.
    sa.Column("novelty", sa.Text, nullable=False, default="new"),
    sa.Column("first_number", sa.Integer),
)
sa.Index("ix_findings_run_rank", findings.c.run_id, findings.c.rank)

current_findings = sa.Table(
    "current_findings",
    metadata,
    sa.Column("service_id", sa.Text, primary_key=True),
    sa.Column("area", sa.Text, primary_key=True),
    sa.Column("finding_id", sa.Text, primary_key=True),
    _organisation(),
    # open or fixed; only a completed scan fixes.
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("severity", sa.Text, nullable=False),
    _count("rank"),
    _text("title"),
    sa.Column("first_run_id", sa.Text),
    sa.Column("first_number", sa.Integer),
    sa.Column("last_run_id", sa.Text),
    sa.Column("last_number", sa.Integer),
    sa.Column("fixed_number", sa.Integer),
    _time("first_at_ms"),
    _time("last_at_ms"),
    _time("fixed_at_ms"),
)

decisions = sa.Table(
    "decisions",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    _organisation(),
    sa.Column("service_id", sa.Text, nullable=False),
    sa.Column("run_id", sa.Text, nullable=False, index=True),
    sa.Column("number", sa.Integer, nullable=False),
    # The deploy request it answers; None: decided for information.
    sa.Column("request_id", sa.Text),
    _text("environment"),
    sa.Column("environment_kind", sa.Text, nullable=False),
    sa.Column("verdict", sa.Text, nullable=False),
    _text("sentence"),
    _text("commit"),
    _text("image_id"),
    # The whole GateDecided message: areas, reasons, ways, policy, hashes, engine.
    sa.Column("body", sa.JSON, nullable=False),
    sa.Column("duration_ms", sa.BigInteger),
    _time("decided_at_ms"),
)
sa.Index("ix_decisions_service", decisions.c.service_id, decisions.c.decided_at_ms)
sa.Index("ix_decisions_newest", decisions.c.organisation_id, decisions.c.id)
sa.Index("ix_decisions_service_newest", decisions.c.service_id, decisions.c.id)

releases = sa.Table(
    "releases",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    _organisation(),
    sa.Column("service_id", sa.Text, nullable=False),
    sa.Column("environment", sa.Text, nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("run_id", sa.Text, nullable=False, index=True),
    sa.Column("run_number", sa.Integer, nullable=False),
    sa.Column("request_id", sa.Text, nullable=False),
    _text("runtime"),
    # planned, deploying, serving, served, rolled_back, failed, not_healthy.
    sa.Column("state", sa.Text, nullable=False),
    _text("version"),
    _flag("by_hand"),
    _text("image"),
    _text("image_id"),
    sa.Column("digest", sa.Text),
    _text("commit"),
    _text("trigger"),
    _text("executor"),
    sa.Column("before_id", sa.Text),
    # The release whose content this one brings back.
    sa.Column("back_to_id", sa.Text),
    sa.Column("back_to_number", sa.Integer),
    sa.Column("changes", sa.JSON, nullable=False, default=list),
    sa.Column("came_back", sa.JSON, nullable=False, default=list),
    _text("verdict"),
    _text("url"),
    _text("container"),
    sa.Column("stages_ms", sa.JSON, nullable=False, default=dict),
    # None while it is watched; then what the watch said.
    sa.Column("settled_healthy", sa.Boolean),
    _count("observed_seconds"),
    _text("code"),
    _text("reason"),
    _text("advice"),
    _time("planned_at_ms"),
    _time("started_at_ms"),
    # From when and until when it served.
    _time("ready_at_ms"),
    _time("retired_at_ms"),
    sa.Column("duration_ms", sa.BigInteger),
)
sa.Index("ix_releases_history", releases.c.service_id, releases.c.environment, releases.c.number)
sa.Index("ix_releases_service_list", releases.c.service_id, releases.c.id, releases.c.environment)

deploys = sa.Table(
    "deploys",
    metadata,
    # The deploy request.
    sa.Column("id", sa.Text, primary_key=True),
    _organisation(),
    sa.Column("service_id", sa.Text, nullable=False),
    sa.Column("run_id", sa.Text, nullable=False, index=True),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("environment", sa.Text, nullable=False),
    _text("cause"),
    # requested, decided, planned, deploying, ready, settled, unhealthy, failed, cancelled, blocked, rolled_back.
    sa.Column("state", sa.Text, nullable=False),
    _text("text"),
    _count("step"),
    _count("steps"),
    _text("verdict"),
    sa.Column("release_id", sa.Text),
    sa.Column("release_number", sa.Integer),
    sa.Column("back_to", sa.Text),
    _text("version"),
    _flag("by_hand"),
    _text("image"),
    _text("image_id"),
    _text("code"),
    _text("reason"),
    _text("advice"),
    sa.Column("still_serving", sa.Integer),
    _time("requested_at_ms"),
    _time("started_at_ms"),
    _time("ended_at_ms"),
)
_MOVING = sa.text("ended_at_ms is null")
sa.Index("ix_deploys_moving", deploys.c.service_id, sqlite_where=_MOVING, postgresql_where=_MOVING)

deploy_events = sa.Table(
    "deploy_events",
    metadata,
    sa.Column("deploy_id", sa.Text, primary_key=True),
    # Position in the stream: the order in which things happened.
    sa.Column("sequence", sa.BigInteger, primary_key=True, autoincrement=False),
    _organisation(),
    sa.Column("kind", sa.Text, nullable=False),
    _text("text"),
    _count("step"),
    _count("steps"),
    _time("at_ms"),
)

endpoints = sa.Table(
    "endpoints",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    _organisation(),
    sa.Column("service_id", sa.Text, nullable=False, index=True),
    _text("label"),
    _text("provider"),
    _text("path"),
    sa.Column("state", sa.Text, nullable=False),
    _time("changed_at_ms"),
)

# Deliveries that made no run, and those that did; the whole ledger is the query `deliveries.list`.
deliveries = sa.Table(
    "deliveries",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    _organisation(),
    sa.Column("service_id", sa.Text, nullable=False),
    _text("endpoint_id"),
    # run or ignored.
    sa.Column("verdict", sa.Text, nullable=False),
    _text("code"),
    _text("reason"),
    sa.Column("run_id", sa.Text),
    sa.Column("run_number", sa.Integer),
    _text("ref"),
    _text("commit"),
    _time("at_ms"),
)
sa.Index("ix_deliveries_service", deliveries.c.service_id, deliveries.c.at_ms)

# The audit as all services tell it; the gateway's own hash-chained rows are in the owned database.
audit = sa.Table(
    "audit",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    _organisation(),
    sa.Column("sequence", sa.BigInteger, nullable=False),
    sa.Column("service_id", sa.Text, nullable=False, default="_"),
    _text("category"),
    _text("action"),
    _text("actor"),
    _text("object"),
    _text("outcome"),
    _text("detail"),
    _time("at_ms"),
)
sa.Index("ix_audit_newest", audit.c.organisation_id, audit.c.sequence)
sa.Index("ix_audit_category", audit.c.organisation_id, audit.c.category, audit.c.sequence)
sa.Index("ix_audit_actor", audit.c.organisation_id, audit.c.actor, audit.c.sequence)
