"""Every query and write of this service."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from shared.database import Tx
from shared.words import EndpointState, RunState, Step, Trigger

from webhook.domain.rules import Rule
from webhook.domain.runs import Outcome, Run, Sibling, parts_from
from webhook.tables import deliveries, endpoints, rules, runs, services, steps


@dataclass(frozen=True)
class Service:
    """A registered service as this service needs it, with its rule."""

    id: str
    organisation: str
    name: str
    repository_url: str
    branch: str
    credential: str | None
    dockerfile: str
    context: str
    sample: bool
    rule: Rule


@dataclass(frozen=True)
class Endpoint:
    """An address that a Git host calls, with its service."""

    id: str
    label: str
    provider: str
    sealed_secret: str
    state: str
    last_accepted_at_ms: int
    service: Service

    @property
    def path(self) -> str:
        return endpoint_path(self.provider, self.id)


def endpoint_path(provider: str, endpoint: str) -> str:
    return f"/api/v1/webhook/{provider}/{endpoint}"


# -- services, rules, endpoints ------------------------------------------------------------------------------------------
_SERVICE = sa.select(
    services,
    rules.c.branches,
    rules.c.tags,
    rules.c.environments,
    rules.c.supersede,
).join_from(services, rules)


def _service(row: Mapping[str, Any]) -> Service:
    return Service(
        id=row["id"],
        organisation=row["organisation_id"],
        name=row["name"],
        repository_url=row["repository_url"],
        branch=row["branch"],
        credential=row["credential"],
        dockerfile=row["dockerfile"],
        context=row["context"],
        sample=row["sample"],
        rule=Rule(tuple(row["branches"]), tuple(row["tags"]), tuple(row["environments"]), row["supersede"]),
    )


async def service(tx: Tx, organisation: str, service_id: str) -> Service | None:
    """A service that is in the catalogue; None when it is unknown or deleted."""
    row = await tx.one(
        _SERVICE.where(
            services.c.id == service_id,
            services.c.organisation_id == organisation,
            services.c.deleted_at_ms.is_(None),
        )
    )
    return _service(row._mapping) if row else None


async def put_service(tx: Tx, organisation: str, service_id: str, values: Mapping[str, Any]) -> None:
    row = {"id": service_id, "organisation_id": organisation, **values, "deleted_at_ms": None}
    await tx.upsert(services, row, key=["id"])


async def put_rule(tx: Tx, organisation: str, service_id: str, rule: Rule) -> None:
    await tx.upsert(
        rules,
        {
            "service_id": service_id,
            "organisation_id": organisation,
            "branches": list(rule.branches),
            "tags": list(rule.tags),
            "environments": list(rule.environments),
            "supersede": rule.supersede,
        },
        key=["service_id"],
    )


async def delete_service(tx: Tx, organisation: str, service_id: str, now_ms: int) -> None:
    """The row stays, marked, since runs and the ledger name it; its endpoints go."""
    await tx.execute(
        services.update()
        .where(services.c.id == service_id, services.c.organisation_id == organisation)
        .values(deleted_at_ms=now_ms)
    )
    await tx.execute(endpoints.delete().where(endpoints.c.service_id == service_id, endpoints.c.organisation_id == organisation))


async def put_endpoint(tx: Tx, values: Mapping[str, Any]) -> None:
    await tx.execute(endpoints.insert(), dict(values))


async def secrets_elsewhere(tx: Tx, key: str, after: str, limit: int) -> Sequence[sa.Row[Any]]:
    """Endpoints (id, sealed_secret) whose secret is not sealed to this key of ours, after an id."""
    return await tx.all(
        sa.select(endpoints.c.id, endpoints.c.sealed_secret)
        .where(endpoints.c.sealed_to != key, endpoints.c.id > after)
        .order_by(endpoints.c.id)
        .limit(limit)
    )


async def count_secrets_elsewhere(tx: Tx, key: str) -> int:
    return await tx.scalar(sa.select(sa.func.count()).select_from(endpoints).where(endpoints.c.sealed_to != key)) or 0


async def replace_secret(tx: Tx, endpoint_id: str, before: str, sealed: str, key: str) -> bool:
    """Another ciphertext of the same secret. False when it is not what it was any more."""
    done = await tx.execute(
        endpoints.update()
        .where(endpoints.c.id == endpoint_id, endpoints.c.sealed_secret == before)
        .values(sealed_secret=sealed, sealed_to=key)
    )
    return done.rowcount == 1


# Statements of every delivery are built once: building one costs several times what running it does.
_ENDPOINT = (
    _SERVICE.add_columns(
        endpoints.c.id.label("endpoint_id"),
        endpoints.c.label,
        endpoints.c.provider,
        endpoints.c.sealed_secret,
        endpoints.c.state,
        endpoints.c.last_accepted_at_ms,
    )
    .join(endpoints, endpoints.c.service_id == services.c.id)
    .where(endpoints.c.id == sa.bindparam("wanted"), services.c.deleted_at_ms.is_(None))
)


async def endpoint(tx: Tx, endpoint_id: str) -> Endpoint | None:
    """By its id alone: a Git host knows no organisation."""
    row = await tx.one(_ENDPOINT, {"wanted": endpoint_id})
    if row is None:
        return None
    found = row._mapping
    return Endpoint(
        id=found["endpoint_id"],
        label=found["label"],
        provider=found["provider"],
        sealed_secret=found["sealed_secret"],
        state=found["state"],
        last_accepted_at_ms=found["last_accepted_at_ms"],
        service=_service(found),
    )


async def endpoint_ids(tx: Tx, organisation: str, service_id: str) -> Sequence[str]:
    rows = await tx.all(
        sa.select(endpoints.c.id).where(endpoints.c.service_id == service_id, endpoints.c.organisation_id == organisation)
    )
    return [row.id for row in rows]


async def mark_endpoint(tx: Tx, endpoint_id: str, *, state: str, now_ms: int) -> None:
    await tx.execute(endpoints.update().where(endpoints.c.id == endpoint_id).values(state=state, last_accepted_at_ms=now_ms))


async def quiet_endpoints(tx: Tx, before_ms: int) -> list[str]:
    """Active endpoints whose last accepted delivery is older than that."""
    rows = await tx.all(
        sa.select(endpoints.c.id).where(
            endpoints.c.state == EndpointState.ACTIVE.value, endpoints.c.last_accepted_at_ms < before_ms
        )
    )
    return [row.id for row in rows]


# -- the ledger ----------------------------------------------------------------------------------------------------------
async def put_delivery(tx: Tx, values: Mapping[str, Any]) -> bool:
    """True when this delivery is new; False when its key is in the ledger already."""
    return await tx.insert_new(deliveries, values)


async def delivery_by_key(tx: Tx, endpoint_id: str, key: str) -> sa.Row[Any] | None:
    """An earlier delivery with the number of the run it made."""
    return await tx.one(
        sa.select(deliveries.c.id, deliveries.c.run_id, deliveries.c.code, deliveries.c.reason, runs.c.number)
        .join_from(deliveries, runs, runs.c.id == deliveries.c.run_id, isouter=True)
        .where(deliveries.c.endpoint_id == endpoint_id, deliveries.c.key == key)
    )


async def ledger(tx: Tx, organisation: str, service_id: str, limit: int) -> Sequence[sa.Row[Any]]:
    """The last deliveries of a service, newest first."""
    columns = [column for column in deliveries.c if column.name not in ("body", "headers")]
    return await tx.all(
        sa.select(*columns, runs.c.number)
        .join_from(deliveries, runs, runs.c.id == deliveries.c.run_id, isouter=True)
        .where(deliveries.c.organisation_id == organisation, deliveries.c.service_id == service_id)
        .order_by(deliveries.c.received_at_ms.desc(), deliveries.c.id.desc())
        .limit(limit)
    )


async def forget_unsigned(tx: Tx, endpoint_id: str, keep: int) -> None:
    """Keep only the newest of what came without the secret, so that nobody fills the disk."""
    of_it = sa.and_(deliveries.c.endpoint_id == endpoint_id, deliveries.c.verdict == "unsigned")
    newest = sa.select(deliveries.c.id).where(of_it).order_by(deliveries.c.received_at_ms.desc()).limit(keep)
    await tx.execute(deliveries.delete().where(of_it, deliveries.c.id.not_in(newest)))


async def forget_bodies(tx: Tx, before_ms: int) -> int:
    """Drop raw bodies older than that; the rows stay. Returns how many."""
    done = await tx.execute(
        deliveries.update().where(deliveries.c.received_at_ms < before_ms, deliveries.c.body.is_not(None)).values(body=None)
    )
    return done.rowcount


# -- runs ----------------------------------------------------------------------------------------------------------------
async def hold_service(tx: Tx, service_id: str) -> None:
    """Let nobody else take deliveries of this service until the commit.

    SQLite has one writer anyway. On PostgreSQL two instances would else wait for each other: one holds the service's row and
    waits for the other's delivery of the same key, which waits for the row.
    """
    if tx.database.is_postgresql:
        await tx.execute(_HOLD, {"wanted": service_id})


_HOLD = sa.select(services.c.id).where(services.c.id == sa.bindparam("wanted")).with_for_update()
_NEXT_NUMBER = (
    services.update()
    .where(services.c.id == sa.bindparam("wanted"), services.c.deleted_at_ms.is_(None))
    .values(last_number=services.c.last_number + 1)
    .returning(services.c.last_number)
)
_PUT_RUN = runs.insert()


async def next_number(tx: Tx, service_id: str) -> int | None:
    """The service's next run number; None when it left the catalogue. The update holds its row, so that two deliveries never
    get the same one."""
    number = await tx.scalar(_NEXT_NUMBER, {"wanted": service_id})
    return int(number) if number is not None else None


async def put_run(tx: Tx, values: Mapping[str, Any]) -> None:
    await tx.execute(_PUT_RUN, dict(values))


_SIBLINGS = (
    sa.select(runs.c.id, runs.c.number, runs.c.began_by, runs.c.before_id, runs.c.commit_id, runs.c.ended_at_ms, runs.c.switching)
    .where(runs.c.service_id == sa.bindparam("wanted"), runs.c.ref == sa.bindparam("wanted_ref"))
    .order_by(runs.c.number.desc())
    .limit(200)
)


async def siblings(tx: Tx, service_id: str, ref: str) -> list[Sibling]:
    """Runs of the same service and ref, newest first: all that are open, and the newest."""
    rows = await tx.all(_SIBLINGS, {"wanted": service_id, "wanted_ref": ref})
    return [
        Sibling(
            id=row.id,
            number=row.number,
            trigger=Trigger(row.began_by),
            before=row.before_id,
            commit=row.commit_id,
            open=row.ended_at_ms is None,
            switching=row.switching,
        )
        for index, row in enumerate(rows)
        if index == 0 or row.ended_at_ms is None
    ]


@dataclass(frozen=True)
class StoredRun:
    """A run with the service it belongs to."""

    service_id: str
    run: Run


_LOAD_RUN = (
    sa.select(
        runs.c.id, runs.c.number, runs.c.service_id, runs.c.plan, runs.c.environments, runs.c.born_at_ms, runs.c.state,
        runs.c.switching, runs.c.heard_at_ms,
    )
    .where(runs.c.id == sa.bindparam("wanted"), runs.c.organisation_id == sa.bindparam("wanted_organisation"))
    .with_for_update()
)  # fmt: skip
_LOAD_STEPS = sa.select(steps).where(steps.c.run_id == sa.bindparam("wanted"))


async def load_run(tx: Tx, organisation: str, run_id: str) -> StoredRun | None:
    """A run to be changed in this transaction; its row is held until then."""
    row = await tx.one(_LOAD_RUN, {"wanted": run_id, "wanted_organisation": organisation})
    if row is None:
        return None
    heard = await tx.all(_LOAD_STEPS, {"wanted": run_id})
    run = Run(
        id=row.id,
        number=row.number,
        plan=tuple(Step(step) for step in row.plan),
        environments=tuple(row.environments),
        born_at_ms=row.born_at_ms,
        state=RunState(row.state),
        switching=row.switching,
        heard_at_ms=row.heard_at_ms,
        parts=parts_from(part._mapping for part in heard),
    )
    return StoredRun(row.service_id, run)


def _saving(*names: str) -> sa.Update:
    kept = {name: sa.bindparam(name, type_=runs.c[name].type) for name in names}
    return runs.update().where(runs.c.id == sa.bindparam("wanted")).values(**kept)


_SAVE_RUN = _saving("state", "switching", "heard_at_ms")
_END_RUN = _saving("state", "switching", "heard_at_ms", "ended_at_ms", "outcome_step", "outcome_code", "outcome_reason")


async def save_run(tx: Tx, organisation: str, run: Run, *, now_ms: int, outcome: Outcome | None = None) -> None:
    """Write what changed of a run, and its outcome when it ended."""
    await _save_parts(tx, organisation, run)
    run.changed.clear()
    values: dict[str, Any] = {
        "state": run.state.value,
        "switching": run.switching,
        "heard_at_ms": run.heard_at_ms,
    }
    if outcome:
        values |= {
            "ended_at_ms": now_ms,
            "outcome_step": outcome.step.value if outcome.step else None,
            "outcome_code": outcome.code,
            "outcome_reason": outcome.reason[:2000],
        }
    await tx.execute(_END_RUN if outcome else _SAVE_RUN, {"wanted": run.id, **values})


async def _save_parts(tx: Tx, organisation: str, run: Run) -> None:
    rows = [
        {
            "run_id": run.id,
            "step": step.value,
            "part": part,
            "organisation_id": organisation,
            "state": found.state.value,
            "code": found.code,
            "reason": found.reason[:2000],
            "heard_at_ms": found.heard_at_ms,
        }
        for (step, part), found in run.parts.items()
        if (step, part) in run.changed
    ]
    if len(rows) == 1:
        await tx.upsert(steps, rows[0], key=["run_id", "step", "part"])
    elif rows:
        # Two statements for any number of parts: a push that supersedes an older run ends a dozen of them.
        keys = [(row["step"], row["part"]) for row in rows]
        await tx.execute(steps.delete().where(steps.c.run_id == run.id, sa.tuple_(steps.c.step, steps.c.part).in_(keys)))
        await tx.execute(steps.insert(), rows)


async def open_runs(tx: Tx, *, organisation: str | None = None, service_id: str | None = None) -> Sequence[sa.Row[Any]]:
    """Runs that have not ended, oldest first."""
    wanted = sa.select(runs.c.id, runs.c.organisation_id, runs.c.born_at_ms, runs.c.heard_at_ms).where(runs.c.ended_at_ms.is_(None))
    if organisation is not None and service_id is not None:
        wanted = wanted.where(runs.c.organisation_id == organisation, runs.c.service_id == service_id)
    return await tx.all(wanted.order_by(runs.c.born_at_ms))


async def version_elsewhere(tx: Tx, service_id: str, version: str, commit: str) -> int | None:
    """The number of a run that has or may get this version for another commit."""
    return await tx.scalar(
        sa.select(runs.c.number)
        .where(
            runs.c.service_id == service_id,
            runs.c.version == version,
            runs.c.commit_id != commit,
            runs.c.state.in_([RunState.PENDING.value, RunState.RUNNING.value, RunState.SUCCESS.value]),
        )
        .limit(1)
    )
