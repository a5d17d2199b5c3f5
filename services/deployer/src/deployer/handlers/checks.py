"""Before a rollback: is the image of the older release still there?"""

from __future__ import annotations

from dataclasses import dataclass

from shared.bus import Bus
from shared.database import Database, Tx
from shared.errors import KiopsError, Rejected, Unavailable
from shared.jobs import Job
from shared.queries.builder import AskImageExists
from shared.queries.operator_proxy import AskPreflight

from deployer import store
from deployer.domain.queue import CHECKING
from deployer.errors import ImageGone
from deployer.handlers.requests import Requests


@dataclass(frozen=True)
class Seen:
    """What builder and runtime say of an image now; None where nobody answered."""

    built: bool | None
    on_runtime: bool | None
    reachable: bool

    @property
    def gone(self) -> bool:
        """Known to be nowhere. What nobody could answer is left to the runtime, which will see."""
        known = [answer for answer in (self.built, self.on_runtime) if answer is not None]
        return bool(known) and not any(known)


class Questions:
    """Asks the two services that can know, over the bus."""

    def __init__(self, bus: Bus, timeout_seconds: float) -> None:
        self.bus, self.timeout_seconds = bus, timeout_seconds

    async def look(self, organisation: str, service: str, runtime: str, image_id: str) -> Seen:
        """What is known of the image. Never raises: no answer is an answer of its own."""
        built = on_runtime = None
        reachable = False
        try:
            asked = AskImageExists(organisation=organisation, service=service, image_id=image_id)
            built = (await self.bus.ask(asked, self.timeout_seconds)).exists
        except (Unavailable, Rejected):
            pass
        try:
            ask = AskPreflight(organisation=organisation, service=service, runtime=runtime, image_id=image_id)
            preflight = await self.bus.ask(ask, self.timeout_seconds)
            reachable = preflight.reachable
            on_runtime = preflight.image_exists if reachable else None
        except (Unavailable, Rejected):
            pass
        return Seen(built, on_runtime, reachable)


class Checks:
    """Jobs of kind `check`: one per rollback or re-deploy."""

    def __init__(self, database: Database, questions: Questions, requests: Requests) -> None:
        self.database, self.questions, self.requests = database, questions, requests

    async def run(self, job: Job) -> None:
        """Place the release if its image is there, fail the request if it is gone."""
        async with self.database.read() as tx:
            request = await store.request(tx, job.payload["request"])
            older = await store.release(tx, request.back_to) if request else None
            environment = await store.environment(tx, request.service_id, request.environment) if request else None
        if request is None or request.state != CHECKING:
            async with job.finish("withdrawn"):
                return
        runtime = environment.runtime if environment else ""
        seen = await self.questions.look(request.organisation_id, request.service_id, runtime, request.image_id)
        async with job.finish() as tx:
            row = await store.request(tx, request.id)
            if row is None or row.state != CHECKING:
                return
            if seen.gone:
                await self.requests.fail(tx, row, ImageGone(row.image or row.image_id[:19], older.number if older else 0))
            else:
                await self.requests.place(tx, row, was=CHECKING)

    async def failed(self, tx: Tx, job: Job, error: KiopsError) -> None:
        """The check itself came to nothing: the request fails rather than hangs."""
        request = await store.request(tx, job.payload["request"])
        if request is not None and request.state == CHECKING:
            await self.requests.fail(tx, request, error)
