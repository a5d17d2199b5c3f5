"""A real gateway with its pages on a port, a story in its read model, and neighbours that answer its questions."""

from __future__ import annotations

import asyncio
import json
import secrets
import threading
from collections.abc import AsyncIterator
from concurrent.futures import Future
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from gateway.access.passwords import digest
from gateway.settings import GatewaySettings
from gateway.store import people
from gateway.wiring import wire
from shared.bootstrap import bootstrap
from shared.bus import Bus
from shared.queries.deployer import PreviewRollback, RollbackPreview
from shared.queries.webhook import (
    AskEndpointSecret,
    Branch,
    Deliveries,
    DeliveryRow,
    EndpointSecret,
    ListDeliveries,
    SourceTested,
    TestSource,
)
from shared.runtime import running, serve_http
from shared.settings import PlatformSettings
from shared.subscribers import Answers
from shared.testing.nats import NatsServer, free_port

from shared import ids
from tests.pages import harbour
from tests.pages.story import ORG, Story, commit_of

PASSWORD = "a long sentence for the harbour"


def webhook_answers(story: Story) -> Answers:
    """What the webhook service would answer about the services of the story."""
    to = Answers()

    @to(ListDeliveries)
    async def deliveries(query: ListDeliveries) -> Deliveries:
        if query.service != harbour_of(story, "shop-api"):
            return Deliveries()

        def row(minutes: float, verdict: str, reason: str, run: int | None = None, ref: str = "refs/heads/main") -> DeliveryRow:
            at = story.clock_iso(story.ago(minutes=minutes))
            return DeliveryRow(
                delivery=ids.new("dlv"), endpoint="ep", received_at=at, verdict=verdict, code="", reason=reason, run_number=run,
                ref=ref, commit=commit_of(f"{minutes}"),
            )  # fmt: skip

        return Deliveries(
            rows=[
                row(7, "run", "", 28),
                row(12, "ignored", "no changed file matches an include; 3 files, all in docs/ or excluded"),
                row(31, "run", "", 27),
                row(31.1, "repeated", "it belongs to run #27, nothing was done twice", 27),
                row(33, "run", "superseded by #27 after 18 s", 26),
                row(48, "refused", "the signature does not match the secret of Production"),
                row(62, "ignored", "no rule names this branch", ref="refs/heads/spike/graphql-with-a-rather-long-name"),
            ]
        )

    @to(AskEndpointSecret)
    async def secret(query: AskEndpointSecret) -> EndpointSecret:
        return EndpointSecret(
            endpoint=query.endpoint, label="Production", path="/api/v1/webhook/generic/x", secret="kps_" + "7f3a" * 10
        )

    @to(TestSource)
    async def test(query: TestSource) -> SourceTested:
        if "gone" in query.repository_url:
            return SourceTested(
                error="source.not_found",
                detail="The repository was not found.",
                advice="Look at the address, or give a token that may read it.",
            )
        branches = [Branch(name=n, commit=commit_of(n)) for n in ("main", "release/5", "cursor-paging")]
        return SourceTested(branches=branches, tags=[Branch(name="v1", commit=commit_of("v1"))], default_branch="main")

    return to


def deployer_answers() -> Answers:
    to = Answers()

    @to(PreviewRollback)
    async def preview(query: PreviewRollback) -> RollbackPreview:
        return RollbackPreview(
            release=query.release or "",
            release_number=1,
            from_number=2,
            image_exists=True,
            target_reachable=True,
            lines=[
                "- image shop-api@sha256:19ab77e0 (now)",
                "+ image shop-api@sha256:e40c81d2 (comes back)",
                "+ variable LEDGER_HOST=ledger.prod.svc:8080",
                "- variable READ_TIMEOUT=10s",
                "+ variable READ_TIMEOUT=5s",
                "  variable PORT=8080",
            ],
        )

    return to


def harbour_of(story: Any, name: str) -> str:
    return story.harbour.services[name].id


