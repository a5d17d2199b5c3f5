"""One service's connection to nats-server: signed in with its key, made anew when that is replaced or the connection is of no use.

NATS tells a refused subject only to the error callback while the caller waits for its time-out, so `Guard` hands the refusal to the
waiting call.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections import Counter, defaultdict
from collections.abc import Awaitable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from shared import logging, seeds, tasks
from shared.errors import Broken, Unavailable
from shared.subscribers import Answers

if TYPE_CHECKING:
    from faststream.nats import NatsBroker
    from nats.aio.client import Client

LOOK_SECONDS = 0.5
"""How often a service looks whether its key was replaced."""
RETIRE_SECONDS = 30.0
"""What is asked and answered over a connection that was replaced may take so long to its end."""


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


class Connection:
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
        return client_of(self.broker)

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
                    await client_of(broker).flush(timeout=5)
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
        self._subscribe(broker)
        return broker

    def _subscribe(self, broker: NatsBroker) -> None:
        """Have a connection that is not open yet hear what this service answers."""

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
        client = client_of(broker)
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


def client_of(broker: NatsBroker | None) -> Client:
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
