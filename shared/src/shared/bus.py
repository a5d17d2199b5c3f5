"""The bus: who hears what, streams and durables in one table, one connection per service, queries and live logs.

FastStream carries the connection and the queries; facts and orders are read by the chassis' own loop (inbox.py), because
FastStream's JetStream loop loses, doubles or reorders messages under load.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any, cast

from shared import tasks, tracing
from shared.connection import Connection, client_of
from shared.context import Context, current, new_traceparent
from shared.errors import Broken, KiopsError, Rejected, Unavailable
from shared.facts import builder, deployer, gate, gateway, operator_proxy, scanner, webhook
from shared.facts._base import REGISTRY, Fact, Message, Order, Part, Query
from shared.orders import deployer as deployer_orders
from shared.orders import operator_proxy as operator_orders
from shared.orders import webhook as webhook_orders
from shared.queries import Answer
from shared.queries import builder as builder_queries  # noqa: F401  (registers the contracts)
from shared.queries import deployer as deployer_queries  # noqa: F401
from shared.queries import every as every_queries
from shared.queries import gateway as gateway_queries  # noqa: F401
from shared.queries import operator_proxy as operator_queries  # noqa: F401
from shared.queries import webhook as webhook_queries  # noqa: F401

if TYPE_CHECKING:
    from faststream.nats import NatsBroker
    from nats.aio.client import Client

EVENTS = "EVENTS"
LOGS = "LOGS"
SERVICES = ("gateway", "webhook", "builder", "scanner", "gate", "deployer", "operator-proxy")
LOG_WRITERS = ("builder", "scanner", "deployer", "operator-proxy")
LOG_READERS = ("gateway",)
REBUILD = {"gateway": "gateway-rebuild"}
"""The second durable of a service that can make its tables again from the first fact, beside those that serve."""

_SERVICE_FACTS = (gateway.ServiceRegistered, gateway.ServiceChanged, gateway.ServiceDeleted)
_RUN_ENDS = (webhook.RunSuperseded, webhook.RunCancelled, webhook.RunFinished)

HEARS: dict[str, tuple[type[Message], ...]] = {
    "gateway": (),  # every fact and order: filled below
    "webhook": (
        *_SERVICE_FACTS,
        webhook_orders.StartRun,
        webhook_orders.CancelRun,
        webhook_orders.SetRule,
        builder.BuildStarted,
        builder.SourceFetched,
        builder.BuildSucceeded,
        builder.BuildFailed,
        builder.BuildCancelled,
        scanner.ScanStarted,
        scanner.ScanFinished,
        scanner.ScanFailed,
        scanner.ScanCancelled,
        gate.GateDecided,
        deployer.DeployRequested,
        deployer.DeployPlanned,
        deployer.DeployStarted,
        deployer.DeployReady,
        deployer.DeploySettled,
        deployer.DeployFailed,
        deployer.DeployCancelled,
        deployer.DeployRolledBack,
    ),
    "builder": (*_SERVICE_FACTS, webhook.PushReceived, *_RUN_ENDS, deployer.DeployReady),
    "scanner": (*_SERVICE_FACTS, webhook.PushReceived, *_RUN_ENDS, builder.BuildSucceeded, builder.BuildFailed),
    "gate": (
        *_SERVICE_FACTS,
        webhook.PushReceived,
        webhook.RunStarted,
        *_RUN_ENDS,
        builder.BuildSucceeded,
        builder.BuildFailed,
        scanner.ScanQueued,
        scanner.ScanStarted,
        scanner.ScanFinished,
        scanner.ScanFailed,
        scanner.ScanCancelled,
        deployer.DeployRequested,
        deployer.DeployReady,
        deployer.DeployCancelled,
    ),
    "deployer": (
        *_SERVICE_FACTS,
        webhook.PushReceived,
        webhook.RunStarted,
        *_RUN_ENDS,
        builder.BuildSucceeded,
        builder.BuildFailed,
        gate.GateDecided,
        operator_proxy.ReleaseObserved,
        operator_proxy.RuntimeChanged,
        deployer_orders.SetEnvironment,
    ),
    "operator-proxy": (gateway.ServiceDeleted, operator_orders.ApplyRelease, operator_orders.RemoveTarget),
}
"""Which facts and orders each service acts on. Filters of the durables (`heard_on`) and start-up checks come from it."""


def stored() -> list[type[Message]]:
    """Every contract that the stream EVENTS keeps: facts and orders."""
    return [cls for cls in REGISTRY.values() if issubclass(cls, Fact | Order)]


HEARS["gateway"] = tuple(cls for cls in stored() if issubclass(cls, Fact))


def heard_on(service: str) -> list[str]:
    """The filters of a service's durable, as few as bring little that it does not hear: none at all for who hears every fact.

    nats-server tries each filter on each message, some 3 µs apiece; a message more than is heard costs its reader some 50 µs.
    """
    if service == "gateway":
        return []
    nouns: dict[str, list[type[Message]]] = defaultdict(list)
    for cls in HEARS[service]:
        nouns[cls.type().rpartition(".")[0]].append(cls)
    filters = []
    for noun, heard in nouns.items():
        said = [cls for cls in stored() if cls.type().rpartition(".")[0] == noun]
        filters += [f"{noun}.*.*.*"] if len(heard) > 1 and 2 * len(heard) >= len(said) else [cls.pattern() for cls in heard]
    return sorted(filters)


def queries() -> list[type[Query]]:
    return [cls for cls in REGISTRY.values() if issubclass(cls, Query)]


def answered_on(query: type[Query], service: str) -> str:
    """The subject on which a service hears a query; of those that every service answers it hears its own."""
    return query.pattern(service if query.owner == every_queries.EVERY else "*")


class Bus(Connection):
    """One service's connection, and what is said over it: requests, queries and their answers, live logs."""

    look_again_seconds: tuple[float, ...] = (1.0, 3.0)
    """After so long without a new line, what is stored of a log is read once more."""

    async def request(self, subject: str, body: bytes, *, headers: dict[str, str] | None = None, timeout_seconds: float = 5) -> Any:
        """Request and reply over the plain connection. Raises Unavailable `bus.away`, Denied."""
        from nats import errors

        if not self.connected and self.broker is not None and self.connections:
            raise Unavailable("bus.away", "nats-server does not answer", "Nothing is lost; it is tried again.")
        try:
            client = self.client
            with self._at_work(client):
                return await self.guard.call(
                    "publish",
                    subject,
                    client.request(subject, body, headers=headers, timeout=timeout_seconds),
                    timeout_seconds + 0.5,
                )
        except errors.NoRespondersError as error:
            raise Unavailable("bus.no_answer", f"nobody answers {subject}", "The service may be starting; try again.") from error
        except (TimeoutError, errors.Error, OSError) as error:
            raise Unavailable(
                "bus.away", f"nats-server did not answer within {timeout_seconds:g} s: {type(error).__name__}"
            ) from error

    async def api_call(self, verb: str, body: Any = None, timeout_seconds: float = 5) -> dict[str, Any]:
        """A call of the JetStream API. Raises Unavailable, Denied, Broken `bus.api` with the server's own words."""
        reply = await self.request(
            f"{self.api}.{verb}",
            json.dumps(body).encode() if body is not None else b"",
            timeout_seconds=timeout_seconds,
        )
        answer = json.loads(reply.data)
        if "error" in answer:
            error = answer["error"]
            raise Broken("bus.api", f"{verb}: {error.get('description')}", err_code=error.get("err_code"))
        return cast(dict[str, Any], answer)

    # -- queries -----------------------------------------------------------------------------------------------------
    async def ask(self, query: Query, timeout_seconds: float = 2.0) -> Any:
        """Ask and wait for the answer. Raises Unavailable `bus.no_answer`; an answer's own error as Rejected."""
        about = _about("ask", "send", query)
        with tracing.span(f"ask {query.name}", about, kind="client") as span:
            headers = {"traceparent": span.traceparent or new_traceparent(), "ce-correlationid": current.get().correlation}
            try:
                reply = await self.request(
                    query.subject, query.model_dump_json().encode(), headers=headers, timeout_seconds=timeout_seconds
                )
            except Unavailable as error:
                raise Unavailable("bus.no_answer", f"{query.owner} did not answer {query.name}", error.advice) from error
        kind = query.answer or Answer
        answer = kind.model_validate_json(reply.data)
        if isinstance(answer, Answer) and answer.error:
            error_kind = Unavailable if answer.error.endswith((".away", ".unavailable", ".no_answer")) else Rejected
            raise error_kind(answer.error, answer.detail, answer.advice)
        return answer

    async def tell(self, query: Query) -> None:
        """Publish a one-way query: no answer, not stored."""
        await self.client.publish(query.subject, query.model_dump_json().encode())

    def _subscribe(self, broker: NatsBroker) -> None:
        for query, answer in self.answers.table.values():
            self._register(broker, query, answer)

    def _register(self, broker: NatsBroker, query: type[Query], answer: Callable[[Any], Awaitable[Part | None]]) -> None:
        async def handle(message: Any) -> bytes | None:
            try:
                asked = query.model_validate_json(message.body)
            except ValueError as error:
                return _refusal("query.malformed", str(error).splitlines()[0]) if query.answer else None
            # By its rights nobody else can ask on the subject of this asker; what the body says may be anything.
            if query.tail == "asker" and message.raw_message.subject != asked.subject:
                return _refusal("query.asker", "this was asked in the name of another")
            headers = message.headers or {}
            current.set(
                Context(
                    correlation=headers.get("ce-correlationid", ""),
                    traceparent=headers.get("traceparent", ""),
                    organisation=asked.organisation,
                    service=self.service,
                )
            )
            try:
                with (
                    self._at_work(client_of(broker)),
                    tracing.span(f"answer {query.name}", _about("answer", "process", asked), kind="server"),
                ):
                    result = await answer(asked)
            except KiopsError as error:
                return _refusal(error.code, error.message, error.advice)
            except Exception as error:
                self.log.exception("a query broke", query=query.type())
                return _refusal("query.broken", f"{type(error).__name__} in {query.owner}")
            return result.model_dump_json().encode() if result is not None else None

        async def plain(message: Any) -> Any:
            return message

        # Handlers of one subject run beside each other: a slow ls-remote must not hold back the next question.
        subject = answered_on(query, self.service)
        broker.subscriber(subject, queue=self.service, decoder=plain, max_workers=16)(_raw(handle))

    # -- logs --------------------------------------------------------------------------------------------------------
    async def publish_log(self, subject: str, body: bytes) -> None:
        """Store one message of a job's log. Raises Unavailable."""
        reply = await self.request(subject, body, timeout_seconds=5)
        answer = json.loads(reply.data)
        if "error" in answer:
            raise Unavailable("bus.log", str(answer["error"].get("description")))

    async def read_log(self, writer: str, organisation: str, job: str, from_line: int = 0) -> AsyncIterator[dict[str, Any]]:
        """A job's log messages from a line on: what is stored, then live ones until one says `end`.

        Each is {"from", "lines": [[ms, stage, stream, text], ...], "progress", "end"}.
        """
        subject, at = f"log.{writer}.{organisation}.{job}", from_line
        while True:
            client = self.client
            async for message in self._follow(client, subject, at):
                at = max(at, message["from"] + len(message["lines"]))
                yield message
                if message.get("end"):
                    return
            if self.client is client:
                raise Unavailable("bus.away", "the connection to nats-server was lost", "Reload the page.")

    async def _follow(self, client: Client, subject: str, from_line: int) -> AsyncIterator[dict[str, Any]]:
        """As `read_log`, as long as this connection lasts.

        nats-server hands a message to subscribers before it has stored it: one that was sent just before we subscribed may be in
        neither place when we look. So what is stored is read again a little later, and at once when lines are missing.
        """
        live = await client.subscribe(subject)
        messages, coming = live.messages, None
        looks = list(self.look_again_seconds)
        sequence, last, reached = 1, -1, 0
        told: set[tuple[int, int, bool]] = set()  # what came live, and is found stored too
        held: dict[str, Any] | None = None
        try:
            while True:
                async for number, message in self._stored_log(subject, sequence):
                    sequence = number + 1
                    if _lines(message) in told:
                        continue
                    last = reached = message["from"] + len(message["lines"])
                    if last > from_line or message.get("end"):
                        yield message
                    if message.get("end"):
                        return
                looked = True
                while True:
                    if held is None:
                        coming = coming or asyncio.ensure_future(anext(messages))
                        await asyncio.wait({coming}, timeout=looks[0] if looks else None)
                        if not coming.done():
                            looks.pop(0)
                            break
                        try:
                            raw = coming.result()
                        except StopAsyncIteration:
                            return
                        finally:
                            coming = None
                        if not raw.data:
                            continue
                        held, looked = json.loads(raw.data), False
                    if held["lines"] and held["from"] > reached and not looked:
                        break
                    message, held = held, None
                    if message["from"] + len(message["lines"]) <= last and message["lines"]:
                        continue
                    told.add(_lines(message))
                    reached = message["from"] + len(message["lines"])
                    yield message
                    if message.get("end"):
                        return
        finally:
            await tasks.end(coming)
            with contextlib.suppress(Exception):
                await live.unsubscribe()

    async def _stored_log(self, subject: str, sequence: int) -> AsyncIterator[tuple[int, dict[str, Any]]]:
        """What is stored of a log from this place of the stream on: (place, message)."""
        while True:
            found = 0
            async for headers, data in self._direct_batch(LOGS, subject, sequence, 500):
                found += 1
                sequence = int(headers["Nats-Sequence"]) + 1
                yield sequence - 1, json.loads(data)
            if found < 500:
                return

    async def _direct_batch(
        self, stream: str, subject: str, sequence: int, batch: int
    ) -> AsyncIterator[tuple[dict[str, str], bytes]]:
        client = self.client
        inbox = client.new_inbox()
        replies = await client.subscribe(inbox)
        body = json.dumps({"seq": sequence, "batch": batch, "next_by_subj": subject}).encode()
        try:
            await client.publish(f"{self.api}.DIRECT.GET.{stream}", body, reply=inbox)
            while True:
                message = await replies.next_msg(timeout=5)
                headers = message.headers or {}
                if headers.get("Status"):
                    return
                yield headers, message.data
        finally:
            await replies.unsubscribe()


def _raw(handle: Callable[[Any], Awaitable[bytes | None]]) -> Callable[[Any], Awaitable[bytes | None]]:
    # FastStream reads the parameter's annotation to decide how to decode; a plain one-argument function gets what our
    # decoder returns, the whole message.
    async def answer(message: Any) -> bytes | None:
        return await handle(message)

    return answer


def _lines(message: dict[str, Any]) -> tuple[int, int, bool]:
    return message["from"], len(message["lines"]), bool(message.get("end"))


def _about(name: str, kind: str, query: Query) -> dict[str, str]:
    return {
        "messaging.system": "nats",
        "messaging.operation.name": name,
        "messaging.operation.type": kind,
        "messaging.destination.name": query.subject,
        "messaging.destination.template": query.type(),
    }


def _refusal(code: str, detail: str, advice: str = "") -> bytes:
    return Answer(error=code, detail=detail, advice=advice).model_dump_json().encode()
