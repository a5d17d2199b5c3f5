"""The composition root: settings in, Service out, clean-up included."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from shared.git import Credential, Hints, Options, read_credential
from shared.hosting import Host, Service
from shared.queries.gateway import LeaseCredential

from scanner import tables
from scanner.clients.engine import ContainerEngine
from scanner.clients.git import FetchesSource, Git
from scanner.data.keeper import Keeper
from scanner.engines import Engines, Installed, Programs
from scanner.handlers import Handlers
from scanner.identity import load_key
from scanner.jobs import Scans
from scanner.scanners.program import Program
from scanner.settings import ScannerSettings
from scanner.subscribers import subscribers


@asynccontextmanager
async def wire(
    host: Host,
    settings: ScannerSettings | None = None,
    *,
    git: FetchesSource | None = None,
    engines: Engines | None = None,
) -> AsyncIterator[Service]:
    """The scanner. `git` and `engines` replace what it reaches outside."""
    settings = settings or ScannerSettings()
    options = Options(
        roots=[host.root / "demo", host.settings.home / "demo", *settings.source_roots],
        timeout_seconds=settings.fetch_seconds,
        nice=settings.engine_nice,
        hints=Hints("SCANNER_SOURCE_ROOTS", "SCANNER_FETCH_SECONDS"),
    )
    async with host.open_database(tables.metadata, package="scanner") as database:
        handlers = Handlers(host.clock, host.objects, deadline_seconds=settings.scan_deadline_seconds)

        async def lease(organisation: str, service: str, credential: str) -> Credential:
            query = LeaseCredential(organisation=organisation, service=service, credential=credential, asker=host.name)
            return read_credential(host.keys.open((await host.bus.ask(query)).sealed))

        scans = Scans(
            handlers,
            git or Git(options),
            engines or installed(host, settings),
            lease,
            host.logs,
        )
        yield Service(
            name="scanner",
            database=database,
            gather_ms={"push.received": 50},
            subscribers=subscribers(handlers),
            workers=scans.workers(settings.scans_at_once),
        )


def installed(host: Host, settings: ScannerSettings) -> Installed:
    """The engines of this machine, as the settings name them. Nothing is started."""
    more = {"nice": settings.engine_nice, "seconds": settings.engine_seconds}
    programs = Programs(
        Program("gitleaks", settings.gitleaks, sha256=settings.gitleaks_sha256, **more),
        Program("semgrep", settings.semgrep, **more),
        Program("trivy", settings.trivy, sha256=settings.trivy_sha256, **more),
    )
    keeper = Keeper(
        host.root,
        programs.trivy,
        host.clock,
        every_hours=settings.data_download_hours,
        seconds=settings.data_download_seconds,
        retry_minutes=settings.data_retry_minutes,
    )
    return Installed(
        programs,
        ContainerEngine(settings.docker_host),
        keeper,
        key=load_key(settings.identity_key_file or host.data / "identity.key"),
        at_once=settings.engines_at_once,
        file_max_bytes=settings.file_max_bytes,
    )
