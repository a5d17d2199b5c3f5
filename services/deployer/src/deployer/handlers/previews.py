"""Answers what a rollback would bring back."""

from __future__ import annotations

from shared.database import Database
from shared.queries.deployer import RollbackPreview

from deployer import store
from deployer.domain.history import one_back, origin_of
from deployer.domain.releases import diff
from deployer.errors import EnvironmentUnknown, NothingBefore, ReleaseUnknown
from deployer.handlers.checks import Questions


class Previews:
    """Reads only; asks builder and operator-proxy what is there now."""

    def __init__(self, database: Database, questions: Questions) -> None:
        self.database, self.questions = database, questions

    async def rollback(self, organisation: str, service: str, environment: str, release: str | None) -> RollbackPreview:
        """What comes back with this release, or with the one before the one that runs. Raises EnvironmentUnknown,
        NothingBefore, ReleaseUnknown."""
        async with self.database.read() as tx:
            row = await store.environment(tx, service, environment)
            if row is None or row.organisation_id != organisation:
                raise EnvironmentUnknown(environment)
            past = await store.past(tx, service, environment)
            if release is None:
                release = one_back(row.release_id, past)
                if release is None:
                    raise NothingBefore(environment)
            first = origin_of(release, past)
            target = await store.release(tx, first.id if first else None)
            if target is None:
                raise ReleaseUnknown(release)
            current = await store.release(tx, row.release_id)
        seen = await self.questions.look(organisation, service, row.runtime, target.image_id)
        shown = origin_of(current.id, past) if current else None
        return RollbackPreview(
            release=target.id,
            release_number=target.number,
            from_number=shown.number if shown else None,
            image_exists=bool(seen.on_runtime) or bool(seen.built),
            target_reachable=seen.reachable,
            lines=diff(store.content_of_release(current) if current else None, store.content_of_release(target)),
        )
