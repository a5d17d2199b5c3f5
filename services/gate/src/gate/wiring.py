"""The composition root: settings in, Service out, clean-up included."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from shared.hosting import Host, Service

from gate import tables
from gate.clients.bundle import default_bundle
from gate.clients.engine import PolicyEngine, RawEngine
from gate.clients.opa import OpaServer
from gate.clients.regorus import EmbeddedRegorus
from gate.handlers import Deciding, EvidenceKeeper, Handlers, Questions
from gate.jobs import decider, end_waiting
from gate.settings import GateSettings
from gate.subscribers import subscribers


def choose_engine(settings: GateSettings) -> RawEngine:
    """OPA where an address is set, the embedded engine else."""
    if settings.opa_url:
        return OpaServer(settings.opa_url, wall_seconds=settings.wall_seconds)
    return EmbeddedRegorus(
        wall_seconds=settings.wall_seconds,
        cpu_seconds=settings.cpu_seconds,
        memory_bytes=settings.memory_mib * 1024 * 1024,
        idle_seconds=settings.idle_seconds,
    )


@asynccontextmanager
async def wire(host: Host, settings: GateSettings | None = None, *, engine: RawEngine | None = None) -> AsyncIterator[Service]:
    """Open what the service owns. `engine` may be another way to evaluate Rego."""
    settings = settings or GateSettings()
    bundle = default_bundle(
        wait_seconds=settings.wait_seconds,
        denied_licences=settings.denied_licences,
        banned_components=settings.banned_components,
    )
    policy = PolicyEngine(engine or choose_engine(settings))
    try:
        async with host.open_database(tables.metadata, package="gate") as database:
            questions = Questions(
                database, host.clock, settings.wait_seconds, job_deadline_seconds=int(settings.wall_seconds) * 3 + 60
            )
            handlers = Handlers(
                evidence=EvidenceKeeper(questions),
                questions=questions,
                deciding=Deciding(database, host.clock, host.objects, bundle, policy),
            )
            yield Service(
                name="gate",
                database=database,
                gather_ms={"push.received": 50},
                subscribers=subscribers(handlers),
                workers=[decider(handlers.deciding, settings)],
                tasks=[("waiting", lambda: end_waiting(questions, settings.reaper_seconds))],
                checks={"policy": policy.check},
            )
    finally:
        await policy.close()
