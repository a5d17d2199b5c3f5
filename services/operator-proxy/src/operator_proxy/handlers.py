"""What the operator-proxy does when it is told something: one transaction each."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from shared.clock import Clock
from shared.database import Database, Tx
from shared.errors import KiopsError, Unavailable
from shared.facts.operator_proxy import ReleaseObserved, RuntimeChanged
from shared.words import Phase

from operator_proxy import store
from operator_proxy.clients.docker import Engine
from operator_proxy.domain import naming
from operator_proxy.domain.naming import Target
from operator_proxy.domain.placing import Wanted
from operator_proxy.errors import FenceOvertaken
from operator_proxy.settings import OperatorProxySettings

TARGET_JOB, WATCH_JOB = "target", "watch"
APPLY, REMOVE = "apply", "remove"
MARGIN_SECONDS = 120
"""For what an order's own times do not count: making the edge, stopping and removing containers."""


@dataclass
class Handlers:
    """Use cases. What takes long is stored as a job; `placing.py` and `watch.py` do it."""

    database: Database
    clock: Clock
    settings: OperatorProxySettings
    engine: Engine

    # -- orders ------------------------------------------------------------------------------------------------------
    async def apply_release(self, tx: Tx, wanted: Wanted) -> None:
        """Take the order, unless a newer one for the same target was obeyed."""
        row = await store.target(tx, wanted.target)
        if row is not None and wanted.fence < row.fence:
            await self.observed(tx, wanted, Phase.FAILED, error=FenceOvertaken(wanted.fence, row.fence))
            return
        now_ms = self.clock.now_ms()
        if not await store.open_placement(tx, wanted.target, wanted.release, wanted.fence, wanted.run, now_ms):
            return
        host = row.host if row is not None else await self._host(tx, wanted)
        await store.raise_fence(tx, wanted.target, wanted.runtime, host, wanted.fence, now_ms)
        await tx.enqueue(
            TARGET_JOB,
            key=wanted.target.key,
            run=wanted.run,
            organisation=wanted.organisation,
            payload={"action": APPLY, "wanted": asdict(wanted)},
            deadline_seconds=wanted.deadline_seconds + wanted.drain_seconds + MARGIN_SECONDS,
        )

    async def _host(self, tx: Tx, wanted: Wanted) -> str:
        short = naming.host(wanted.service_name, wanted.environment, self.settings.edge_domain)
        if await store.host_is_free(tx, short, wanted.target):
            return short
        apart = f"{wanted.organisation} {wanted.service}"
        return naming.host(wanted.service_name, wanted.environment, self.settings.edge_domain, told_apart_by=apart)

    async def remove_target(self, tx: Tx, target: Target, runtime: str) -> None:
        """Queue the removal behind what is being done to the target."""
        await tx.enqueue(
            TARGET_JOB,
            key=target.key,
            run="",
            organisation=target.organisation,
            payload={"action": REMOVE, "target": asdict(target), "runtime": runtime},
            deadline_seconds=MARGIN_SECONDS,
        )

    async def remove_service(self, tx: Tx, organisation: str, service: str) -> None:
        """Remove every target of a service."""
        for target in await store.targets_of(tx, organisation, service):
            await self.remove_target(tx, target, self.settings.runtime)

    # -- what is told --------------------------------------------------------------------------------------------------
    async def observed(self, tx: Tx, wanted: Wanted, phase: Phase, *, error: KiopsError | None = None, **fields: Any) -> None:
        """Announce what the runtime shows of a release."""
        if error is not None:
            fields |= {"code": error.code, "reason": error.message, "advice": error.advice}
        await tx.put(
            ReleaseObserved(
                organisation=wanted.organisation,
                service=wanted.service,
                runtime=wanted.runtime,
                release=wanted.release,
                run=wanted.run,
                environment=wanted.environment,
                phase=phase,
                **fields,
            ),
            correlation=wanted.run,
        )

    async def apply_failed(self, tx: Tx, wanted: Wanted, attempt: int, error: KiopsError) -> None:
        """The release is not in place; what served before still does."""
        await store.end_placement(tx, wanted.release, wanted.fence, store.FAILED, self.clock.now_ms(), error.code)
        await self.observed(tx, wanted, Phase.FAILED, error=error, attempt=attempt)

    async def runtime_seen(self, tx: Tx, organisation: str, seen: dict[str, Any]) -> bool:
        """Remember what the runtime shows; announce it when it differs from before. `seen` has reachable, version, abilities
        and reason. Returns whether it differs."""
        values = {"organisation_id": organisation, "label": self.settings.runtime_label, "kind": "docker"} | seen
        row = await store.runtime(tx, self.settings.runtime)
        if row is not None and all(getattr(row, name) == value for name, value in values.items()):
            return False
        changed = {"id": self.settings.runtime, "changed_at_ms": self.clock.now_ms()}
        await store.put_runtime(tx, values | changed)
        await tx.put(
            RuntimeChanged(
                organisation=organisation,
                runtime=self.settings.runtime,
                label=self.settings.runtime_label,
                runtime_kind="docker",
                **seen,
            )
        )
        return True

    # -- questions ---------------------------------------------------------------------------------------------------
    async def preflight(self, image_id: str) -> tuple[bool, Unavailable | None]:
        """Whether the engine has the image; when it does not answer, why."""
        try:
            return await self.engine.image(image_id) is not None, None
        except Unavailable as error:
            return False, error
