"""The composition root: settings in, Service out, clean-up included."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from shared.git import Hints, Options
from shared.hosting import Host, Service
from shared.platform import platform_id

from builder import tables
from builder.clients.buildkit import BuildKit
from builder.clients.git import Git
from builder.handlers import Handlers
from builder.jobs import Builds, Credentials, Images, Sources, clean_up_for_ever
from builder.settings import BuilderSettings
from builder.subscribers import answers, subscribers


@asynccontextmanager
async def wire(
    host: Host, settings: BuilderSettings | None = None, *, git: Sources | None = None, buildkit: Images | None = None
) -> AsyncIterator[Service]:
    """The builder. `git` and `buildkit` replace what it reaches outside."""
    settings = settings or BuilderSettings()
    images = buildkit or BuildKit(settings.engine_socket)
    sources = git or Git(
        Options(
            roots=[host.root / "demo", host.settings.home / "demo", *settings.source_roots],
            protocols=settings.git_protocols,
            timeout_seconds=settings.git_timeout_seconds,
            known_hosts=host.data / "known_hosts",
            ca_file=settings.git_ca_file,
            hints=Hints("BUILDER_SOURCE_ROOTS", "BUILDER_GIT_TIMEOUT_SECONDS", "BUILDER_GIT_PROTOCOLS", "BUILDER_GIT_CA_FILE"),
        )
    )
    async with host.open_database(tables.metadata, package="builder") as database:
        handlers = Handlers(settings, host.clock, images)
        builds = Builds(
            handlers=handlers,
            database=database,
            settings=settings,
            git=sources,
            images=images,
            credentials=Credentials(host.bus, host.keys),
            logs=host.logs,
            platform=platform_id(host.root),
        )

        async def clean() -> None:
            await clean_up_for_ever(database, images, host.clock, settings)

        yield Service(
            name="builder",
            database=database,
            subscribers=subscribers(handlers),
            answers=answers(handlers),
            workers=[builds.worker()],
            tasks=[("clean-up", clean)],
            checks={"engine": images.ready},
        )
