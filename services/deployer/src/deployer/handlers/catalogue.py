"""What the deployer remembers of services, runtimes and runs."""

from __future__ import annotations

from collections.abc import Sequence

from shared.database import Tx
from shared.orders.operator_proxy import RemoveTarget

from deployer import store
from deployer.handlers.requests import Requests


class Catalogue:
    """Notes what others own; takes a deleted service's deploys out of the queue."""

    def __init__(self, requests: Requests) -> None:
        self.requests = requests

    async def remember(self, tx: Tx, organisation: str, service: str, name: str) -> None:
        await store.remember_service(tx, organisation, service, name)

    async def remember_runtime(self, tx: Tx, organisation: str, runtime: str, reachable: bool, reason: str) -> None:
        await store.remember_runtime(tx, organisation, runtime, reachable, reason)

    async def forget(self, tx: Tx, organisation: str, service: str, name: str, remove_running: bool, by: str, now_ms: int) -> None:
        """The service left the catalogue: nothing of it is deployed any more. What runs goes only when that was said."""
        for request in await store.queued_of_service(tx, service):
            await self.requests.take_back(tx, request, "the service was deleted")
        if remove_running:
            for environment in await store.environments_of(tx, service):
                await tx.put(
                    RemoveTarget(
                        organisation=organisation,
                        service=service,
                        runtime=environment.runtime,
                        environment=environment.name,
                        service_name=name,
                        by=by,
                    )
                )
        await store.forget_service(tx, service, now_ms)

    async def run_born(
        self,
        tx: Tx,
        organisation: str,
        service: str,
        run: str,
        number: int,
        service_name: str,
        begun_by: str,
        commit: str,
        environments: Sequence[str],
    ) -> bool:
        """Keep what later steps of this run need. False when it is known."""
        return await store.add_run(
            tx,
            {
                "id": run,
                "organisation_id": organisation,
                "service_id": service,
                "number": number,
                "service_name": service_name,
                "begun_by": begun_by,
                "commit_id": commit,
                "environments": list(dict.fromkeys(environments)),
            },
        )
