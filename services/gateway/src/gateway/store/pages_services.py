"""What dashboard, services, search and the head of a service read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from shared.database import Tx

from gateway.tables.read_model import builds, endpoints, environments, findings, rules, runs, runtimes, services


def _mine(organisation: str) -> Any:
    return (services.c.organisation_id == organisation) & services.c.deleted_at_ms.is_(None)


def _contains(column: Any, words: str) -> Any:
    return column.icontains(words, autoescape=True)


async def count(tx: Tx, organisation: str) -> int:
    return int(await tx.scalar(sa.select(sa.func.count()).select_from(services).where(_mine(organisation))) or 0)


async def by_state(tx: Tx, organisation: str) -> dict[str, int]:
    rows = await tx.all(sa.select(services.c.state, sa.func.count()).where(_mine(organisation)).group_by(services.c.state))
    return {row[0]: row[1] for row in rows}


async def page(
    tx: Tx, organisation: str, *, states: Sequence[str] = (), words: str = "", limit: int, by_name: bool = False
) -> Sequence[sa.Row[Any]]:
    """Services with their last run (columns prefixed `run_`), those that changed last first, or by repository and name."""
    query = (
        sa.select(
            services,
            runs.c.steps.label("run_steps"),
            runs.c.verdict.label("run_verdict"),
            runs.c.trigger.label("run_trigger"),
            runs.c.ended_step.label("run_ended_step"),
            runs.c.deployed_at_ms.label("run_deployed_at_ms"),
            runs.c.born_at_ms.label("run_born_at_ms"),
            runs.c.finished_at_ms.label("run_finished_at_ms"),
            runs.c.branch.label("run_branch"),
            runs.c.commit.label("run_commit"),
            runs.c.reason.label("run_reason"),
            runs.c.code.label("run_code"),
            runs.c.state_text.label("run_state_text"),
        )
        .outerjoin(runs, runs.c.id == services.c.last_run_id)
        .where(_mine(organisation))
        .limit(limit)
    )
    if states:
        query = query.where(services.c.state.in_(states))
    if words:
        query = query.where(sa.or_(*(_contains(c, words) for c in (services.c.name, services.c.repository_url, services.c.branch))))
    if by_name:
        return await tx.all(query.order_by(services.c.repository_url, services.c.name))
    return await tx.all(
        query.order_by(sa.func.coalesce(services.c.last_run_at_ms, services.c.changed_at_ms, 0).desc(), services.c.name)
    )


async def named(tx: Tx, organisation: str, name: str) -> sa.Row[Any] | None:
    return await tx.one(sa.select(services).where(_mine(organisation), services.c.name == name))


async def how_many_runs(tx: Tx, service: str) -> int:
    # Numbers are given without gaps, so the highest is the count: no scan of a long history.
    return int(await tx.scalar(sa.select(sa.func.max(runs.c.number)).where(runs.c.service_id == service)) or 0)


async def environments_of(tx: Tx, ids: Sequence[str]) -> Sequence[sa.Row[Any]]:
    return await tx.all(sa.select(environments).where(environments.c.service_id.in_(ids)).order_by(environments.c.name))


async def runtime_labels(tx: Tx, organisation: str) -> dict[str, sa.Row[Any]]:
    rows = await tx.all(sa.select(runtimes).where(runtimes.c.organisation_id == organisation))
    return {row.id: row for row in rows}


async def last_builds(tx: Tx, ids: Sequence[str]) -> dict[str, sa.Row[Any]]:
    """The newest build of each of these services."""
    # One look into the index for each service, not one at each of its builds.
    others = builds.alias()
    newest = (
        sa.select(sa.func.max(others.c.number)).where(others.c.service_id == services.c.id).correlate(services).scalar_subquery()
    )
    rows = await tx.all(
        sa.select(builds)
        .select_from(services)
        .join(builds, (builds.c.service_id == services.c.id) & (builds.c.number == newest))
        .where(services.c.id.in_(ids))
    )
    return {row.service_id: row for row in rows}


async def rule_of(tx: Tx, service: str) -> sa.Row[Any] | None:
    return await tx.one(sa.select(rules).where(rules.c.service_id == service))


async def endpoints_of(tx: Tx, service: str) -> Sequence[sa.Row[Any]]:
    return await tx.all(sa.select(endpoints).where(endpoints.c.service_id == service).order_by(endpoints.c.id))


async def ended_lately(tx: Tx, organisation: str, limit: int) -> Sequence[sa.Row[Any]]:
    """Runs that ended, the last one first."""
    return await tx.all(
        sa.select(runs)
        .where(runs.c.organisation_id == organisation, runs.c.finished_at_ms.is_not(None))
        .order_by(runs.c.born_at_ms.desc(), runs.c.id.desc())
        .limit(limit)
    )


async def search_services(tx: Tx, organisation: str, words: str, limit: int) -> Sequence[sa.Row[Any]]:
    columns = (services.c.name, services.c.repository_url, services.c.description)
    return await tx.all(
        sa.select(services)
        .where(_mine(organisation), sa.or_(*(_contains(c, words) for c in columns)))
        .order_by(services.c.name)
        .limit(limit)
    )


async def search_runs(tx: Tx, organisation: str, words: str, limit: int) -> Sequence[sa.Row[Any]]:
    columns = (runs.c.branch, runs.c.tag, runs.c.version, runs.c.message, runs.c.author)
    match = [_contains(c, words) for c in columns]
    match.append(runs.c.commit.startswith(words.lower(), autoescape=True))
    if words.lstrip("#").isdigit():
        match.append(runs.c.number == min(int(words.lstrip("#")[:9]), 2**31 - 1))
    return await tx.all(
        sa.select(runs)
        .join(services, services.c.id == runs.c.service_id)
        .where(runs.c.organisation_id == organisation, services.c.deleted_at_ms.is_(None), sa.or_(*match))
        .order_by(runs.c.born_at_ms.desc(), runs.c.id.desc())
        .limit(limit)
    )


async def search_findings(tx: Tx, organisation: str, words: str, limit: int) -> Sequence[sa.Row[Any]]:
    """Findings of the last proven scan of each service, worst first."""
    columns = (findings.c.title, findings.c.rule, findings.c.path, findings.c.package, findings.c.finding_id)
    return await tx.all(
        sa.select(findings, services.c.name.label("service_name"), runs.c.number.label("run_number"))
        .join(services, (services.c.id == findings.c.service_id) & (services.c.risk_run_id == findings.c.run_id))
        .join(runs, runs.c.id == findings.c.run_id)
        .where(_mine(organisation), sa.or_(*(_contains(c, words) for c in columns)))
        .order_by(findings.c.rank, findings.c.title)
        .limit(limit)
    )
