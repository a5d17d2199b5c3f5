"""The bus: who hears what, streams and durables in one table, one connection per service, queries and live logs.

FastStream carries the connection and the queries; facts and orders are read by the chassis' own loop (inbox.py), because
FastStream's JetStream loop loses, doubles or reorders messages under load. NATS tells a refused subject only to the error
callback while the caller waits for its time-out, so `Guard` hands the refusal to the waiting call.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from shared import logging, seeds, tasks, tracing
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
from shared.subscribers import Answers

if TYPE_CHECKING:
    from faststream.nats import NatsBroker
    from nats.aio.client import Client

EVENTS = "EVENTS"
LOGS = "LOGS"
SERVICES = ("gateway", "webhook", "builder", "scanner", "gate", "deployer", "operator-proxy")
LOG_WRITERS = ("builder", "scanner", "deployer", "operator-proxy")
LOG_READERS = ("gateway",)
LOOK_SECONDS = 0.5
"""How often a service looks whether its key was replaced."""
RETIRE_SECONDS = 30.0
"""What is asked and answered over a connection that was replaced may take so long to its end."""
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


class Denied(Broken):
    """The server refused a subject: the rights and the contract table disagree."""

    def __init__(self, kind: str, subject: str) -> None:
        super().__init__("bus.denied", f"the bus refused {kind} to {subject}", "This is a defect of ours: report it.")


REFUSED = "authorization violation"
VIOLATION = re.compile(r"permissions violation for (publish|subscription) to \"([^\"]+)\"", re.IGNORECASE)


class Guard:
    """Maps the server's refusals (told to the error callback only, in lower case) to the waiting call."""

    def __init__(self, service: str) -> None:
        self.denied: Counter[tuple[str, str]] = Counter()
        self.waiting: dict[tuple[str, str], set[asyncio.Future[None]]] = defaultdict(set)
        self.log = logging.get(service)

    async def on_error(self, error: Exception) -> None:
        found = VIOLATION.search(str(error))
        if not found:
            self.log.warning("bus", error=f"{type(error).__name__}: {error}")
            return
        key = (found[1].lower(), found[2].lower())
        self.denied[key] += 1
        self.log.error("the bus refused a subject", kind=key[0], subject=key[1])
        for future in list(self.waiting.get(key, ())):
            if not future.done():
                future.set_exception(Denied(*key))

    def interrupt(self) -> None:
        """The connection is lost: nobody need wait for an answer that will not come. What was sent may still have arrived."""
        for futures in list(self.waiting.values()):
            for future in list(futures):
                if not future.done():
                    future.set_exception(Unavailable("bus.away", "the connection to nats-server was lost"))

    async def call(self, kind: str, subject: str, work: Awaitable[Any], timeout_seconds: float) -> Any:
        """Await the work, but raise Denied as soon as the server refuses the subject, TimeoutError after the time."""
        key = (kind, subject.lower())
        refused: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waiting[key].add(refused)
        task = asyncio.ensure_future(work)
        try:
            await asyncio.wait({task, refused}, timeout=timeout_seconds, return_when=asyncio.FIRST_COMPLETED)
            if refused.done():
                raise cast(BaseException, refused.exception())
            if not task.done():
                raise TimeoutError
            if task.cancelled():  # the client was closed beneath it
                raise Unavailable("bus.away", "the connection to nats-server was lost")
            return task.result()
        finally:
            self.waiting[key].discard(refused)
            if not self.waiting[key]:
                del self.waiting[key]
            refused.cancel()
            await tasks.end(task)


