"""This service's props: it is wired as in earnest, on a real small database; only the bus is read and written by hand."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from fastapi import FastAPI
from shared.bus import Bus
from shared.clock import HeldClock
from shared.context import Context, current
from shared.facts._base import REGISTRY, Message
from shared.facts.gateway import ServiceRegistered
from shared.hosting import Host, Service
from shared.http import RequestContext, install_problems
from shared.processes import Mark
from shared.sealing import KeyPair
from shared.settings import PlatformSettings
from shared.subscribers import Envelope
from webhook.settings import WebhookSettings
from webhook.wiring import wire

from shared import ids

SHOP = "svc_01900000000070008000000000000001"
FIRST = "1" * 40
SECOND = "2" * 40
THIRD = "3" * 40
ZERO = "0" * 40


def payload(**changes: Any) -> dict[str, Any]:
    """A push of one commit to main, as docs/webhooks.md describes it."""
    commit = changes.get("after", FIRST)
    return {
        "ref": "refs/heads/main",
        "before": ZERO,
        "after": commit,
        "pusher": {"name": "Ada"},
        "commits": [
            {
                "id": commit,
                "message": "Greet the customer",
                "author": {"name": "Ada", "email": "ada@example.org"},
                "added": ["app.py"],
                "modified": [],
                "removed": [],
            }
        ],
    } | changes


def sign(secret: str, body: bytes) -> str:
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


@dataclass
class Props:
    """The wired service, and hands for what surrounds it."""

    service: Service
    host: Host
    client: httpx.AsyncClient
    clock: HeldClock
    answers: list[Any] = field(default_factory=list)
    endpoint: str = ""
    secret: str = ""
    heard: int = 0

    async def hear(self, message: Message, *, times: int = 1) -> None:
        """Hand a message to its subscriber, as the loop does."""
        cls, handler, _ = self.service.subscribers.table[message.type()]
        again = cls.model_validate_json(message.model_dump_json())
        for _ in range(times):
            self.heard += 1
            envelope = Envelope(ids.uuid7(), message.type(), "", message.subject, datetime.now(UTC), "", "", "", self.heard, 0)
            mark = current.set(Context(causation=envelope.id, organisation=message.organisation))
            try:
                async with self.service.database.write() as tx:
                    await handler(tx, again, envelope)
            finally:
                current.reset(mark)

    async def ask(self, query: Any) -> Any:
        return await self.service.answers.table[query.type()][1](query)

    async def sent(self, *kinds: type[Message]) -> list[Any]:
        """What was announced so far, in order, as messages; only these kinds when some are named."""
        async with self.service.database.read() as tx:
            rows = await tx.all(sa.select(self.service.database.outbox).order_by(sa.text("position")))
        messages = [REGISTRY[row.headers["ce-type"]].model_validate_json(row.body) for row in rows]
        return [message for message in messages if not kinds or isinstance(message, kinds)]

    async def rows(self, table: sa.Table) -> list[dict[str, Any]]:
        async with self.service.database.read() as tx:
            return [dict(row._mapping) for row in await tx.all(sa.select(table))]

    async def register(self, service: str = SHOP, **changes: Any) -> None:
        """Put a service into the catalogue and remember its endpoint and secret."""
        from shared.facts.webhook import EndpointChanged
        from shared.queries.webhook import AskEndpointSecret

        values = {"name_": "shop", "repository_url": "https://git.example.org/shop.git", "branch": "main"} | changes
        await self.hear(ServiceRegistered(organisation="main", service=service, **values))
        made = [fact for fact in await self.sent(EndpointChanged) if fact.service == service][-1]
        found = await self.ask(AskEndpointSecret(organisation="main", endpoint=made.endpoint))
        self.endpoint, self.secret = found.path, found.secret

    async def deliver(
        self, body: bytes | dict[str, Any] | None = None, *, signature: str | None = None, **headers: str
    ) -> httpx.Response:
        """Send a delivery; signed rightly unless told otherwise. Header names with _ for -; None leaves one out."""
        raw = body if isinstance(body, bytes) else json.dumps(body or payload()).encode()
        sent: dict[str, Any] = {"content-type": "application/json", "x-kiops-event": "push"}
        sent["x-kiops-signature"] = sign(self.secret, raw) if signature is None else signature
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        kept = [
            (name.encode(), value.encode("latin-1") if isinstance(value, str) else value)
            for name, value in sent.items()
            if value is not None and value != ""
        ]
        return await self.client.post(self.endpoint, content=raw, headers=kept)

    async def push(self, **changes: Any) -> dict[str, Any]:
        """Deliver a push that must be accepted; the answer."""
        answer = await self.deliver(payload(**changes))
        assert answer.status_code == 202, answer.text
        return answer.json()


Wired = Callable[..., AbstractAsyncContextManager[Props]]


@pytest.fixture
def wired(tmp_path: Path, database_url: str) -> Wired:
    """The service on its database: `async with wired(max_body_bytes=2048) as props`. `name` is the folder of another instance."""

    @asynccontextmanager
    async def make(git: Any = None, name: str = "webhook", **settings: Any) -> AsyncIterator[Props]:
        root = tmp_path / "data"
        host = Host(
            name="webhook",
            root=root,
            data=root / "services" / name,
            bus=Bus("webhook", "nats://127.0.0.1:1", root / "bus" / "keys" / "webhook.nk"),
            objects=None,  # type: ignore[arg-type]  # this service has nothing large
            logs=None,  # type: ignore[arg-type]  # and no jobs with logs
            clock=HeldClock(),
            keys=KeyPair.load(root / "keys" / "webhook.key"),
            settings=PlatformSettings(home=tmp_path, data=root, database_url=database_url),
            instance="test",
            mark=Mark(),
        )
        async with wire(host, WebhookSettings(**settings), git=git) as service:
            app = FastAPI()
            install_problems(app)
            assert service.routes is not None
            app.include_router(service.routes, prefix="/api/v1/webhook")
            app.add_middleware(RequestContext)
            transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://kiops") as client:
                props = Props(service, host, client, host.clock)  # type: ignore[arg-type]
                service.database.on_answers = props.answers.extend
                yield props

    return make


@pytest.fixture
async def props(wired: Wired) -> AsyncIterator[Props]:
    """The service with one registered service, `shop`, on branch main."""
    async with wired() as made:
        await made.register()
        yield made