class World:
    """What a test is given: the address of the pages, and the platform behind them."""

    def __init__(self, url: str, platform: Any, story: Story, nats: NatsServer) -> None:
        self.url, self.platform, self.story, self.nats = url, platform, story, nats
        self.loop: asyncio.AbstractEventLoop | None = None
        self.buses: dict[str, Bus] = {}
        self.letter = ""

    @property
    def harbour(self) -> harbour.Harbour:
        return self.story.harbour  # type: ignore[attr-defined]

    def do(self, work: Any, timeout_seconds: float = 60) -> Any:
        """Run a coroutine on the gateway's own loop, from the browser's thread."""
        assert self.loop
        future: Future[Any] = asyncio.run_coroutine_threadsafe(work, self.loop)
        return future.result(timeout_seconds)

    async def link(self) -> str:
        """A one-time sign-in link."""
        running = self.platform.services["gateway"]
        link, now = secrets.token_urlsafe(32), running.host.clock.now_ms()
        async with running.service.database.write() as tx:
            user = await people.first_admin(tx, ORG)
            await people.add_link(tx, digest(link), user.id, ORG, now, now + 600_000)
        return f"{self.url}/login/{link}"

    async def say(self, lines: list[list[Any]], first: int, *, end: bool = False, percent: int | None = None) -> None:
        """The running build of the story writes lines."""
        build = self.harbour.live_build
        body = {"from": first, "lines": lines, "progress": None, "end": end}
        if percent is not None:
            body["progress"] = {"percent": percent, "stage": "build", "text": f"{percent} %, step 9 of 14"}
        await self.buses["builder"].publish_log(f"log.builder.{ORG}.{build}", json.dumps(body).encode())

    async def poison(self) -> None:
        """A message that the gateway cannot handle: half a push."""
        subject = f"kiops.webhook.push.received.{ORG}.{self.harbour.services['shop-api'].id}"
        self.letter = f"poison-{ids.uuid7()}"
        headers = {"Nats-Msg-Id": self.letter, "ce-id": self.letter, "ce-type": "kiops.webhook.push.received"}
        stored = await self.buses["webhook"].request(subject, b'{"run": "run_1"}', headers=headers)
        loop = self.platform.services["gateway"].loop
        async with asyncio.timeout(30):
            while loop.position < json.loads(stored.data)["seq"]:
                await asyncio.sleep(0.01)

    async def told(self, fact: Any) -> None:
        """A fact on the bus, as its owner publishes it; comes back when the read model has learnt it."""
        name = f"{fact.owner}-{ids.uuid7()}"
        headers = {
            "ce-id": name,
            "ce-type": fact.type(),
            "ce-source": f"/kiops/{fact.owner}",
            "ce-subject": fact.subject,
            "ce-time": self.story.clock_iso(self.story.now_ms),
            "ce-specversion": "1.0",
            "Nats-Msg-Id": name,
        }
        bus = self.buses[fact.owner]
        stored = await bus.request(fact.subject, fact.model_dump_json().encode(), headers=headers)
        loop = self.platform.services["gateway"].loop
        async with asyncio.timeout(30):
            while loop.position < json.loads(stored.data)["seq"]:
                await asyncio.sleep(0.01)


@asynccontextmanager
async def world(root: Path, *, long: bool = False, told: bool = True, browsing: bool = True) -> AsyncIterator[World]:
    """Start nats-server and the gateway below `root`, tell the story, and serve the pages."""
    nats = NatsServer(root / "data")
    nats.start()
    try:
        settings = PlatformSettings(home=root, data=nats.root)
        await bootstrap(nats.url, nats.keys)
        own = GatewaySettings(
            admin_name="ana", admin_password=PASSWORD, base_url="https://kiops.harbour.example", order_wait_seconds=0.5
        )
        async with running({"gateway": lambda host: wire(host, own)}, settings, bus_url=nats.url, keys=nats.keys) as platform:
            port = free_port()
            story = Story(platform, platform.services["gateway"].host.clock.now_ms())
            here = World(f"http://127.0.0.1:{port}", platform, story, nats)
            story.harbour = await harbour.tell(story, long=long) if told else harbour.Harbour()  # type: ignore[attr-defined]
            for name, answers in (("webhook", webhook_answers(story)), ("deployer", deployer_answers()), ("builder", Answers())):
                bus = Bus(name, nats.url, nats.keys / f"{name}.nk")
                bus.answers = answers
                await bus.open()
                here.buses[name] = bus
            if long:
                await here.poison()
            ready = asyncio.Event()
            serving = asyncio.create_task(serve_http(platform.app, "127.0.0.1", port, ready=ready))
            await ready.wait()
            here.loop = asyncio.get_running_loop()
            try:
                yield here
            finally:
                serving.cancel()
                await asyncio.gather(serving, return_exceptions=True)
                for bus in here.buses.values():
                    await bus.close()
    finally:
        nats.stop()


class Threaded:
    """A world on a loop of its own, for browsers that are driven without async."""

    def __init__(self, root: Path, **options: Any) -> None:
        self._root, self._options = root, options
        self._ready: Future[World] = Future()
        self._stop: asyncio.Event | None = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    async def _run(self) -> None:
        self._stop = asyncio.Event()
        try:
            async with world(self._root, **self._options) as here:
                self._ready.set_result(here)
                await self._stop.wait()
        except BaseException as error:
            if not self._ready.done():
                self._ready.set_exception(error)
            else:
                raise

    def __enter__(self) -> World:
        self._thread.start()
        return self._ready.result(120)

    def __exit__(self, *_: object) -> None:
        here = self._ready.result()
        assert here.loop and self._stop
        here.loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(30)