class Bus:
    """One service's connection. `open()` signs in and subscribes; until then, and while it is lost, calls raise Unavailable.

    When the seed's file is written again, a connection with the new key takes the place of the old one: what is asked and answered
    meanwhile goes to its end where it began. A connection that was closed or whose key is refused is made anew from the file.
    """

    def __init__(self, service: str, url: str, seed: Path, *, api: str = "$JS.API") -> None:
        self.service, self.url, self.seed, self.api = service, url, seed, api
        self.guard = Guard(service)
        self.answers = Answers()
        self.broker: NatsBroker | None = None
        self.connected = False
        self.connections = 0
        self.closing = False
        self.key = self.trouble = ""
        self.log = logging.get(service)
        self._mark: seeds.Mark | None = None
        self._refused = False
        self._busy: Counter[int] = Counter()  # by connection: what is asked or answered over it just now
        self._wake = asyncio.Event()
        self._tending: asyncio.Task[None] | None = None
        self._retiring: set[asyncio.Task[None]] = set()

    @property
    def client(self) -> Client:
        """The connection beneath FastStream. Raises Unavailable `bus.away` when there is none."""
        return _client(self.broker)

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
                    self._at_work(_client(broker)),
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
        """As `read_log`, as long as this connection lasts."""
        live = await client.subscribe(subject)
        try:
            last = -1
            async for message in self._stored_log(subject):
                last = message["from"] + len(message["lines"])
                if last > from_line or message.get("end"):
                    yield message
                if message.get("end"):
                    return
            async for raw in live.messages:
                if not raw.data:
                    continue
                message = json.loads(raw.data)
                if message["from"] + len(message["lines"]) <= last and message["lines"]:
                    continue
                yield message
                if message.get("end"):
                    return
        finally:
            with contextlib.suppress(Exception):
                await live.unsubscribe()

    async def _stored_log(self, subject: str) -> AsyncIterator[dict[str, Any]]:
        sequence = 1
        while True:
            found = 0
            async for headers, data in self._direct_batch(LOGS, subject, sequence, 500):
                found += 1
                sequence = int(headers["Nats-Sequence"]) + 1
                yield json.loads(data)
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

    # -- life --------------------------------------------------------------------------------------------------------
    async def open(self, timeout_seconds: float = 10) -> None:
        """Sign in with the service's NKey and inbox prefix, subscribe the answers, and make sure that the server let us.

        Raises Unavailable `bus.away` when that does not succeed in time, `bus.refused` when the key is not accepted; Denied naming
        the subject; Broken `bus.key_readable`, `bus.key_unusable`.
        """
        self.guard.denied.clear()
        self.broker = await self._sign_in(timeout_seconds)
        self.connected = True
        if self._tending is None:
            self._tending = asyncio.create_task(self._tend(), name=f"{self.service} bus")

    async def _sign_in(self, timeout_seconds: float = 10) -> NatsBroker:
        """A connection with the key that the seed's file holds now. Raises as `open` does."""
        from nats import errors

        mark = seeds.mark(self.seed)
        seed = seeds.read(self.seed)
        logging.masker.add(seed)
        refused: list[bool] = []
        broker = self._broker(seed, refused)
        denied = self.guard.denied.copy()
        try:
            async with asyncio.timeout(timeout_seconds):
                await broker.connect()
                await broker.start()
                # nats-py writes the PING of a flush before what waits in its buffer; only the second flush is a barrier.
                for _ in range(2):
                    await _client(broker).flush(timeout=5)
            if new := self.guard.denied - denied:
                raise Denied(*next(iter(new)))
        except BaseException as error:
            await _end(broker)
            if refused:
                advice = "If it was replaced just now, nats-server has still to read its configuration: `kiops keys rotate`."
                raise Unavailable("bus.refused", f"nats-server does not accept the key of {self.service}", advice) from None
            if not isinstance(error, TimeoutError | OSError | errors.Error) and getattr(error, "code", "") != "bus.away":
                raise
            raise Unavailable(
                "bus.away", f"no connection to nats-server at {self.url} as {self.service}", "Is it running?"
            ) from error
        self.key, self._mark = seeds.public(seed), mark
        return broker

    def _broker(self, seed: str, refused: list[bool]) -> NatsBroker:
        """A connection that is not open yet. `refused` is no longer empty once nats-server did not accept the key."""
        from faststream.nats import NatsBroker
        from faststream.nats.security import NatsNKey

        async def on_error(error: Exception) -> None:
            if REFUSED not in str(error).lower():
                await self.guard.on_error(error)
            elif not refused:
                refused.append(True)
                if broker is self.broker:
                    self._refused = True
                    self._wake.set()

        async def on_lost() -> None:
            if broker is self.broker:
                self._lost()

        async def on_back() -> None:
            if broker is self.broker:
                self.connected = True
                self.log.info("connected to nats-server again")

        async def on_closed() -> None:
            # nats-py gave it up for good.
            if broker is self.broker:
                self._wake.set()

        broker = NatsBroker(
            self.url,
            name=f"kiops-{self.service}",
            # Not the file: the client would sign with what it holds later, for the public key that it held at first.
            security=NatsNKey.from_seed(seed),
            inbox_prefix=f"_INBOX_{self.service}",
            max_reconnect_attempts=-1,
            reconnect_time_wait=0.2,  # type: ignore[arg-type]  # nats-py sleeps it as it is
            connect_timeout=2,
            ping_interval=10,
            max_outstanding_pings=2,
            error_cb=on_error,
            disconnected_cb=on_lost,
            reconnected_cb=on_back,
            closed_cb=on_closed,
            graceful_timeout=2,
            drain_timeout=2,
            logger=None,
            apply_types=False,
        )
        for query, answer in self.answers.table.values():
            self._register(broker, query, answer)
        return broker

    async def open_patiently(self) -> None:
        """Open, again and again until it succeeds."""
        wait = 0.2
        while True:
            try:
                await self.open()
                return
            except Unavailable as error:
                self.log.warning("waiting for nats-server", error=str(error))
            await asyncio.sleep(wait)
            wait = min(2.0, wait * 2)

    async def _tend(self) -> None:
        """Look whether the key was replaced, or the connection is of no use any more, and make another one then."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._wake.wait()
            self._wake.clear()
            if not self._refused and seeds.mark(self.seed) == self._mark and not self._is_closed():
                continue
            try:
                await self._renew()
                self.trouble = ""
            except Exception as error:
                if str(error) != self.trouble:
                    self.log.error("no new connection to nats-server; the old one goes on if it can", error=str(error))
                self.trouble = str(error)
                await asyncio.sleep(LOOK_SECONDS)

    def _is_closed(self) -> bool:
        client = getattr(self.broker, "_connection", None)
        if client is None or client.is_closed:
            return True
        # FastStream's error callback raises on what it holds for hopeless, and with that ends nats-py's trying.
        trying = client._reconnection_task
        return bool(client.is_reconnecting and trying is not None and trying.done())

    async def _renew(self) -> None:
        before, key = self.broker, self.key
        if before is not None and (self._refused or self._is_closed()):
            # It is of no use: who waits for it may go on, and a key that is refused is not tried for ever.
            self.broker, self._refused = None, False
            if self.connected:
                self._lost()
            await _end(before)
        self.broker, old = await self._sign_in(), self.broker
        self.connected = True
        self.connections += 1
        if key != self.key:
            self.log.info("signed in to nats-server with a new key", key=self.key)
        else:
            self.log.info("connected to nats-server again")
        if old is not None:
            task = asyncio.create_task(self._retire(old), name=f"{self.service} former connection")
            self._retiring.add(task)
            task.add_done_callback(self._retiring.discard)

    async def _retire(self, broker: NatsBroker) -> None:
        """End a connection after what is asked and answered over it; further queries go to the one that took its place."""
        client = _client(broker)
        try:
            async with asyncio.timeout(RETIRE_SECONDS):
                for subscriber in broker.subscribers:
                    subscription = getattr(subscriber, "subscription", None)
                    if subscription is not None and client.is_connected:
                        await subscription.drain()
                        subscriber.subscription = None  # type: ignore[attr-defined]
                quiet = 0
                # Twice in a row: what the drain handed on may stand between two tasks.
                while quiet < 2:
                    quiet = 0 if self._busy[id(client)] else quiet + 1
                    await asyncio.sleep(0.05)
        except Exception as error:
            self.log.warning("a former connection to nats-server was cut off", error=f"{type(error).__name__}: {error}")
        finally:
            await _end(broker)

    @contextlib.contextmanager
    def _at_work(self, client: Client) -> Iterator[None]:
        self._busy[id(client)] += 1
        try:
            yield
        finally:
            self._busy[id(client)] -= 1
            if not self._busy[id(client)]:
                del self._busy[id(client)]

    def _lost(self) -> None:
        self.connected = False
        self.connections += 1
        self.guard.interrupt()
        if not self.closing:
            self.log.warning("the connection to nats-server is lost; it is tried again")

    async def close(self) -> None:
        self.closing = True
        self.connected = False
        await tasks.end(self._tending, *self._retiring)
        if self.broker is not None:
            await _end(self.broker)


def _client(broker: NatsBroker | None) -> Client:
    """The connection beneath FastStream. Raises Unavailable `bus.away` when there is none."""
    client = getattr(broker, "_connection", None)
    if client is None:
        raise Unavailable("bus.away", "nats-server does not answer", "Nothing is lost; it is tried again.")
    return cast("Client", client)


async def _end(broker: NatsBroker) -> None:
    client = getattr(broker, "_connection", None)
    with contextlib.suppress(Exception):
        async with asyncio.timeout(5):
            await broker.stop()
    if client is not None and not client.is_closed:  # a drain needs a server that answers
        with contextlib.suppress(Exception):
            await client.close()


def _raw(handle: Callable[[Any], Awaitable[bytes | None]]) -> Callable[[Any], Awaitable[bytes | None]]:
    # FastStream reads the parameter's annotation to decide how to decode; a plain one-argument function gets what our
    # decoder returns, the whole message.
    async def answer(message: Any) -> bytes | None:
        return await handle(message)

    return answer


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
